"""Stand-ins for the standard data sets: a few random images of each class, in the files that torchvision reads."""

import hashlib
import pickle
import struct

import numpy as np
from torchvision import datasets

from benchmarks import standard_sets

TRAIN, TEST = 3, 2  # images of each class


IDX = {  # the files of MNIST and Fashion-MNIST, and the shapes of the stand-ins
    "train-images-idx3-ubyte": (10 * TRAIN, 28, 28),
    "train-labels-idx1-ubyte": (10 * TRAIN,),
    "t10k-images-idx3-ubyte": (10 * TEST, 28, 28),
    "t10k-labels-idx1-ubyte": (10 * TEST,),
}


def idx_files(seed):
    """The four files of a set like MNIST: name -> content."""
    draw, files = np.random.default_rng(seed), {}
    for file, shape in IDX.items():
        values = draw.integers(0, 256, shape, np.uint8) if len(shape) > 1 else labels(draw, shape[0], 10)
        header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
        files[file] = header + values.astype(np.uint8).tobytes()
    return files


def patched(patch):
    """MNIST and Fashion-MNIST shall be made of `idx_files`; returned are the files of MNIST."""
    made = {name: idx_files(seed) for seed, name in enumerate(("mnist", "fashionmnist"))}
    for name, files in made.items():
        patch.setitem(standard_sets.MD5, name, {file: md5(content) for file, content in files.items()})
    return made["mnist"]


def write_files(folder, files):
    """Each file with its content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write(root, patch):
    """All four sets under `root`; `patch` makes their checksums those to be expected."""
    patched(patch)
    for seed, name in enumerate(("mnist", "fashionmnist")):
        write_files(root / standard_sets.SETS[name][1], idx_files(seed))
    for cls, key, classes in ((datasets.CIFAR10, "labels", 10), (datasets.CIFAR100, "fine_labels", 100)):
        _write_cifar(root / cls.base_folder, cls, key, classes, patch)


def write_arrays(folder, shape, classes=6):
    """A data set in the array layout: 24 training and 12 test images of bytes."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for part, n in (("train", 24), ("test", 12)):
        np.save(folder / f"{part}_images.npy", draw.integers(0, 256, (n, *shape), np.uint8))
        np.save(folder / f"{part}_labels.npy", labels(draw, n, classes))


def _write_cifar(folder, cls, key, classes, patch):
    draw = np.random.default_rng(classes)
    folder.mkdir()
    for attribute, each in (("train_list", TRAIN), ("test_list", TEST)):
        files = []
        for file, _ in getattr(cls, attribute):
            images = draw.integers(0, 256, (classes * each, 3072), np.uint8)
            content = pickle.dumps({"data": images, key: labels(draw, len(images), classes).tolist()})
            (folder / file).write_bytes(content)
            files.append([file, md5(content)])
        patch.setattr(cls, attribute, files)
    names = pickle.dumps({cls.meta["key"]: [str(label) for label in range(classes)]})
    (folder / cls.meta["filename"]).write_bytes(names)
    patch.setattr(cls, "meta", {**cls.meta, "md5": md5(names)})


def labels(draw, n, classes):
    """Every class equally often, shuffled."""
    return draw.permutation(np.arange(n) % classes)


def md5(content):
    return hashlib.md5(content).hexdigest()

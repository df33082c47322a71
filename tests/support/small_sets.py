"""Stand-ins for the standard data sets: a few random images of each class, in the files that torchvision reads."""

import hashlib
import pickle
import struct

import numpy as np
from torchvision import datasets

from benchmarks import standard_sets

TRAIN, TEST = 3, 2  # images of each class


def write(root, patch):
    """All four sets under `root`; `patch` makes their sizes and checksums those to be expected."""
    shapes = {
        name: (10 * (TRAIN if name.startswith("train") else TEST), *shape[1:])
        for name, shape in standard_sets.IDX.items()
    }
    patch.setattr(standard_sets, "IDX", shapes)
    for seed, name in enumerate(("mnist", "fashionmnist")):
        draw = np.random.default_rng(seed)
        folder = root / standard_sets.SETS[name][1]
        folder.mkdir(parents=True)
        for file, shape in shapes.items():
            values = draw.integers(0, 256, shape, np.uint8) if len(shape) > 1 else labels(draw, shape[0], 10)
            header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
            (folder / file).write_bytes(header + values.astype(np.uint8).tobytes())
    mnist = {file: md5((root / "MNIST/raw" / file).read_bytes()) for file in shapes}
    patch.setattr(standard_sets, "MNIST_MD5", mnist)
    for cls, key, classes in ((datasets.CIFAR10, "labels", 10), (datasets.CIFAR100, "fine_labels", 100)):
        _write_cifar(root / cls.base_folder, cls, key, classes, patch)


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

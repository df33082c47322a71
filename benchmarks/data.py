"""Where data comes from, and how its bytes become arrays.

mnist, fashionmnist, cifar10, cifar100   in the data root, verified before they are read (benchmarks/standard_sets.py)
digits                                   the 1,797 images of 8x8 pixels inside scikit-learn; no data root needed
any other name                           the array layout, <root>/<name>/{train,test}_{images,labels}.npy

A standard set may come in the array layout too, with its examples in any order, where its content is known. A folder
of the array layout that is called like a standard set is named with a slash: "./cifar100".
"""

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import standard_sets
from methods.base.errors import UserError

ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # of uint8 pixels, then uint8 labels
CHANNELS = (1, 3, 4)  # by which colours are told from rows and columns
DARK = 128  # bytes whose largest is below this do not go from 0 to 255


@dataclass(frozen=True, eq=False)
class Images:
    """Hold a data set as it is stored.

    x is [N, C, H, W] or [N, D], uint8 or float32. y is int64 [N], the classes 0 .. C - 1.
    """

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    full: float  # the stored value that becomes 1
    note: str = ""  # what a user should hear of how it was read

    @property
    def classes(self) -> int:
        """Return how many classes there are."""
        return int(self.train_y.max()) + 1


def load(name: str, root: Path) -> Images:
    """Return the data set `name` from the data root, verified. A standard set that is missing is downloaded first.

    The last one is kept, until one of its files changes.
    """
    if name == "digits":
        return _digits()
    _fetch(name, root, announce=print)
    return _loaded(name, root, _state(name, root))


def require(name: str, root: Path, announce: Callable[[str], object] = print) -> None:
    """Make sure that the data set `name` is there and passes its checks; a standard set is downloaded where missing."""
    if name == "digits":
        return
    _fetch(name, root, announce)
    if note := _note(name, root, _state(name, root)):
        announce(note)


def is_there(name: str, root: Path) -> bool:
    """Say whether `name` can be read from the data root without a download."""
    return name == "digits" or _layout(name, root) is not None


def fingerprint(name: str, root: Path) -> str:
    """Return 16 hex digits that identify the data: a hash of the official checksums, or of the four array files."""
    if name == "digits":
        return DIGITS_SHA256[:16]
    digest = hashlib.sha256()
    if name in standard_sets.SETS and _layout(name, root) != "arrays":
        digest.update(repr(sorted(standard_sets.checksums(name).items())).encode())
    else:
        with _readable():
            for state in _states([root / name / file for file in ARRAYS]):
                digest.update(_file_sha256(*state))
    return digest.hexdigest()[:16]


def _fetch(name: str, root: Path, announce: Callable[[str], object]) -> None:
    """Download a standard set that is not there."""
    _check_root(root)
    if name in standard_sets.SETS and _layout(name, root) is None:
        standard_sets.download(name, root, announce)


def _layout(name: str, root: Path) -> str | None:
    """Return how a standard set lies in the data root: as its "official" files, as "arrays", or not at all."""
    if len(standard_sets.places(name, root)) == len(standard_sets.checksums(name)):
        return "official"
    return "arrays" if all((root / name / file).exists() for file in ARRAYS) else None


def _state(name: str, root: Path) -> tuple:
    """Return the files that `name` is read from, with their sizes and times, by which a change is noticed."""
    if name in standard_sets.SETS and _layout(name, root) == "official":
        return _states(standard_sets.places(name, root).values())
    return _states([path for file in ARRAYS if (path := root / name / file).exists()])


def _states(paths) -> tuple:
    return tuple((path, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in paths)


@lru_cache
def _file_sha256(path: Path, size: int, time: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@lru_cache(maxsize=1)
def _loaded(name: str, root: Path, state: tuple) -> Images:
    return _read(name, root)


@lru_cache
def _note(name: str, root: Path, state: tuple) -> str:
    """Return the note of a verified data set. The images are dropped."""
    return _read(name, root).note


def _read(name: str, root: Path) -> Images:
    with _readable():
        if name not in standard_sets.SETS:
            return _arrays(name, root)
        if _layout(name, root) == "official":
            return _official(name, standard_sets.contents(name, root))
        return _verified(name, root, _arrays(name, root))


def _official(name: str, files: dict[str, bytes]) -> Images:
    """Return the official files, verified, as arrays."""
    if name.startswith("cifar"):
        batches = {file: pickle.loads(content, encoding="latin1") for file, content in files.items()}  # verified
        sides = ([file for file in files if file.startswith(side)] for side in (("train", "data"), "test"))
        parts = []
        for side in sides:
            parts.append(np.concatenate([batches[file]["data"] for file in side]).reshape(-1, 3, 32, 32))
            key = "labels" if name == "cifar10" else "fine_labels"
            parts.append(np.concatenate([batches[file][key] for file in side]))
    else:
        parts = [_idx(content) for content in files.values()]
        parts[::2] = [images[:, None] for images in parts[::2]]
    train_x, train_y, test_x, test_y = (torch.from_numpy(part.copy()) for part in parts)
    return Images(train_x, train_y.long(), test_x, test_y.long(), full=255.0)


def _idx(content: bytes) -> np.ndarray:
    """Return the array in an IDX file of bytes.

    The file holds two zeros, 8 (bytes), the number of dimensions, each of them as four bytes, then the values.
    """
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def _verified(name: str, root: Path, images: Images) -> Images:
    """Return a standard set in the array layout. Refuse it unless its content is the official one."""
    sides = ((images.train_x.numpy(), images.train_y.tolist()), (images.test_x.numpy(), images.test_y.tolist()))
    known = standard_sets.CONTENT.get(name)
    if known is None or images.train_x.dtype != torch.uint8 or standard_sets.content_of(sides) != known:
        why = "the checksum of its content is not known here" if known is None else "images or labels differ"
        own = f'read them with the stream arrays (data = "{name}")'
        raise UserError(
            f"the arrays in {root / name} cannot be taken for {name}: {why}; bring the official files, or {own}"
        )
    return images


def _check_root(root: Path) -> None:
    if root.resolve() == standard_sets.DEFAULT_ROOT and not root.exists():
        return  # it is made when something is downloaded into it
    try:
        os.listdir(root)
    except OSError as error:
        raise UserError(f"data root {root}: {error.strerror}; set DATA= to an existing, readable folder") from error


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot read {error.filename}: {error.strerror}; check it, or the data root (DATA=)"
        ) from error


@lru_cache
def _digits() -> Images:
    """Return the embedded digits, uint8 0 .. 16, [N, 1, 8, 8].

    Of each class, in the order of the data set, every fourth image (the 4th, 8th, ...) is a test image.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    if hashlib.sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest() != DIGITS_SHA256:
        raise UserError("scikit-learn's digits are not the expected ones: run `make setup` for the pinned version")
    test = np.zeros(len(y), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[3::4]] = True
    x = x[:, None]
    return Images(*map(torch.from_numpy, (x[~test], y[~test], x[test], y[test])), full=16.0)


def _arrays(name: str, root: Path) -> Images:
    """Return a data set in the array layout. Each error names its file.

    Images are uint8, bool or floating point. Labels are of any integer type.
    """
    paths = [root / name / file for file in ARRAYS]
    for path in paths:
        if not path.exists():
            held = standard_sets.holds(path.parent)
            raise UserError(f"data set {name.removeprefix('./')!r}: {path} is missing{held}; bring {', '.join(ARRAYS)}")
    arrays = [_array(path) for path in paths]
    train_x, test_x = (_checked_images(paths[i], arrays[i]) for i in (0, 2))
    train_y, test_y = (_checked_labels(paths[i], arrays[i], len(arrays[i - 1])) for i in (1, 3))
    _check_alike(paths, arrays[0], arrays[2])
    classes = train_y.unique()
    if len(classes) != classes[-1] + 1:
        absent = min(set(range(len(classes))) - set(classes.tolist()))
        count = "; if they count from 1, save labels - 1" if absent == 0 else ""
        raise UserError(f"{paths[1]}: labels must be 0 .. C - 1, each of them used; {absent} is not{count}")
    if test_y.max() > classes[-1]:
        raise UserError(f"{paths[3]}: label {int(test_y.max())} is not among the training labels 0 .. {classes[-1]}")
    if untested := set(classes.tolist()) - set(test_y.tolist()):
        raise UserError(f"{paths[3]}: no test image of class {min(untested)}; every class needs one")
    full, note = 255.0 if arrays[0].dtype == np.uint8 else 1.0, ""
    if _colours_last(arrays[0].shape):
        note = f"{paths[0].parent}: images {list(arrays[0].shape)} are read with the colours last"
    return Images(train_x, train_y, test_x, test_y, full, note)


def _array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return np.ascontiguousarray(np.lib.format.read_array(file, allow_pickle=False))
    except ValueError as error:  # no .npy header, pickled objects, or fewer bytes than the header promises
        raise UserError(
            f"{path}: not a plain .npy array ({' '.join(str(error).split())}); write it with np.save"
        ) from error


def _colours_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[3] in CHANNELS and shape[1] not in CHANNELS


def _checked_images(path: Path, array: np.ndarray) -> Tensor:
    """Return the images as uint8 if they are stored so, else as float32.

    [N, D] stays, [N, H, W] gets its channel axis, [N, H, W, C] becomes [N, C, H, W].
    """
    if array.dtype not in (np.uint8, np.bool_) and not np.issubdtype(array.dtype, np.floating):
        remedy = "divide them by their full scale and save them as float32"
        raise UserError(f"{path}: images must be uint8, bool or floating point, got {array.dtype}; {remedy}")
    if array.ndim not in (2, 3, 4) or not array.size:
        raise UserError(f"{path}: images must be [N, D], [N, H, W] or [N, C, H, W], none 0, got {list(array.shape)}")
    if array.dtype == np.uint8 and 0 < array.max() < DARK:
        remedy = "if that is their full scale, divide them by it and save them as float32"
        raise UserError(f"{path}: bytes are divided by 255, but the largest pixel is {array.max()}; {remedy}")
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise UserError(f"{path}: images must be finite in float32, got NaN or infinity")
    if _colours_last(array.shape):
        array = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    return torch.from_numpy(array[:, None] if array.ndim == 3 else array)


def _check_alike(paths: list[Path], train: np.ndarray, test: np.ndarray) -> None:
    """Refuse training and test images of another shape, kind or scale."""
    first, second = paths[0].name, paths[2]
    if train.shape[1:] != test.shape[1:]:
        shapes = f"{list(test.shape[1:])}, those of {first} {list(train.shape[1:])}"
        raise UserError(f"{second}: images have the shape {shapes}; both need the same")
    if train.dtype.kind != test.dtype.kind:
        raise UserError(f"{second}: images are {test.dtype}, those of {first} {train.dtype}; both need the same")
    sizes = [float(np.sqrt(np.square(array, dtype=np.float64).mean())) for array in (train, test)]
    if min(sizes) > 0 and max(sizes) > 10 * min(sizes):
        scales = f"{sizes[1]:.3g}, those of {first} {sizes[0]:.3g}"
        raise UserError(f"{second}: pixels have the root mean square {scales}; scale both alike")


def _checked_labels(path: Path, array: np.ndarray, images: int) -> Tensor:
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{path}: labels must be integers, got {array.dtype}; save labels.astype(np.int64)")
    if array.shape != (images,):
        raise UserError(f"{path}: labels must be [N], one for each of the {images} images, got {list(array.shape)}")
    if array.min() < 0:
        raise UserError(f"{path}: labels must be 0 .. C - 1, got {array.min()}")
    return torch.from_numpy(array.astype(np.int64))

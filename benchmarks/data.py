"""Where data comes from: a data root, torchvision's download, four arrays of your own, or the embedded digits.

mnist, fashionmnist, cifar10, cifar100   in the data root as torchvision and Avalanche lay them out, verified before
                                         they are read, downloaded where missing: benchmarks/standard_sets.py
digits                                   the 1,797 images of 8x8 pixels inside scikit-learn; no data root needed
any other name                           the array layout, <root>/<name>/{train,test}_{images,labels}.npy
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import standard_sets
from methods.base.errors import UserError

DEFAULT_ROOT = Path(__file__).resolve().parents[1] / "data"
ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # of uint8 pixels, then uint8 labels


@dataclass(frozen=True)
class Images:
    """A data set: x uint8 or float32, [N, C, H, W] or [N, D]; y int64 [N], the classes 0 .. C - 1."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def load(name: str, root: Path) -> Images:
    """The data set `name` from the data root, verified, and downloaded first where a standard set is missing."""
    if name == "digits":
        return _digits()
    if name in standard_sets.SETS:
        require(name, root)
        with _readable():
            return Images(*standard_sets.read(name, root))
    _check_root(root)
    with _readable():
        return _arrays(name, root)


def require(name: str, root: Path, announce: Callable[[str], object] = print) -> None:
    """Make sure that the data set `name` is there and passes its checks; a standard set is downloaded where missing."""
    if name not in standard_sets.SETS:
        load(name, root)
        return
    _check_root(root)
    with _readable():
        for path, fault in standard_sets.faults(name, root):
            given = "" if root.resolve() == DEFAULT_ROOT else f" DATA={root}"
            raise UserError(f"{path} {fault}: delete it and run `make data-{name}{given}`")
        present = standard_sets.present(name, root)
    if not present:
        standard_sets.download(name, root, announce)


def fingerprint(name: str, root: Path) -> str:
    """Which data this is, 16 hex digits: of the checksums it has to have, or of the four files of the array layout."""
    if name == "digits":
        return DIGITS_SHA256[:16]
    digest = hashlib.sha256()
    if name in standard_sets.SETS:
        digest.update(repr(sorted(standard_sets.checksums(name).items())).encode())
    else:
        with _readable():
            for file in ARRAYS:
                digest.update(hashlib.sha256((root / name / file).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _check_root(root: Path) -> None:
    if root.resolve() == DEFAULT_ROOT and not root.exists():
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


def _digits() -> Images:
    """The embedded digits, uint8 0 .. 16, [N, 1, 8, 8].

    The split: of each class, in the order of the data set, every fourth image (the 4th, 8th, ...) is a test image.
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
    return Images(*map(torch.from_numpy, (x[~test], y[~test], x[test], y[test])))


def _arrays(name: str, root: Path) -> Images:
    """The array layout: images uint8 or floating point, labels of any integer type; each error names its file."""
    paths = [root / name / file for file in ARRAYS]
    for path in paths:
        if not path.exists():
            known = ", ".join([*standard_sets.SETS, "digits"])
            raise UserError(f"data set {name!r}: {path} is missing; bring {', '.join(ARRAYS)}, or name one of {known}")
    images, labels, test_images, test_labels = map(_array, paths)
    train_x, test_x = _checked_images(paths[0], images), _checked_images(paths[2], test_images)
    train_y, test_y = (
        _checked_labels(paths[1], labels, len(images)),
        _checked_labels(paths[3], test_labels, len(test_x)),
    )
    if train_x.shape[1:] != test_x.shape[1:]:
        shapes = f"{list(test_images.shape[1:])}, those of {paths[0].name} {list(images.shape[1:])}"
        raise UserError(f"{paths[2]}: images have the shape {shapes}; both need the same")
    classes = train_y.unique()
    if len(classes) != classes[-1] + 1:
        absent = min(set(range(len(classes))) - set(classes.tolist()))
        raise UserError(f"{paths[1]}: labels must be 0 .. C - 1, each of them used; {absent} is not")
    if test_y.max() > classes[-1]:
        raise UserError(f"{paths[3]}: label {int(test_y.max())} is not among the training labels 0 .. {classes[-1]}")
    return Images(train_x, train_y, test_x, test_y)


def _array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            return np.ascontiguousarray(np.lib.format.read_array(file, allow_pickle=False))
    except ValueError as error:  # no .npy header, pickled objects, or fewer bytes than the header promises
        raise UserError(
            f"{path}: not a plain .npy array ({' '.join(str(error).split())}); write it with np.save"
        ) from error


def _checked_images(path: Path, array: np.ndarray) -> Tensor:
    """[N, D] stays, [N, H, W] gets its channel axis, floating point becomes float32."""
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{path}: images must be uint8 or floating point, got {array.dtype}")
    if array.ndim not in (2, 3, 4) or not array.size:
        raise UserError(f"{path}: images must be [N, D], [N, H, W] or [N, C, H, W], none 0, got {list(array.shape)}")
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise UserError(f"{path}: images must be finite in float32, got NaN or infinity")
    return torch.from_numpy(array[:, None] if array.ndim == 3 else array)


def _checked_labels(path: Path, array: np.ndarray, images: int) -> Tensor:
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{path}: labels must be integers, got {array.dtype}")
    if array.shape != (images,):
        raise UserError(f"{path}: labels must be [N], one for each of the {images} images, got {list(array.shape)}")
    if array.min() < 0:
        raise UserError(f"{path}: labels must be 0 .. C - 1, got {array.min()}")
    return torch.from_numpy(array.astype(np.int64))

"""The images of a data set, and how they are read from the array layout, in which a user's own data comes.

The layout is a folder with four files, {train,test}_{images,labels}.npy. Images are uint8, bool or floating point, and
labels are of any integer type. What cannot be meant so is refused.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import standard_sets
from methods.base.errors import UserError

ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")
CHANNELS = (1, 3, 4)  # by which colours are told from rows and columns
DARK = 128  # bytes whose largest is below this do not go from 0 to 255
BRIGHT = 10  # floats from 0 to beyond this are hardly meant as a network's inputs


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


def from_arrays(folder: Path, name: str) -> Images:
    """Return the data set `name` from a folder of the array layout. Each error names its file."""
    paths = [folder / file for file in ARRAYS]
    for path in paths:
        if not path.exists():
            held = standard_sets.holds(folder)
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
    full, notes = 255.0 if arrays[0].dtype == np.uint8 else 1.0, []
    if _colours_last(arrays[0].shape):
        notes.append(f"{folder}: images {list(arrays[0].shape)} are read with the colours last")
    if full == 1.0 and arrays[0].min() >= 0 and (most := arrays[0].max()) > BRIGHT:
        notes.append(f"{folder}: pixels go from 0 to {most:g} and are taken so; divide them by their full scale")
    return Images(train_x, train_y, test_x, test_y, full, "; ".join(notes))


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
    sizes = [_root_mean_square(array) for array in (train, test)]
    if min(sizes) > 0 and max(sizes) > 10 * min(sizes):
        scales = f"{sizes[1]:.3g}, those of {first} {sizes[0]:.3g}"
        raise UserError(f"{second}: pixels have the root mean square {scales}; scale both alike")


def _root_mean_square(array: np.ndarray) -> float:
    """Return it in float64, some megabytes of images at a time."""
    parts = np.array_split(array, min(len(array), 1 + array.nbytes // 2**23))
    return math.sqrt(sum(float(np.square(part, dtype=np.float64).sum()) for part in parts) / array.size)


def _checked_labels(path: Path, array: np.ndarray, images: int) -> Tensor:
    if not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"{path}: labels must be integers, got {array.dtype}; save labels.astype(np.int64)")
    if array.shape != (images,):
        raise UserError(f"{path}: labels must be [N], one for each of the {images} images, got {list(array.shape)}")
    if array.min() < 0:
        raise UserError(f"{path}: labels must be 0 .. C - 1, got {array.min()}")
    return torch.from_numpy(array.astype(np.int64))

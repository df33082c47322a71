"""Where data comes from, and how its bytes become arrays.

mnist, fashionmnist, cifar10, cifar100   in the data root, verified before they are read (benchmarks/standard_sets.py)
digits                                   the 1,797 images of 8x8 pixels inside scikit-learn; no data root needed
any other name                           the array layout, in the folder <root>/<name> (benchmarks/images.py)

A standard set may come in the array layout too, with its examples in any order, where its content is known. A folder
of the array layout that is called like a standard set is named with a slash: "./cifar100".
"""

import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from benchmarks import standard_sets
from benchmarks.images import ARRAYS, Images, from_arrays
from methods.base.errors import UserError

DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # of uint8 pixels, then uint8 labels


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


def files(name: str, root: Path) -> list[Path]:
    """Return the files that `name` is read from, and their folders, whose times tell of files that came or went."""
    if name == "digits":
        return []
    paths = [path for path, _, _ in _state(name, root)]
    return sorted({*paths, *(path.parent for path in paths)})


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
    """Return how a set lies in the data root: as the "official" files of a standard one, as "arrays", or not at all."""
    if name in standard_sets.SETS and len(standard_sets.places(name, root)) == len(standard_sets.checksums(name)):
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
            return from_arrays(root / name, name)
        if _layout(name, root) == "official":
            return _official(name, standard_sets.contents(name, root))
        return _verified(name, root, from_arrays(root / name, name))


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

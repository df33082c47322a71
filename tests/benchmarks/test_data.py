"""Data: the embedded digits, the array layout and what it refuses, and the identity of the data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from benchmarks import data, standard_sets
from methods.base.errors import UserError


def test_digits_are_embedded_and_split_by_class():
    from sklearn.datasets import load_digits

    images, theirs = data.load("digits", Path("not/there")), load_digits()
    assert images.train_x.shape == (1352, 1, 8, 8)
    assert images.train_x.dtype == torch.uint8
    for label in range(10):
        ordered = torch.from_numpy(theirs.images[theirs.target == label]).to(torch.uint8)[:, None]
        assert torch.equal(images.test_x[images.test_y == label], ordered[3::4])
        rest = [i for i in range(len(ordered)) if i % 4 != 3]
        assert torch.equal(images.train_x[images.train_y == label], ordered[rest])


@pytest.fixture
def mine(tmp_path):
    """A data set `mine` of six training and three test images in the array layout."""
    draw = np.random.default_rng(0)
    (tmp_path / "mine").mkdir()
    for part, n in (("train", 6), ("test", 3)):
        np.save(tmp_path / "mine" / f"{part}_images.npy", draw.integers(0, 256, (n, 4, 5), np.uint8))
        np.save(tmp_path / "mine" / f"{part}_labels.npy", np.arange(n, dtype=np.uint8) % 3)
    return tmp_path


def test_array_layout(mine):
    images = data.load("mine", mine)
    assert torch.equal(images.train_x, torch.from_numpy(np.load(mine / "mine/train_images.npy"))[:, None])
    assert torch.equal(images.test_y, torch.tensor([0, 1, 2]))
    values = np.random.default_rng(1).standard_normal((6, 7)).astype(">f8", order="F")
    np.save(mine / "mine/train_images.npy", values)
    np.save(mine / "mine/test_images.npy", values[:3])
    floats = data.load("mine", mine).train_x
    assert_close(floats, torch.from_numpy(values.astype(np.float64)).float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("train_images.npy", np.zeros((6, 4, 5), np.int32), "uint8 or floating point, got int32"),
        ("train_images.npy", np.full((6, 4, 5), np.nan), "must be finite"),
        ("train_images.npy", np.full((6, 4, 5), 1e300), "must be finite"),
        ("train_images.npy", np.zeros((0, 4, 5), np.uint8), r"got \[0, 4, 5\]"),
        ("train_images.npy", np.zeros(6, np.uint8), r"got \[6\]"),
        ("train_images.npy", np.array([print] * 6, dtype=object), "not a plain .npy array"),
        ("test_images.npy", np.zeros((3, 4, 4), np.uint8), r"shape \[4, 4\], those of train_images.npy \[4, 5\]"),
        ("train_labels.npy", np.zeros(5, np.int64), "one for each of the 6 images"),
        ("train_labels.npy", np.array([0, 1, 2, 0, 1, -1]), "got -1"),
        ("train_labels.npy", np.array([0, 1, 3, 0, 1, 3]), "2 is not"),
        ("train_labels.npy", np.zeros(6), "integers, got float64"),
        ("train_labels.npy", np.zeros((6, 1), np.int64), r"got \[6, 1\]"),
        ("test_labels.npy", np.array([0, 1, 3]), "label 3 is not among"),
    ],
)
def test_array_layout_refuses(mine, file, array, message):
    np.save(mine / "mine" / file, array)
    with pytest.raises(UserError, match=message) as error:
        data.require("mine", mine)
    assert str(error.value).startswith(str(mine / "mine" / file))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\3\4"])
def test_array_layout_refuses_other_files(mine, content):
    (mine / "mine/test_labels.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"test_labels\.npy: not a plain \.npy array"):
        data.load("mine", mine)


def test_array_layout_names_a_missing_or_truncated_file(mine):
    path = mine / "mine/test_images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=str(path)):
        data.load("mine", mine)
    path.unlink()
    with pytest.raises(UserError, match=f"{path} is missing"):
        data.load("mine", mine)


def test_fingerprint_is_of_the_data(mine):
    before = data.fingerprint("mine", mine)
    assert before == data.fingerprint("mine", mine)
    np.save(mine / "mine/test_labels.npy", np.array([0, 1, 1], np.uint8))
    prints = [data.fingerprint(name, mine) for name in ("mine", "digits", *standard_sets.SETS)]
    assert len({before, *prints}) == 7
    assert data.fingerprint("mnist", mine) == data.fingerprint("mnist", mine / "elsewhere")


def test_import_is_light():
    """Workers import this module: what only a download or a reader needs is imported there."""
    heavy = "import sys, benchmarks.data; print({'torchvision', 'avalanche', 'sklearn'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", heavy], cwd=Path(data.__file__).parents[1], capture_output=True, text=True
    )
    assert run.stdout == "set()\n", run.stderr

"""Data: the embedded digits, the array layout and what it refuses, and the identity of the data."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from benchmarks import data, images, standard_sets
from benchmarks.images import ARRAYS
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
        ("train_images.npy", np.zeros((6, 4, 5), np.int32), "uint8, bool or floating point, got int32"),
        ("train_images.npy", np.zeros((6, 4, 5), np.uint16), "got uint16; divide them by their full scale"),
        ("train_images.npy", np.full((6, 4, 5), 16, np.uint8), "divided by 255, but the largest pixel is 16; if that"),
        ("test_images.npy", np.full((3, 4, 5), 127, np.uint8), "the largest pixel is 127"),
        ("test_images.npy", np.ones((3, 4, 5), np.float32), "are float32, those of train_images.npy uint8"),
        ("test_images.npy", np.ones((3, 4, 5), bool), "are bool, those of train_images.npy uint8"),
        ("train_images.npy", np.full((6, 4, 5), np.nan), "must be finite"),
        ("train_images.npy", np.full((6, 4, 5), 1e300), "must be finite"),
        ("train_images.npy", np.zeros((0, 4, 5), np.uint8), r"got \[0, 4, 5\]"),
        ("train_images.npy", np.zeros(6, np.uint8), r"got \[6\]"),
        ("train_images.npy", np.array([print] * 6, dtype=object), "not a plain .npy array"),
        ("test_images.npy", np.zeros((3, 4, 4), np.uint8), r"shape \[4, 4\], those of train_images.npy \[4, 5\]"),
        ("train_labels.npy", np.zeros(5, np.int64), "one for each of the 6 images"),
        ("train_labels.npy", np.array([0, 1, 2, 0, 1, -1]), "got -1"),
        ("train_labels.npy", np.array([0, 1, 3, 0, 1, 3]), "2 is not"),
        ("train_labels.npy", np.array([1, 2, 3, 1, 2, 3]), "0 is not; if they count from 1, save labels - 1"),
        ("train_labels.npy", np.zeros(6), "integers, got float64; save labels.astype"),
        ("train_labels.npy", np.zeros(6, bool), "integers, got bool; save labels.astype"),
        ("train_labels.npy", np.zeros((6, 1), np.int64), r"got \[6, 1\]"),
        ("test_labels.npy", np.array([0, 1, 3]), "label 3 is not among"),
        ("test_labels.npy", np.array([0, 1, 1]), "no test image of class 2; every class needs one"),
    ],
)
def test_array_layout_refuses(mine, file, array, message):
    np.save(mine / "mine" / file, array)
    with pytest.raises(UserError, match=message) as error:
        data.require("mine", mine)
    assert str(error.value).startswith(str(mine / "mine" / file))


def test_training_and_test_images_of_another_scale_are_refused(mine):
    pixels = np.random.default_rng(2).random((6, 4, 5))
    np.save(mine / "mine/train_images.npy", pixels)
    for factor, fine in ((255, False), (1 / 255, False), (3, True), (0, True)):
        np.save(mine / "mine/test_images.npy", factor * pixels[:3])
        if fine:
            assert_close(data.load("mine", mine).test_x[:, 0], torch.from_numpy(factor * pixels[:3]).float())
            continue
        with pytest.raises(UserError, match=r"test_images\.npy: pixels have the root mean square .* scale both alike"):
            data.require("mine", mine)


@pytest.mark.parametrize("dtype", [np.uint16, np.int8, ">i4"])
def test_labels_of_any_integer_type(mine, dtype):
    np.save(mine / "mine/train_labels.npy", np.array([0, 1, 2, 2, 1, 0], dtype))
    assert torch.equal(data.load("mine", mine).train_y, torch.tensor([0, 1, 2, 2, 1, 0]))


def test_truth_values_are_pixels(mine):
    for part, n in (("train", 6), ("test", 3)):
        np.save(mine / f"mine/{part}_images.npy", np.arange(n * 20).reshape(n, 4, 5) % 3 == 0)
    images = data.load("mine", mine)
    assert images.full == 1 and images.train_x.dtype == torch.float32
    assert images.train_x.flatten()[:6].tolist() == [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ((8, 9, 3), (3, 8, 9)),
        ((8, 9, 1), (1, 8, 9)),
        ((8, 9, 4), (4, 8, 9)),
        ((3, 8, 9), None),
        ((1, 8, 3), None),  # as documented: the channel comes first
    ],
)
def test_images_with_the_colours_last(mine, shape, read):
    draw = np.random.default_rng(0)
    arrays = {part: draw.integers(0, 256, (n, *shape), np.uint8) for part, n in (("train", 6), ("test", 3))}
    for part, array in arrays.items():
        np.save(mine / f"mine/{part}_images.npy", array)
    said = []
    data.require("mine", mine, announce=said.append)
    images = data.load("mine", mine)
    for x, array in ((images.train_x, arrays["train"]), (images.test_x, arrays["test"])):
        assert x.shape[1:] == (read or shape)
        expected = np.moveaxis(array, 3, 1) if read else array
        assert np.array_equal(x.numpy(), expected) and x.is_contiguous()
    assert len(said) == bool(read) and all("read with the colours last" in text for text in said)


@pytest.mark.parametrize(
    ("low", "high", "told"), [(0, 255, True), (0, 16, True), (0, 1, False), (0, 3, False), (-3, 30, False)]
)
def test_floating_point_pixels_of_another_full_scale_are_taken_with_a_word(mine, low, high, told):
    for part, n in (("train", 6), ("test", 3)):
        np.save(mine / f"mine/{part}_images.npy", np.linspace(low, high, n * 20, dtype=np.float32).reshape(n, 4, 5))
    said = []
    data.require("mine", mine, announce=said.append)
    assert float(data.load("mine", mine).train_x.max()) == high  # They are not scaled without a word, either.
    expected = f"pixels go from 0 to {high} and are taken so; divide them by their full scale"
    assert [text.endswith(expected) for text in said] == [True] * told


def test_own_data_is_read_and_hashed_once(mine, monkeypatch):
    opened = []
    real = Path.open

    def counted(path, *arguments, **options):
        opened.append(path.name)
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", counted)

    data.require("mine", mine)
    before = data.fingerprint("mine", mine)
    assert sorted(opened) == sorted(2 * ARRAYS)  # read once, hashed once
    for _ in range(3):
        data.require("mine", mine)
        assert data.fingerprint("mine", mine) == before
    assert len(opened) == 8
    np.save(mine / "mine/test_labels.npy", np.array([2, 1, 0], np.uint8))  # as large as before
    assert data.fingerprint("mine", mine) != before
    assert data.load("mine", mine).test_y.tolist() == [2, 1, 0]
    assert data.load("mine", mine) is data.load("mine", mine)


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
    there = r"\(there: test_labels\.npy, train_images\.npy, train_labels\.npy\)"
    with pytest.raises(UserError, match=rf"{path} is missing {there}; bring train_images"):
        data.load("mine", mine)


def test_fingerprint_is_of_the_data(mine):
    before = data.fingerprint("mine", mine)
    assert before == data.fingerprint("mine", mine)
    np.save(mine / "mine/test_labels.npy", np.array([0, 2, 1], np.uint8))
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


def test_own_data_are_there_or_not(mine):
    (mine / "group").mkdir()
    shutil.copytree(mine / "mine", mine / "group" / "mine")
    assert data.is_there("mine", mine) and data.is_there("group/mine", mine) and not data.is_there("yours", mine)
    assert {path.name for path in data.files("group/mine", mine)} == {"mine", *data.ARRAYS}
    assert data.files("digits", mine) == [] == data.files("yours", mine)


def test_the_scale_of_images_is_measured_in_parts():
    for array in (np.full((5, 3), 7, np.uint8), np.random.default_rng(0).random((70_000, 16, 16), dtype=np.float32)):
        expected = np.sqrt(np.square(array, dtype=np.float64).mean())
        assert images._root_mean_square(array) == pytest.approx(float(expected), rel=1e-12)

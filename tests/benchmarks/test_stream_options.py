"""Options of the streams: defaults are filled in, and every impossible value is one clear line."""

import shutil

import numpy as np
import pytest
import torch

from benchmarks import streams
from methods.base.errors import UserError
from tests.support import own, small_sets


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Data sets in the array layout: `grey` and `colour` images, `vectors`, and `hole`, without a test image of 3."""
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for name, shape in (("grey", (5, 5)), ("colour", (3, 4, 4)), ("vectors", (7,)), ("hole", (5, 5))):
        (folder / name).mkdir()
        for part, n in (("train", 8), ("test", 4)):
            np.save(folder / name / f"{part}_images.npy", draw.integers(0, 256, (n, *shape), np.uint8))
            np.save(folder / name / f"{part}_labels.npy", np.arange(n) % 4)
    np.save(folder / "hole/test_labels.npy", np.array([0, 1, 2, 2]))
    return folder


@pytest.fixture(scope="module")
def small_root(tmp_path_factory):
    """Stand-ins for the standard sets."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        small_sets.write(folder, patch)
        yield folder


def build(root, scenario="task", **spec):
    return streams.build(streams.resolve(spec), scenario, 1, root)


def test_streams_are_their_files_and_name_their_data():
    data = {
        name: streams.recipe(streams.resolve({"name": name, **({"data": "mine"} if name == "arrays" else {})})).data_set
        for name in set(streams.names()) - own.modules("benchmarks/streams")
    }
    assert data == {
        "arrays": "./mine",
        "permutedmnist": "mnist",
        "rotatedmnist": "mnist",
        "splitcifar10": "cifar10",
        "splitcifar100": "cifar100",
        "splitdigits": "digits",
        "splitfashionmnist": "fashionmnist",
        "splitmnist": "mnist",
    }


def test_defaults_are_filled_in():
    found = streams.resolve({"name": "splitmnist", "pad": 2})
    assert found.name == "splitmnist" and found.options == {
        "tasks": 5,
        "order": "fixed",
        "left_out": 0,
        "examples": None,
        "order_seeds": None,
        "pad": 2,
        "mean": 0.0,
        "std": 1.0,
        "active_units": "seen",
        "evaluate": "test",
    }
    assert streams.resolve(found.to_json()) == found


GREY = {"name": "arrays", "data": "grey", "tasks": 2}


@pytest.mark.parametrize("values", [(0.1, 0.5), (0.1, 7 * [0.5]), ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 2.0)])
def test_vectors_are_standardised(root, values):
    mean, std = values
    (test,) = build(root, **{**GREY, "data": "vectors", "tasks": 1}, mean=mean, std=std).tests
    raw = np.load(root / "vectors/test_images.npy")[test.parts[0].rows]
    expected = (raw / np.float32(255) - np.float32(mean)) / np.float32(std)
    assert np.array_equal(test.take(torch.arange(4))[0].numpy(), expected)


def test_own_arrays_may_be_called_like_a_standard_set(root, tmp_path, monkeypatch):
    """`arrays` reads the folder, whether or not the official files are there; `splitmnist` reads those."""
    for name in ("mnist", "digits"):
        shutil.copytree(root / "grey", tmp_path / name)
        assert build(tmp_path, **{**GREY, "data": name}).tests[0].parts[0].source.shape == (4, 1, 5, 5)
    small_sets.write(tmp_path, monkeypatch)
    assert build(tmp_path, **{**GREY, "data": "mnist"}).tests[0].parts[0].source.shape == (4, 1, 5, 5)
    assert build(tmp_path, name="splitmnist").tests[0].parts[0].source.shape == (20, 1, 28, 28)


def test_the_options_of_the_tests_below_are_good_without_their_mistake(root):
    assert [task.classes for task in build(root, **GREY).tasks] == [(0, 1), (2, 3)]
    assert build(root, **GREY, pad=1).tests[0].parts[0].source.shape == (4, 1, 7, 7)
    assert build(root, **{**GREY, "data": "vectors"}).tests[0].parts[0].source.shape == (4, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "arays"}, "unknown stream 'arays'; the nearest is 'arrays'"),
        ({"name": None}, "unknown stream None"),
        ({"task": 2}, "unknown option of the stream arrays 'task'; the nearest is 'tasks'"),
        ({"data": ""}, "the stream 'arrays' needs data ="),
        ({"data": "gray"}, "data set 'gray': .*gray/train_images.npy is missing"),
        ({"data": 5}, "data must be a string, got 5"),
        ({"data": "hole"}, r"\b3\b"),
        ({"tasks": 3}, "tasks must divide the 4 classes, got 3"),
        ({"tasks": 0}, "the stream arrays: tasks must be a whole number >= 1, or a list, each item .*, got 0"),
        ({"tasks": -2}, "tasks must be a whole number >= 1"),
        ({"tasks": True}, "tasks must be .* got True"),
        ({"tasks": "2"}, "tasks must be .* got '2'"),
        ({"tasks": [2, 3]}, r"tasks asks for 5 classes, and there are 4: \[2, 3\]"),
        ({"tasks": [2, 0]}, r"tasks must be .* got \[2, 0\]"),
        ({"tasks": []}, "tasks must be a number of tasks or a list of their sizes, got an empty list"),
        ({"tasks": 3, "order": [0, 1]}, "tasks must divide the 2 classes, got 3; give a list"),
        (
            {"order": "reversed"},
            "order must be 'fixed' or 'seeded' or 'numpy' or 'shuffled', or a list, each item .* got 'reversed'",
        ),
        ({"left_out": 4}, "left_out must leave some of the 4 classes, got 4"),
        ({"left_out": -1}, "left_out must be a whole number >= 0, got -1"),
        ({"left_out": 1}, "tasks must divide the 3 classes, got 2"),
        ({"left_out": 1, "order": [0, 1]}, r"what is not in it: order = \[0, 1\], no left_out"),
        ({"order": "numpy"}, "order = 'numpy' or 'shuffled' and order_seeds go together, got 'numpy' and None"),
        (
            {"order": "seeded", "order_seeds": [2, 21]},
            "order = 'numpy' or 'shuffled' and order_seeds go together, got 'seeded' and",
        ),
        ({"order": "numpy", "order_seeds": [21, 2]}, r"order_seeds must be \[first, last\].* got \[21, 2\]"),
        ({"order": "numpy", "order_seeds": [2]}, r"order_seeds must be \[first, last\].* got \[2\]"),
        ({"order": "numpy", "order_seeds": [0, 2**32]}, "order_seeds must be .* each below 2.32"),
        ({"order": []}, r"order must be .* a list of classes of 0 to 3, got \[\]"),
        ({"order": [0, 4]}, r"order must be .* a list of classes of 0 to 3, got \[0, 4\]"),
        ({"order": [0, 1, 2, 2]}, "order must be"),
        ({"order": 5}, "order"),
        ({"order": [0, 1, 2, "3"]}, "order"),
        ({"order": [0.0, 1, 2, 3]}, "order must be"),
        ({"order": [[1]]}, "order must be"),
        ({"pad": True}, "pad must be a whole number >= 0, got True"),
        ({"pad": 1.5}, "pad"),
        ({"pad": -1}, "pad"),
        ({"std": 0.0}, "std must be a finite number > 0, or a list, .* got 0.0"),
        ({"std": [1.0, 0.0]}, "std must be"),
        ({"mean": float("nan")}, "mean must be a finite number, .* got nan"),
        ({"mean": [0.1, 0.2, 0.3]}, "mean"),
        ({"data": "colour", "mean": [0.1, 0.2], "std": [1, 1]}, "mean"),
        ({"data": "vectors", "pad": 1}, "vectors holds vectors, not images: pad does not apply"),
        ({"data": "vectors", "mean": [0.5, 0.1]}, "mean and std must be one number, or one for each of the 7 values"),
        ({"active_units": "sen"}, "unknown active_units 'sen'; the nearest is 'seen'"),
    ],
)
def test_mistakes(root, change, message):
    with pytest.raises(UserError, match=message) as error:
        build(root, **{**GREY, **change})
    assert "\n" not in str(error.value)


def test_unknown_scenario(root):
    with pytest.raises(UserError, match="unknown scenario 'tsk'; the nearest is 'task'"):
        build(root, "tsk", **GREY)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "permutedmnist", "tasks": 0}, "tasks must be a whole number >= 1, got 0"),
        ({"name": "permutedmnist", "first": "plane"}, "unknown first 'plane'; the nearest is 'plain'"),
        ({"name": "permutedmnist", "permutations": "sedded"}, "permutations must be 'seeded', or a whole number"),
        ({"name": "permutedmnist", "permutations": -1}, "permutations"),
        ({"name": "permutedmnist", "permutations": 1.5}, "permutations"),
        (
            {"name": "rotatedmnist", "angles": [0, 200]},
            "angles must be a list, each item a number from -180 to",
        ),
        ({"name": "rotatedmnist", "angles": []}, "angles must be at least one number"),
        ({"name": "rotatedmnist", "angles": 20}, "angles"),
        ({"name": "rotatedmnist", "angles": [0, float("nan")]}, "angles must be a list"),
        ({"name": "rotatedmnist", "angles": [0, "20"]}, "angles must be a list"),
        ({"name": "rotatedmnist", "angles": [0, True]}, "angles must be a list"),
        ({"name": "rotatedmnist", "angles": "sedded"}, "angles must be .*, or 'seeded' or 'uniform', got 'sedded'"),
        ({"name": "rotatedmnist", "angles": "seeded"}, "tasks, the number of drawn angles, is needed .* got None"),
        ({"name": "rotatedmnist", "angles": "seeded", "tasks": 0}, "tasks must be a whole number >= 1, or None, got 0"),
        ({"name": "rotatedmnist", "tasks": 5}, "tasks, .* goes with drawn angles only, got 5"),
        ({"name": "rotatedmnist", "examples": 31}, "examples must be at most the 30 training images of task 1, got 31"),
        ({"name": "rotatedmnist", "examples": 0}, "examples must be a whole number >= 1, or None, got 0"),
        ({"name": "permutedmnist", "examples": 31}, "examples must be at most the 30 training images"),
        ({"name": "permutedmnist", "examples": "all"}, "examples must be a whole number >= 1, or None, got 'all'"),
        ({"name": "splitdigits", "tasks": 3}, "tasks must divide the 10 classes, got 3"),
        ({"name": "splitdigits", "permutations": 2}, "unknown option of the stream splitdigits 'permutations'"),
    ],
)
def test_mistakes_in_streams_of_standard_sets(small_root, spec, message):
    with pytest.raises(UserError, match=message) as error:
        build(small_root, "domain", **spec)
    assert "\n" not in str(error.value)

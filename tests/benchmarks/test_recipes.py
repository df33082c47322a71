"""Recipes of streams: the seed, the caller's random numbers, uneven tasks, what is kept of Avalanche."""

import json
import random
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from benchmarks import data, materialise, streams
from methods.base.errors import UserError
from methods.base.rng import derive
from tests.support import small_sets
from tests.support.avalanche_items import (
    NUMBERED,
    SEED,
    assert_same_items,
    build,
    ordered,
    seeded_classes,
    sides,
    split_of,
)
from tests.support.own import modules


@pytest.fixture(scope="module")
def small_root(tmp_path_factory):
    """A data root with stand-ins for the standard sets, and `mine` in the array layout."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        small_sets.write(root, patch)
        small_sets.write_arrays(root / "mine", (4, 5))
        yield root


@pytest.mark.parametrize(
    ("spec", "needs"),
    [
        ({"name": "splitdigits"}, False),
        ({"name": "splitdigits", "order": "seeded"}, True),
        ({"name": "splitdigits", "order": "numpy", "order_seeds": [2, 21]}, True),
        ({"name": "splitdigits", "order": "shuffled", "order_seeds": [2, 21]}, True),
        ({"name": "splitdigits", "examples": 9}, False),
        ({"name": "permutedmnist"}, True),
        ({"name": "permutedmnist", "permutations": 7}, False),
        ({"name": "rotatedmnist"}, False),
        ({"name": "rotatedmnist", "angles": "seeded", "tasks": 3}, True),
        ({"name": "rotatedmnist", "angles": "uniform", "tasks": 3}, True),
        ({"name": "rotatedmnist", "examples": 12}, False),
    ],
)
def test_a_stream_depends_on_the_seed_where_it_says_so(small_root, spec, needs):
    assert streams.recipe(streams.resolve(spec)).needs_seed == needs
    one, two = (content(build(small_root, "class", seed=seed, **spec)) for seed in (1, 2))
    assert (one == two) != needs


def content(stream):
    """Everything that a stream holds, in a form that can be compared."""
    taken = [part.take(torch.arange(len(part.rows))) for _, each in sides(stream) for e in each for part in e.parts]
    return [[tensor.tolist() for tensor in tensors] for tensors in taken], [task.classes for task in stream.tasks]


@pytest.mark.parametrize("draw", [lambda seed: derive(seed, "stream"), lambda seed: np.random.RandomState(seed + 1)])
def test_a_stream_that_does_not_declare_the_seed_cannot_use_it(small_root, draw):
    @dataclass(frozen=True)
    class Undeclared(materialise.Recipe):
        data_set: ClassVar[str] = "digits"

        def tasks_of(self, images, seed):
            draw(seed)
            return materialise.whole_set_tasks(images, [None], None, seed)

    with pytest.raises((UserError, TypeError), match=r"declare|NoneType"):
        materialise.build(Undeclared(), "domain", 1, small_root)


def test_an_order_of_numpy_is_that_of_a_code_that_permutes_the_labels(small_root):
    """A digit y gets the label p[y], numpy seeded with s; labels 2k and 2k + 1 are of task k, and 0 and 1 within it."""
    spec = {"name": "splitdigits", "order": "numpy", "order_seeds": [2, 21]}
    raw = data.load("digits", small_root)
    for seed, s in ((1, 2), (20, 21), (21, 2), (40, 21)):
        assert streams.recipe(streams.resolve(spec)).order_seed(seed) == s
        np.random.seed(s)
        p = np.random.permutation(list(range(10)))
        for scenario, first in (("domain", 0), ("class", 1)):
            stream = build(small_root, scenario, seed=seed, **spec)
            for k, (train, test) in enumerate(zip((task.train for task in stream.tasks), stream.tests, strict=True)):
                for examples, x, y in ((train, raw.train_x, raw.train_y), (test, raw.test_x, raw.test_y)):
                    label = torch.from_numpy(p)[y]
                    wanted = sorted(
                        (image.flatten().tolist(), int(unit) - 2 * k + 2 * k * first)
                        for image, unit in zip(x, label, strict=True)
                        if unit // 2 == k
                    )
                    assert len(wanted) == len(examples)
                    (part,) = examples.parts
                    found = zip(part.source[part.rows].flatten(1).tolist(), part.y.tolist(), strict=True)
                    assert sorted(found) == wanted


def test_a_seeded_order_depends_on_the_seed_alone(small_root):
    def order(seed):
        stream = build(small_root, "class", seed=seed, name="splitdigits", order="seeded")
        return [label for task in stream.tasks for label in task.classes]

    torch.manual_seed(0)
    first = order(1)
    torch.manual_seed(1)
    assert order(1) == first
    assert len({tuple(order(seed)) for seed in range(1, 5)}) == 4
    assert all(order(seed) == seeded_classes(seed, 10) for seed in range(1, 5))


EVERY = [
    {"name": "splitmnist", "order": "seeded"},
    {"name": "splitdigits", "order": "seeded"},
    {"name": "splitfashionmnist", "order": "seeded"},
    {"name": "splitcifar10", "order": "seeded"},
    {"name": "splitcifar100", "order": "seeded"},
    {"name": "arrays", "data": "mine", "tasks": 3, "order": "seeded"},
    {"name": "permutedmnist", "tasks": 2},
    {"name": "rotatedmnist", "angles": "seeded", "tasks": 2, "examples": 5},
]


@pytest.mark.parametrize("spec", EVERY, ids=lambda spec: spec["name"])
def test_the_random_numbers_of_the_caller_are_left_alone(small_root, spec, tmp_path, monkeypatch):
    assert {spec["name"] for spec in EVERY} == set(streams.names()) - modules("benchmarks/streams")
    monkeypatch.setattr(materialise, "PLANS", tmp_path)  # so that Avalanche is asked

    def states():
        return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()

    before = states()
    build(small_root, "class", **spec)
    assert states() == before and list(tmp_path.iterdir())


def test_a_split_stream_of_few_examples_draws_them_from_each_task(small_root):
    whole = build(small_root, "class", name="splitdigits")
    few = build(small_root, "class", name="splitdigits", examples=7)
    for task, part in zip(whole.tasks, few.tasks, strict=True):
        all_rows, rows = task.train.parts[0].rows.tolist(), part.train.parts[0].rows.tolist()
        assert len(set(rows)) == 7 and set(rows) < set(all_rows) and rows != all_rows[:7]
        assert set(part.train.y.tolist()) <= set(task.train.y.tolist())
    assert [len(test) for test in few.tests] == [len(test) for test in whole.tests]
    assert content(few) == content(build(small_root, "class", seed=2, name="splitdigits", examples=7))
    with pytest.raises(UserError, match=r"examples must be at most the .* training images of task 1, got 999"):
        build(small_root, "class", name="splitdigits", examples=999)


@pytest.mark.parametrize(
    ("options", "classes"),
    [
        ({"tasks": [5, 2, 3]}, [(0, 1, 2, 3, 4), (5, 6), (7, 8, 9)]),
        ({"tasks": [1, 3]}, [(0,), (1, 2, 3)]),  # the other classes are left out
        ({"tasks": 3, "order": [9, 0, 2, 1, 5, 7]}, [(9, 0), (2, 1), (5, 7)]),
        ({"tasks": [2, 1], "order": [3, 8, 4]}, [(3, 8), (4,)]),
        ({"tasks": [4, 1], "order": "seeded"}, [tuple(seeded_classes(SEED, 10)[:4]), (seeded_classes(SEED, 10)[4],)]),
    ],
)
@pytest.mark.parametrize("scenario", NUMBERED)
def test_uneven_tasks_and_classes_that_are_left_out(small_root, scenario, options, classes):
    stream = build(small_root, scenario, name="splitdigits", **options)
    images = data.load("digits", small_root)
    assert [task.classes for task in stream.tasks] == classes
    sizes = [len(own) for own in classes]
    assert stream.n_units == (max(sizes) if scenario == "domain" else sum(sizes))
    if scenario == "domain":  # the task is not known: every task may use every unit
        assert all(bool((each.parts[0].mask == 0).all()) for _, examples in sides(stream) for each in examples)
        assert all(bool((stream.mask_at(1, j) == 0).all()) for j in range(len(classes)))
    for (side, examples), x, y in zip(
        sides(stream), (images.train_x, images.test_x), (images.train_y, images.test_y), strict=True
    ):
        for k, (ours, own) in enumerate(zip(examples, classes, strict=True)):
            first = 0 if scenario == "domain" else sum(sizes[:k])
            taken, units, _ = ours.take(torch.arange(len(ours)))
            for place, label in enumerate(own):
                assert torch.equal(taken[units == first + place], x[y == label] / 16), (side, k, label)
            assert len(ours) == sum(int((y == label).sum()) for label in own)


def test_uneven_tasks_are_avalanches(small_root):
    stream = build(small_root, "class", name="splitdigits", tasks=[5, 2, 3], order="seeded")
    options = {**ordered("seeded", 10), **NUMBERED["class"], "per_exp_classes": {0: 5, 1: 2, 2: 3}}
    assert_same_items(stream, split_of(data.load("digits", small_root), 16, 3, **options), some=40)


def test_what_avalanche_answered_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(materialise, "PLANS", tmp_path)
    first = materialise.deal(6, 2, per_exp_classes=[4, 2], seed=3)
    (file,) = tmp_path.iterdir()
    asked = []

    def ask(*question):
        asked.append(question)
        return first

    monkeypatch.setattr(materialise, "_ask_avalanche", ask)
    assert [[tuple(pair) for pair in task] for task in materialise.deal(6, 2, per_exp_classes=[4, 2], seed=3)] == first
    assert not asked
    materialise.deal(6, 2, per_exp_classes=[4, 2], seed=4)  # another question
    assert len(asked) == 1
    kept = json.loads(file.read_text(encoding="utf-8"))
    wrong = (
        [[[0, 0], [0, 1], [2, 2], [3, 3]], [[4, 0], [5, 1]]],
        [[[6, 0]], [[1, 0]]],
        [[[0, 1]], [[1, 0]]],
        [[], []],
        5,
    )
    texts = [json.dumps({**kept, "deal": deal}) for deal in wrong] + [json.dumps({**kept, "question": 1}), "{", "[]"]
    for damaged in texts:
        asked.clear()
        file.write_text(damaged, encoding="utf-8")
        assert materialise.deal(6, 2, per_exp_classes=[4, 2], seed=3) == first and asked, damaged
    monkeypatch.setattr(materialise, "PLANS", file / "no folder")
    assert materialise.deal(6, 2, per_exp_classes=[4, 2], seed=3) == first


def test_tasks_on_the_whole_set_share_its_bytes(small_root):
    for spec in ({"name": "permutedmnist"}, {"name": "rotatedmnist"}, {"name": "splitmnist"}):
        stream = build(small_root, "domain", **spec)
        for _, examples in sides(stream):
            assert len({each.parts[0].source.data_ptr() for each in examples}) == 1
            assert examples[0].parts[0].source.dtype == torch.uint8


HEAD = """
from dataclasses import dataclass
from typing import ClassVar
from benchmarks.materialise import Recipe, Split, whole_set_tasks
"""
FILES = {
    "onetask": HEAD
    + '@dataclass(frozen=True)\nclass One(Recipe):\n    data_set: ClassVar[str] = "digits"\n    examples: int = 9\n'
    + "    def tasks_of(self, images, seed):\n        return whole_set_tasks(images, [None], self.examples, seed)\n",
    "plain": HEAD + "class Plain(Split):\n    tasks: int = 2\n",
    "two": HEAD + "".join(f"@dataclass(frozen=True)\nclass {name}(Split):\n    pass\n" for name in "AB"),
    "nothing": HEAD,
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Stream files that lie among the streams for as long as the test."""
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(streams, "__path__", [*streams.__path__, str(tmp_path)])
    yield
    for name in FILES:
        sys.modules.pop(f"benchmarks.streams.{name}", None)


def test_a_stream_is_one_file(files, small_root):
    assert "onetask" in streams.names()
    assert list(streams.defaults("onetask")) == ["examples", "pad", "mean", "std", "active_units", "evaluate"]
    stream = build(small_root, "class", name="onetask")
    assert [len(task.train) for task in stream.tasks] == [9] and stream.n_units == 10


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("plain", r": write @dataclass\(frozen=True\) above class Plain"),
        ("two", " needs one class of its own that derives from Recipe, found A and B"),
        ("nothing", " needs one class of its own that derives from Recipe, found none"),
    ],
)
def test_a_file_that_is_no_stream_is_named(files, name, fault):
    with pytest.raises(UserError, match=rf"benchmarks/streams/{name}\.py{fault}"):
        streams.resolve({"name": name})

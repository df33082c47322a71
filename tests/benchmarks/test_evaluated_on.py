"""What a stream is evaluated on: its test sets, its training sets, or a tenth held out of those."""

from pathlib import Path

import pytest
import torch

from benchmarks import streams
from methods.base.errors import UserError
from tests.support import toy

ROOT = Path("data")


def pixels(examples):
    x, y, _ = examples.take(torch.arange(len(examples)))
    return [(*row.tolist(), label) for row, label in zip(x.flatten(1), y.tolist(), strict=True)]


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_held_out_examples_are_a_tenth_and_are_not_trained_on(scenario):
    stream = toy.stream(scenario)
    held = stream.evaluated_on("held-out")
    for whole, task, test in zip(stream.tasks, held.tasks, held.tests, strict=True):
        assert len(test) == -(-len(whole.train) // 10)
        assert sorted(pixels(task.train) + pixels(test)) == sorted(pixels(whole.train))
        assert not set(pixels(task.train)) & set(pixels(test))
        rows = task.train.parts[0].rows.tolist()
        assert [row for row in whole.train.parts[0].rows.tolist() if row in set(rows)] == rows  # in the stream's order
        assert (task.index, task.classes, task.own_units) == (whole.index, whole.classes, whole.own_units)
    assert [held.mask_at(k, j) is None for k in range(4) for j in range(3)] == [
        stream.mask_at(k, j) is None for k in range(4) for j in range(3)
    ]


def test_the_same_examples_are_held_out_every_time():
    one, two = (toy.stream("class").evaluated_on("held-out") for _ in range(2))
    assert [pixels(test) for test in one.tests] == [pixels(test) for test in two.tests]


def test_examples_of_every_class_are_held_out():
    held = toy.stream("class").evaluated_on("held-out")
    assert [set(test.parts[0].y.tolist()) for test in held.tests] == [{0, 1}, {2, 3}, {4, 5}]


def test_evaluation_on_training_sets():
    stream = toy.stream("task")
    on_train = stream.evaluated_on("train")
    assert [pixels(test) for test in on_train.tests] == [pixels(task.train) for task in stream.tasks]
    assert on_train.tasks == stream.tasks


def test_the_test_sets_are_the_default():
    stream = toy.stream("task")
    assert stream.evaluated_on("test") is stream
    assert streams.resolve({"name": "splitdigits"}).options["evaluate"] == "test"


def test_every_stream_has_the_option():
    built = [
        streams.build(streams.resolve({"name": "splitdigits", "evaluate": what}), "task", 1, ROOT)
        for what in ("test", "train", "held-out")
    ]
    test, train, held = ([len(examples) for examples in stream.tests] for stream in built)
    assert sum(test) < sum(train)
    assert held == [-(-n // 10) for n in train]
    assert [len(task.train) + out for task, out in zip(built[2].tasks, held, strict=True)] == train


def test_a_word_that_is_none_of_them():
    with pytest.raises(UserError, match=r"the stream splitmnist: unknown evaluate 'tests'.*test"):
        streams.resolve({"name": "splitmnist", "evaluate": "tests"})
    with pytest.raises(UserError, match="evaluate"):
        toy.stream("task").evaluated_on("validation")


def test_a_task_of_one_example_has_none_to_hold_out():
    stream = toy.stream("domain", sizes=(1, 1, 1))
    held = stream.evaluated_on("held-out")
    assert [len(task.train) for task in held.tasks] == [1, 1, 1]
    alone = held.evaluated_on
    with pytest.raises(UserError, match="training set of task 1 without what is held out is empty"):
        alone("held-out")

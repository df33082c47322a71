"""Counts of right predictions: which units may win, and where there is none."""

from dataclasses import replace

import pytest
import torch

from benchmarks.evaluation import evaluate
from benchmarks.learner import fit
from methods.base.net import Net
from methods.base.rng import generator
from tests.support import toy

SCENARIOS = pytest.mark.parametrize("scenario", ["task", "domain", "class"])


@SCENARIOS
@pytest.mark.parametrize("batch", [7, 33, 2500], ids=["batches", "two-sets-together", "all-together"])
def test_counts_are_those_of_a_hand_loop(scenario, batch, monkeypatch):
    """Theta after each task, kept by `after_task`; one example at a time, the largest logit of the allowed units."""
    stream = toy.stream(scenario)
    sets = zip(stream.tests, (20, 13, 9), strict=True)
    stream = replace(stream, tests=tuple(test.select(torch.arange(n)) for test, n in sets))
    method = toy.make("naive")
    thetas = [Net(toy.module(stream)).vector()]
    method.after_task = lambda theta, task: thetas.append(theta)
    monkeypatch.setattr("benchmarks.evaluation.BATCH", batch)
    counts, last = toy.run(method, stream)
    assert torch.equal(thetas[-1], last)
    net = Net(toy.module(stream))
    for k, (theta, row) in enumerate(zip(thetas, counts, strict=True)):
        for j, test in enumerate(stream.tests):
            units = {"task": [2 * j, 2 * j + 1], "domain": [0, 1], "class": list(range(2 * k))}[scenario]
            if scenario == "class" and j >= k:
                assert row[j] is None
                continue
            right = 0
            for n in range(len(test)):
                x, y, _ = test.take(torch.tensor([n]))
                logits = net(theta, x)[0]
                right += max(units, key=lambda unit, logits=logits: float(logits[unit])) == int(y)
            assert row[j] == right
    assert {cell for row in counts for cell in row if cell is not None} - {0, 9, 10, 13, 20}, "not trivial"


@SCENARIOS
def test_rows_between_the_first_and_last_of_joint_are_not_applicable(scenario):
    counts, _ = toy.run(toy.make("joint"), toy.stream(scenario))
    assert counts[1] == counts[2] == [None] * 3
    assert all(isinstance(count, int) for count in counts[3])
    assert counts[0] == ([None] * 3 if scenario == "class" else counts[0])
    assert scenario == "class" or None not in counts[0]


@SCENARIOS
@pytest.mark.parametrize("method", ["naive", "joint"])
def test_learnt_tasks_alone_have_the_counts_of_all(method, scenario):
    """Row k keeps its first k entries, to the last digit, and measures nothing else. Row T is whole."""
    everything, theta = toy.run(toy.make(method), toy.stream(scenario))
    counts, same = toy.run(toy.make(method), toy.stream(scenario), train=replace(toy.TRAIN, measured="learnt"))
    assert torch.equal(theta, same)
    assert counts == [row[:k] + [None] * (3 - k) for k, row in enumerate(everything)]
    assert None not in counts[3]


def test_counts_of_replicas_are_lists():
    counts, theta = toy.run(toy.make("naive"), toy.stream("class"), (1, 2))
    assert theta.dim() == 2
    assert counts[1][0] == [
        cell[1][0] for cell in (toy.run(toy.make("naive"), toy.stream("class"), (s,))[0] for s in (1, 2))
    ]
    assert counts[1][1] is None


def test_task_incremental_never_uses_other_heads():
    stream = toy.stream("task")
    method = toy.make("naive")
    theta = toy.begin(method, stream)
    spoilt = theta.clone()
    head = method.net.views(spoilt)
    head["head.weight"][[0, 1, 4, 5]], head["head.bias"][[0, 1, 4, 5]] = 1e3, 1e3
    assert evaluate(method, spoilt, stream, 1)[1] == evaluate(method, theta, stream, 1)[1]
    for start in (theta, spoilt):
        trained = start.clone()
        fit(method, trained, stream.tasks[1], toy.TRAIN.make_optimizer(trained), toy.TRAIN, [generator(1, "batches")])
        moved = method.net.views(trained != start)["head.bias"].tolist()
        assert moved == [False, False, True, True, False, False]


def test_class_incremental_uses_the_classes_seen_and_no_task():
    """A unit of a class seen later in the stream wins as soon as it is seen, for the test set of any task."""
    stream = toy.stream("class")
    method = toy.make("naive")
    theta = toy.begin(method, stream)
    method.net.views(theta)["head.bias"][3] = 1e3
    zeros = [int((test.take(torch.arange(20))[1] == 3).sum()) for test in stream.tests]
    assert evaluate(method, theta, stream, 2) == [0, zeros[1], None]
    assert evaluate(method, theta, stream, 3) == [0, zeros[1], 0]
    assert evaluate(method, theta, stream, 1)[0] > 0


@SCENARIOS
def test_lowest_unit_wins_ties(scenario):
    stream = toy.stream(scenario)
    method = toy.make("naive")
    theta = torch.zeros_like(toy.begin(method, stream))
    lowest = {"task": [0, 2, 4], "domain": [0, 0, 0], "class": [0, 0, 0]}[scenario]
    expected = [int((test.parts[0].y == unit).sum()) for test, unit in zip(stream.tests, lowest, strict=True)]
    assert evaluate(method, theta, stream, 3) == expected
    assert 0 < expected[0] < 20

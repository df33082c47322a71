"""A stream as tensors: units and masks of each scenario, batches, the joined stream, packing for the workers."""

import pytest
import torch

from benchmarks import stream
from benchmarks.stream import TaskData, assemble
from methods.base.errors import UserError
from methods.base.examples import Examples, Part
from methods.base.rng import generator

TASKS, CLASSES, EACH = 3, 2, 4  # tasks, classes of each, training examples of each task; half as many test examples
PAIRS = [(0, 1), (2, 3), (4, 5)]


def toy(scenario, active_units="seen", permuted=False):
    """Tasks as rows of one shared array; pixel values tell the examples apart."""
    source, test_source = torch.arange(36.0).view(12, 1, 3), -torch.arange(18.0).view(6, 1, 3)
    tasks = [
        TaskData(
            classes=(10 + 2 * k, 11 + 2 * k),
            train=(source, torch.arange(4 * k, 4 * k + 4), torch.tensor([0, 1, 1, 0])),
            test=(test_source, torch.arange(2 * k, 2 * k + 2), torch.tensor([1, 0])),
            gather=torch.arange(3).roll(k) if permuted else None,
        )
        for k in range(TASKS)
    ]
    return assemble(scenario, tasks, active_units)


def allowed(mask):
    """The units of a mask, which holds nothing but 0 and -1e9."""
    assert bool(((mask == 0) | (mask == -1e9)).all())
    return tuple((mask == 0).nonzero().flatten().tolist())


@pytest.mark.parametrize(
    ("scenario", "active_units", "in_training", "own_units"),
    [
        ("task", "seen", PAIRS, True),
        ("task", "all", PAIRS, True),
        ("domain", "seen", [(0, 1)] * 3, False),
        ("domain", "all", [(0, 1)] * 3, False),
        ("domain", "current", [(0, 1)] * 3, False),
        ("class", "seen", [(0, 1), (0, 1, 2, 3), (0, 1, 2, 3, 4, 5)], False),
        ("class", "all", [(0, 1, 2, 3, 4, 5)] * 3, False),
        ("class", "current", PAIRS, True),
    ],
)
def test_units_of_each_scenario(scenario, active_units, in_training, own_units):
    made = toy(scenario, active_units)
    assert [allowed(task.train.parts[0].mask) for task in made.tasks] == in_training
    assert made.n_units == (2 if scenario == "domain" else 6)
    assert list(made.owned) == ([(0, 1)] * 3 if scenario == "domain" else PAIRS)
    for k, (task, test) in enumerate(zip(made.tasks, made.tests, strict=True)):
        first = 0 if scenario == "domain" else 2 * k
        assert (task.index, task.classes, task.own_units) == (k, (10 + 2 * k, 11 + 2 * k), own_units)
        assert task.train.parts[0].y.tolist() == [first, first + 1, first + 1, first]
        assert test.parts[0].y.tolist() == [first + 1, first]


@pytest.mark.parametrize("active_units", stream.ACTIVE_UNITS)
def test_units_at_test_time_do_not_leak_the_task(active_units):
    found = {scenario: toy(scenario, active_units) for scenario in stream.SCENARIOS}
    for seen in range(TASKS + 1):
        for j in range(TASKS):
            assert allowed(found["task"].mask_at(seen, j)) == PAIRS[j]
            assert allowed(found["domain"].mask_at(seen, j)) == (0, 1)
            assert allowed(found["class"].mask_at(seen, j)) == tuple(range(2 * seen))


@pytest.mark.parametrize("scenario", stream.SCENARIOS)
def test_replayed_examples_keep_their_units_where_the_task_is_known(scenario):
    made = toy(scenario)
    memory = made.tasks[0].train.select(torch.tensor([0, 1]))
    x, y, mask = made.tasks[2].remask(memory).take(torch.arange(2))
    expected = {"task": (0, 1), "domain": (0, 1), "class": (0, 1, 2, 3, 4, 5)}[scenario]
    assert {allowed(row) for row in mask.expand(2, -1)} == {expected}
    assert torch.equal(x, made.tasks[0].train.take(torch.arange(2))[0]) and y.tolist() == [0, 1]


@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("scenario", stream.SCENARIOS)
def test_joined_is_all_tasks_as_one(scenario, permuted):
    made = toy(scenario, permuted=permuted)
    joined = made.joined()
    (task,) = joined.tasks
    assert (task.index, task.classes) == (2, (10, 11, 12, 13, 14, 15))
    assert joined.tests is made.tests and joined.owned == made.owned
    x, y, mask = task.train.take(torch.arange(TASKS * EACH))
    for k, one in enumerate(made.tasks):
        here = slice(EACH * k, EACH * (k + 1))
        their_x, their_y, _ = one.train.take(torch.arange(EACH))
        assert torch.equal(x[here], their_x) and torch.equal(y[here], their_y)
        expected = {"task": PAIRS[k], "domain": (0, 1), "class": (0, 1, 2, 3, 4, 5)}[scenario]
        assert {allowed(row) for row in mask[here]} == {expected}
    assert {part.source.data_ptr() for part in task.train.parts} == {made.tasks[0].train.parts[0].source.data_ptr()}


def test_take_applies_the_permutation_to_any_shape_of_index():
    train = toy("task", permuted=True).tasks[1].train  # pixel d is pixel d - 1 of its source
    index = torch.tensor([[0, 3], [1, 1]])
    x, y, mask = train.take(index)
    assert x.shape == (2, 2, 1, 3) and mask.shape == (6,)
    assert x[0, 1, 0].tolist() == [23, 21, 22]  # row 7 of the source is 21, 22, 23
    assert y.tolist() == [[2, 2], [3, 3]]
    assert train.take(torch.tensor(3))[0].tolist() == [[23, 21, 22]]


def test_examples_of_several_parts():
    made = toy("task", permuted=True)
    both = made.tasks[0].train + made.tasks[2].train
    index = torch.tensor([5, 0, 7, 3])
    x, y, mask = both.take(index)
    for i, (k, row) in enumerate([(2, 1), (0, 0), (2, 3), (0, 3)]):
        own_x, own_y, own_mask = made.tasks[k].train.take(torch.tensor(row))
        assert torch.equal(x[i], own_x) and y[i] == own_y and torch.equal(mask[i], own_mask)
    everything = torch.arange(8)
    for same, which in (
        (both.merge(), everything),
        (both.select(index), index),
        (both.repeat(2), torch.cat([everything, everything])),
        (both.to(torch.device("cpu")), everything),
    ):
        assert len(same) == len(which)
        assert all(map(torch.equal, same.take(torch.arange(len(same))), both.take(which)))
    assert both.merge().parts[0].source.data_ptr() != made.tasks[0].train.parts[0].source.data_ptr()


def test_batches_hold_every_example_once():
    train = toy("class").joined().tasks[0].train
    everything = train.take(torch.arange(12))
    for tensors, whole in zip(zip(*train.batches(5), strict=True), everything, strict=True):
        assert [len(each) for each in tensors] == [5, 5, 2]
        assert torch.equal(torch.cat(tensors), whole)
    shuffled = [torch.cat([y for _, y, _ in train.batches(5, generator(s, "batches"))]).tolist() for s in (1, 1, 2)]
    assert shuffled[0] == shuffled[1] != shuffled[2] != everything[1].tolist()
    assert sorted(shuffled[0]) == sorted(everything[1].tolist())


def part(rows, y):
    return torch.zeros(4, 2), torch.tensor(rows, dtype=torch.int64), torch.tensor(y, dtype=torch.int64)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (part([0, 1], [0, 2]), part([0], [0]), r"training set of task 2 .* units 2 to 4, .* only \[2, 3\]"),
        (part([0, 1], [0, 1]), part([0], [2]), "test set of task 2 has labels of units 4 to 4"),
        (part([0, 1], [-1, 1]), part([0], [0]), "training set of task 2 has labels of units 1 to 3"),
        (part([], []), part([0], [0]), "training set of task 2 is empty"),
        (part([0], [0]), part([], []), "test set of task 2 is empty"),
    ],
)
def test_labels_outside_the_mask_and_empty_tasks_are_refused(train, test, message):
    good = part([0, 1], [0, 1])
    with pytest.raises(UserError, match=message):
        assemble("task", [TaskData((0, 1), good, good), TaskData((2, 3), train, test)])


def test_a_label_beyond_the_last_unit_is_refused():
    mask = stream.mask_of([0, 1], 2)
    with pytest.raises(UserError, match="units 0 to 2"):
        stream.check("the set", Examples((Part(*part([0, 1], [0, 2]), mask),)))


def test_unknown_scenario_and_units():
    with pytest.raises(UserError, match="unknown scenario 'clas'; the nearest is 'class'"):
        toy("clas")
    with pytest.raises(UserError, match="unknown active_units 'curent'; the nearest is 'current'"):
        toy("class", "curent")

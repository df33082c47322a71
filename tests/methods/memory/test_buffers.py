"""What the buffers of experience replay keep: how many of each class, which, and with what probability."""

import itertools
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from math import prod

import pytest
import torch

from methods.base.examples import Examples, Part
from methods.base.rng import generator
from methods.memory.buffers import fill
from tests.support import toy
from tests.support.marked import BUFFER, CURRENT, SCENARIOS, everything, marked, numbers, tasks_done

STILL = replace(toy.TRAIN, lr=1e-9, batch=7, epochs=1)  # pixels that number the examples are nothing to train on


def history(method, stream, train=STILL):
    """(Numbers of the examples that came, numbers kept then): after each step, or after each task if filled there."""
    found, loss, after_task = [], method.loss, method.after_task

    def watched_loss(theta, x, y, mask):
        value = loss(theta, x, y, mask)
        if method.replay_current:
            found.append((x.flatten(1)[:, 0].long().tolist(), numbers(method.kept)))
        return value

    def watched_after_task(theta, task):
        after_task(theta, task)
        if not method.replay_current:
            found.append((numbers(task.train), numbers(method.kept)))

    method.loss, method.after_task = watched_loss, watched_after_task
    toy.run(method, stream, train=train)
    return found


@SCENARIOS
@CURRENT
@BUFFER
@pytest.mark.parametrize("memory", [6, 7, 50, 1000])
def test_after_every_step_each_class_has_its_share(buffer, current, scenario, memory):
    """No example twice, none too many, of every class min(share, what came of it); in a ring its last."""
    stream = marked(scenario)
    own_class = {}
    for task in stream.tasks:
        _, y, _ = task.train.take(torch.arange(len(task.train)))
        own_class |= {n: (task.index, unit) for n, unit in zip(numbers(task.train), y.tolist(), strict=True)}
    came = {}  # of each class, in the order in which the classes came
    for new, kept in history(toy.make("replay", memory=memory, buffer=buffer, replay_current=current), stream):
        for arrived in sorted({own_class[n] for n in new}):
            came.setdefault(arrived, [])
        for n in new:
            came[own_class[n]].append(n)
        assert len(kept) == len(set(kept)) <= memory
        if buffer == "reservoir":
            assert len(kept) == min(memory, sum(map(len, came.values())))
        for rank, (each, of_it) in enumerate(came.items()):
            own = {n for n in kept if own_class[n] == each}
            assert own <= set(of_it)
            share = memory // len(came) + (rank < memory % len(came))
            assert buffer == "reservoir" or len(own) == min(share, len(of_it))
            assert buffer != "ring" or own == set(of_it[-share:])
    assert len(came) == 6


@SCENARIOS
@pytest.mark.parametrize("buffer", ["ring", "class_balanced"])
def test_with_places_for_each_class_those_kept_stay(buffer, scenario):
    method = toy.make("replay", memory=None, per_class=4, buffer=buffer)
    kept = [set(numbers(method.kept)) if method.kept else set() for _ in tasks_done(method, marked(scenario))]
    kept.append(set(numbers(method.kept)))
    assert [len(each) for each in kept] == [0, 8, 16, 24]
    assert all(before < after for before, after in itertools.pairwise(kept))


@CURRENT
@BUFFER
def test_with_room_for_all_each_is_kept_once(buffer, current):
    """Room for the 180 examples, or for six times the largest class."""
    stream = marked("class")
    largest = max(int(task.train.parts[0].y.bincount().max()) for task in stream.tasks)
    for memory in (180 if buffer == "reservoir" else 6 * largest, 1000):
        method = toy.make("replay", memory=memory, buffer=buffer, replay_current=current)
        assert sorted(history(method, stream)[-1][1]) == sorted(everything(stream))


def test_a_second_epoch_offers_all_again_where_the_current_task_is_replayed():
    stream = marked("class")
    for current, times in ((False, 1), (True, 2)):
        method = toy.make("replay", memory=1000, replay_current=current)
        kept = history(method, stream, replace(STILL, epochs=2))[-1][1]
        assert sorted(kept) == sorted(everything(stream) * times)


class Draws:
    """Takes the place of torch's draws: over all turns, every outcome once, as an odometer counts."""

    def __init__(self):
        self.digits = []

    def turns(self):
        """One turn for each outcome of all that is drawn in it."""
        while True:
            self.bases = []
            yield
            while self.digits and self.digits[-1] == self.bases[len(self.digits) - 1] - 1:
                self.digits.pop()
            if not self.digits:
                return
            self.digits[-1] += 1

    def randint(self, n, size, generator):
        if len(self.bases) == len(self.digits):
            self.digits.append(0)
        self.bases.append(n)
        return torch.tensor(self.digits[len(self.bases) - 1])

    def randperm(self, n, generator):
        left = list(range(n))
        return torch.tensor([left.pop(int(self.randint(len(left), (), generator))) for _ in range(n)])


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(
    ("groups", "memory", "share"),
    [
        ([0, 0, 0, 0, 0, 0], 2, {0: 2}),
        ([0, 0, 0, 0, 0], 1, {0: 1}),
        ([0, 0, 0], 5, {0: 3}),
        ([0, 0, 0, 0, 1, 0, 1, 1], 3, {0: 2, 1: 1}),
        ([5, 5, 5, 2, 2, 5, 7, 2], 4, {5: 2, 2: 1, 7: 1}),
    ],
)
def test_each_of_a_group_is_kept_with_the_same_probability_exactly(monkeypatch, groups, memory, share, batch):
    """Over every outcome of every draw it is share / n, also in a class that was cut and goes on."""
    n = torch.arange(len(groups))
    examples = Part(n.view(-1, 1), n, torch.tensor(groups), torch.zeros(8))
    draws, total, found = Draws(), 0, dict.fromkeys(n.tolist(), 0)
    monkeypatch.setattr(torch, "randint", draws.randint)
    monkeypatch.setattr(torch, "randperm", draws.randperm)
    for _ in draws.turns():
        kept, places, seen = None, {}, {}
        for rows in n.split(batch):
            new = Examples((replace(examples, rows=rows, y=examples.y[rows]),))
            kept = fill(kept, new, examples.y[rows].tolist(), places, seen, memory, draws)
        probability = Fraction(1, prod(draws.bases))
        total += probability
        for each in numbers(kept):
            found[each] += probability
    assert total == 1
    assert found == {each: Fraction(share[group], groups.count(group)) for each, group in enumerate(groups)}


def test_a_memory_that_grows_step_by_step_is_copied_a_few_times():
    n, draws = torch.arange(300), torch.Generator().manual_seed(0)
    kept, places, seen, sources = None, {}, {}, []
    for rows in n.split(3):
        new = Examples((Part(n.view(-1, 1), rows, rows * 0, torch.zeros(8)),))
        kept = fill(kept, new, [0] * 3, places, seen, 1000, draws)
        assert numbers(kept) == list(range(len(kept))) and len(kept) == rows[-1] + 1
        sources.append(kept.parts[0].source)  # held, so that no memory is given out twice
    assert len({source.data_ptr() for source in sources}) <= 1 + math.log2(300 / 3) + 1


@CURRENT
def test_a_memory_that_is_not_full_takes_no_room_after_a_task(current):
    method = toy.make("replay", memory=1000, buffer="reservoir", replay_current=current)
    toy.run(method, marked("class"), train=STILL)
    (part,) = method.kept.parts
    assert len(part.source) == len(part.rows) < 1000


@CURRENT
@pytest.mark.parametrize("buffer", ["reservoir", "class_balanced"])
def test_what_is_kept_is_uniform_over_seeds(buffer, current):
    """8 of the 16 examples of six classes: each example within 5 standard errors of 300 runs of the hooks.

    Of all, 8 / 16; of a class of n, min(share, n) / n. A count is binomial; the false alarm of all is below 1e-4.
    """
    stream, runs = marked("class", sizes=(4, 2, 2)), 300
    units = {}
    for task in stream.tasks:
        units |= dict(zip(numbers(task.train), task.train.parts[0].y.tolist(), strict=True))
    counts, sizes = dict.fromkeys(units, 0), Counter(units.values())
    for seed in range(runs):
        method = toy.make("replay", memory=8, buffer=buffer, replay_current=current)
        method.begin(
            lambda theta, x, train: torch.zeros(len(x), 6),
            torch.zeros(1),
            lambda role, task, replica=0, seed=seed: generator(seed, role, task),
        )
        for task in stream.tasks:
            method.before_task(torch.zeros(1), task)
            for batch in task.train.batches(3) if current else ():
                method.loss(torch.zeros(1), *batch)
            method.after_task(torch.zeros(1), task)
        for n in numbers(method.kept):
            counts[n] += 1
    for n, unit in units.items():
        p = 8 / len(units) if buffer == "reservoir" else min(2 if unit < 2 else 1, sizes[unit]) / sizes[unit]
        assert abs(counts[n] / runs - p) <= 5 * (p * (1 - p) / runs) ** 0.5, (n, p)

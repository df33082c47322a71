"""Rehearsal and replay: what the memory holds, and under which units it is trained."""

from dataclasses import replace

import pytest
import torch

from methods.base.errors import UserError
from tests.support import toy
from tests.support.marked import SCENARIOS, marked, masks, numbers, tasks_done


@SCENARIOS
def test_a_budget_without_an_example_for_each_task_is_refused(scenario):
    with pytest.raises(UserError, match="rehearsal: budget = 2 examples for 3 tasks: give at least one for each"):
        toy.run(toy.make("rehearsal", budget=2), toy.stream(scenario))


@SCENARIOS
@pytest.mark.parametrize("budget", [3, 5, 17, 1000])
def test_rehearsal_budget_is_shared_and_never_exceeded(scenario, budget):
    stream = marked(scenario)
    method = toy.make("rehearsal", budget=budget)
    earlier = []
    for k, trained in enumerate(tasks_done(method, stream)):
        sizes = [len(kept) for kept in method.memories]
        assert sizes == [min(budget // k, len(task.train)) for task in stream.tasks[:k]]
        assert sum(sizes) <= budget
        kept = [numbers(kept) for kept in method.memories]
        for before, now in zip(earlier, kept, strict=False):
            assert now == before[: len(now)], "those kept earlier are cut to their first ones"
        for task, now in enumerate(kept):
            assert len(set(now)) == len(now) and {n // 100 for n in now} <= {task}
        earlier = kept
        times = max(1, len(stream.tasks[k].train) // budget)
        old = [n for each in kept for n in each]
        assert sorted(numbers(trained.train)) == sorted(old * times + numbers(stream.tasks[k].train))


def test_rehearsal_draws_at_random():
    stream = marked("domain")
    drawn = set()
    for seed in range(12):
        method = toy.make("rehearsal", budget=12)
        for _ in tasks_done(method, replace(stream, tasks=stream.tasks[:1]), seed):
            pass
        drawn.add(tuple(numbers(method.memories[0])))
    assert len(drawn) == 12
    seen = {n for each in drawn for n in each}
    assert len(seen) > 40  # of 52; each is missed by 12 draws of 12 with probability 0.04


@pytest.mark.parametrize("name", ["rehearsal", "replay"])
@pytest.mark.parametrize(
    ("scenario", "active_units", "own"),
    [
        ("task", "seen", True),
        ("domain", "seen", False),
        ("class", "seen", False),
        ("class", "current", True),
        ("class", "all", False),
    ],
)
def test_old_examples_are_trained_under_the_right_units(name, scenario, active_units, own):
    """In task-IL, and where only current units are trained, under their own; otherwise under those of the new task."""
    stream = marked(scenario, active_units=active_units)
    method = toy.make(name, **{"rehearsal": {"budget": 40}, "replay": {"memory": 40}}[name])
    theta = toy.begin(method, stream)
    for task in stream.tasks:
        trained = method.before_task(theta, task)
        examples = trained.train if name == "rehearsal" else method.kept
        if task.index > 0:
            home = [stream.tasks[n // 100] for n in numbers(examples)]
            assert {each.index for each in home} >= set(range(task.index))
            expected = torch.stack([(each if own else task).train.parts[0].mask for each in home])
            assert torch.equal(masks(examples), expected)
            y = examples.take(torch.arange(len(examples)))[1]
            assert bool((masks(examples).gather(1, y[:, None]) == 0).all())
        method.after_task(theta, task)

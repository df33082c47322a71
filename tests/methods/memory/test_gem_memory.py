"""GEM with memories drawn at random, with a shared budget, and trained on, as Hsu et al. have it."""

from itertools import pairwise

import pytest
import torch

import methods
from methods.base.errors import UserError
from methods.gem import GEM
from tests.support import toy
from tests.support.constraints import PURE, case
from tests.support.marked import SCENARIOS, marked, masks, numbers, tasks_done, trained

RANDOM = {"memory": "random"}


@SCENARIOS
def test_gem_hsu_without_its_projection_is_naive_rehearsal_to_the_bit(scenario):
    """The same memory at the same seed, and the same training set; the projection does make a difference."""
    stream = toy.stream(scenario, torch.float32)
    method = toy.make("gem", preset="hsu", budget=20)
    _, projected = toy.run(method, stream)
    method.project = lambda grad, G: grad
    counts, theta = toy.run(method, stream)
    expected_counts, expected = toy.run(toy.make("rehearsal", budget=20), stream)
    assert torch.equal(theta, expected)
    assert counts == expected_counts
    assert not torch.equal(projected, expected)


@SCENARIOS
@pytest.mark.parametrize("budget", [3, 5, 17, 1000])
def test_gem_budget_is_shared_and_never_exceeded(scenario, budget):
    """At every step; one constraint for each earlier task, of all that is kept of it."""
    stream = marked(scenario)
    method = toy.make("gem", budget=budget, **RANDOM)
    sizes = []
    real = method.after_backward

    def after_backward(theta, grad):
        sizes.append([len(memory) for memory in method.memories])
        return real(theta, grad)

    method.after_backward = after_backward
    trained(method, stream, 3)
    lengths = [len(task.train) for task in stream.tasks]
    expected = [[min(budget // max(k, 1), n) for n in lengths[:k]] for k in range(4)]
    assert {tuple(size) for size in sizes} == {tuple(size) for size in expected[:3]}
    assert [len(memory) for memory in method.memories] == expected[3]
    assert max(map(sum, sizes)) <= budget


@SCENARIOS
def test_gem_draws_what_it_keeps(scenario):
    """Distinct examples of each task that later tasks leave alone, others with another seed, from all of the task."""
    stream = marked(scenario)
    drawn = []
    for seed in range(12):
        method = toy.make("gem", per_task=12, **RANDOM)
        kept = [[numbers(memory) for memory in method.memories] for _ in tasks_done(method, stream, seed)]
        kept.append([numbers(memory) for memory in method.memories])
        assert [now[: len(before)] for before, now in pairwise(kept)] == kept[:-1]
        assert [{n // 100 for n in memory} for memory in kept[-1]] == [{0}, {1}, {2}]
        assert [len(set(memory)) for memory in kept[-1]] == [12, 12, 12]
        drawn.append(kept[-1][0])
    assert len(set(map(tuple, drawn))) == 12
    assert len({n for memory in drawn for n in memory}) > 40  # of 52: each is missed with probability 0.04


@SCENARIOS
def test_gem_rehearses_under_the_units_of_the_constraints(scenario):
    """Memories of 3 among 60 and of 2 * 3 among 68 examples: twenty and eleven copies of each."""
    stream = marked(scenario)
    method = toy.make("gem", per_task=3, rehearse=True, **RANDOM)
    copies = []
    for task, given in zip(tasks_done(method, stream), stream.tasks, strict=True):
        old = [n for memory in method.memories for n in numbers(memory)]
        if not old:
            assert task is given
            continue
        copies.append((len(task.train) - len(given.train)) // len(old))
        assert sorted(numbers(task.train)) == sorted(old * copies[-1] + numbers(given.train))
        home = torch.cat([masks(memory) for memory in method.memories]).repeat(copies[-1], 1)
        assert torch.equal(masks(task.train), torch.cat([home, masks(given.train)]))
    assert copies == [20, 11]


def test_gem_relative_eps_by_hand():
    """Squared lengths 4 and 16: their mean 10 times 0.1 is added to both; products -1 and 1 make v = (1/5, 0)."""
    G = torch.tensor([[2.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    g = torch.tensor([-0.5, 0.25], dtype=torch.float64)
    found = GEM(per_task=1, margin=0.0, eps=0.1, eps_relative=True).project(g, G)
    torch.testing.assert_close(found, g + 0.2 * G[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_gem_relative_eps_does_not_depend_on_the_length_of_the_constraints(scale):
    """All of them scaled alike; an absolute eps does."""
    g, G = case(2)
    for eps_relative in (True, False):
        method = GEM(per_task=1, margin=0.0, eps=0.3, eps_relative=eps_relative)
        found, scaled = method.project(g, G), method.project(g, scale * G)
        if eps_relative:
            torch.testing.assert_close(scaled, found, rtol=1e-9, atol=1e-11)
            assert (found - PURE.project(g, G)).norm() > 0.01
        else:
            assert (scaled - found).norm() > 0.01


def test_gem_options_that_make_no_sense_together():
    for options in ({}, {"per_task": 8, "budget": 20, **RANDOM}):
        with pytest.raises(UserError, match="per_task and budget: give exactly one"):
            methods.make("gem", **options)
    for options in ({"budget": 20}, {"per_task": 8, "rehearse": True}):
        with pytest.raises(UserError, match="memory = 'last' takes neither budget nor rehearse: leave them out"):
            methods.make("gem", **options)
    assert methods.make("gem", "hsu", budget=20) == GEM(budget=20, memory="random", rehearse=True)
    method = toy.make("gem", preset="hsu", budget=2)
    with pytest.raises(UserError, match="budget = 2 examples for 3 tasks: give at least one for each"):
        list(tasks_done(method, marked("class")))


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("budget", bad) for bad in (0, -1, 1.5, "8", True)],
        *[("memory", bad) for bad in ("first", None, 0)],
        *[(option, bad) for option in ("rehearse", "eps_relative") for bad in (0, 1, "true", None)],
    ],
)
def test_gem_refuses(option, bad):
    with pytest.raises(UserError, match=rf"^(unknown )?{option}\b") as error:
        toy.make("gem", **{**RANDOM, option: bad})
    assert repr(bad) in str(error.value)

"""GEM: the projection by its definition, the two margins, and what the memories hold."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import methods
from methods.base.errors import UserError
from methods.gem import GEM
from tests.support import slow_methods, toy
from tests.support.constraints import PURE, case, nearest, opposed, solved
from tests.support.marked import SCENARIOS, marked, masks, numbers, trained
from tests.support.slow import flat, gradients, listed, mean_loss, parameters

CASES = [(seed, K) for seed in range(10) for K in (1, 2, 4, 7)]
BUILD = pytest.mark.parametrize("build", [case, opposed])


def violated(g, G):
    return bool((G @ g < 0).any())


@BUILD
@pytest.mark.parametrize(("seed", "K"), CASES)
def test_gem_meets_the_conditions_of_the_optimum(seed, K, build):
    """g~ - g = G^T v with v >= 0, G g~ >= 0, and v_k 0 wherever g_k . g~ is not: they are sufficient."""
    g, G = build(seed, K)
    assert violated(g, G)
    found = PURE.project(g, G)
    scale = float((G.norm(dim=1) * g.norm()).max())
    assert float((G @ found).min()) >= -1e-9 * scale
    v = torch.linalg.lstsq(G.T, (found - g)[:, None]).solution.flatten()
    torch.testing.assert_close(g + v @ G, found, rtol=1e-10, atol=1e-12)
    assert float(v.min()) >= -1e-10
    assert float((v * (G @ found)).abs().max()) <= 1e-9 * scale
    assert found.norm() <= g.norm()


@BUILD
@pytest.mark.parametrize("eps", [0.0, 1e-3, 2.0])
@pytest.mark.parametrize("bound", [0.0, 0.5, 3.0])
@pytest.mark.parametrize(("seed", "K"), CASES)
def test_gem_dual_is_the_one_set_of_bounds_that_fits(seed, K, bound, eps, build):
    """eps is on the diagonal of G G^T, whatever the lengths of the rows are."""
    g, G = build(seed, K)
    G = G * torch.logspace(-1, 1, K, dtype=G.dtype)[:, None]
    expected = slow_methods.bounded(G @ G.T + eps * torch.eye(K, dtype=G.dtype), G @ g, bound)
    torch.testing.assert_close(solved(g, G, eps, bound), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [1e-1, 1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("seed", range(10))
def test_gem_of_nearly_opposite_memories_is_the_nearest_point_of_their_cone(seed, apart, dtype):
    """What two opposite rows leave is a narrow wedge, which their products, rounded to float64, no longer show."""
    g, G = (value.to(dtype) for value in opposed(seed, 2, apart=apart))
    found, rows = PURE.project(g, G).double(), G.double() / G.double().norm(dim=1, keepdim=True)
    # v grows as 1 / apart, and so does what rounding leaves of v G: processors differ by some units in the last place.
    rounding = 1e-6 if dtype == torch.float32 else max(1e-11, 4 * torch.finfo(dtype).eps / apart)
    assert float((rows @ found).min()) >= -rounding * float(g.norm())
    torch.testing.assert_close(
        found, nearest(g.double(), G.double()), rtol=0, atol=1e-8 if dtype == g.double().dtype else 1e-6
    )


@pytest.mark.parametrize("ratio", [1.0, 1e-7, 1e-8, 1e-12, 1e-30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gem_does_not_drop_a_memory_whose_gradient_is_short(ratio, dtype):
    g, G = (value.to(dtype) for value in case(0, 2, 200))
    expected = PURE.project(g, G)
    assert violated(g, G[1:])
    found = PURE.project(g, G * torch.tensor([[1.0], [ratio]], dtype=dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_gem_says_so_where_a_constraint_is_missed(monkeypatch):
    """A solver that returns nothing leaves g as it is."""
    monkeypatch.setattr("methods.base.projection.nnls", lambda M, b: (np.zeros(M.shape[1]), 0.0))
    with pytest.raises(FloatingPointError, match="GEM's projection misses a constraint by"):
        PURE.project(*case(0))


def test_gem_leaves_a_gradient_alone_that_opposes_nothing():
    for options in ({}, {"margin_mode": "shift"}, {"margin": 0.0, "eps": 0.0}):
        g, G = case(0)
        g = G.sum(0)
        assert not violated(g, G)
        assert GEM(per_task=1, **options).project(g, G) is g
        assert GEM(per_task=1, **options).project(g, torch.zeros_like(G)) is g


@pytest.mark.parametrize(("seed", "K"), CASES)
def test_gem_depends_on_the_cone_of_the_constraints_alone(seed, K):
    """Their lengths, order and repetition, and rows of zeros, change nothing; a second projection neither."""
    g, G = case(seed, K)
    found = PURE.project(g, G)

    def same(other, tolerance=1e-9):
        torch.testing.assert_close(PURE.project(g, other), found, rtol=tolerance, atol=tolerance)

    same(torch.cat([G, G]))
    same(torch.cat([G, 3 * G[:1], torch.zeros_like(G[:1])]))
    same(G.flip(0))
    same(G * torch.logspace(-1, 1, K, dtype=G.dtype)[:, None])
    torch.testing.assert_close(PURE.project(found, G), found, rtol=1e-9, atol=1e-11)


def test_gem_margins_by_hand():
    """One constraint of length 2 and product -1: v* = 1/4. The bound 0.5 makes v 0.5, the shift 0.75."""
    G, g = torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([-0.5, 1.0], dtype=torch.float64)
    for options, v in (
        ({"margin": 0.0}, 0.25),
        ({"margin": 0.1}, 0.25),
        ({"margin": 0.5}, 0.5),
        ({"margin": 0.5, "margin_mode": "shift"}, 0.75),
        ({"margin": 0.0, "eps": 1.0}, 0.2),
    ):
        found = GEM(per_task=1, **{"eps": 0.0, **options}).project(g, G)
        torch.testing.assert_close(found, g + v * G[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"margin_mode": "shift"}])
def test_gem_margin_is_given_to_every_constraint_once_one_is_violated(options):
    g, G = case(3)
    method = GEM(per_task=1, **options)
    v = torch.linalg.lstsq(G.T, (method.project(g, G) - g)[:, None]).solution
    assert float(v.min()) >= 0.5 - 1e-10
    pure, bound = (slow_methods.bounded(G @ G.T + 1e-3 * torch.eye(4, dtype=G.dtype), G @ g, m) for m in (0.0, 0.5))
    expected = bound if not options else pure + 0.5
    torch.testing.assert_close(v.flatten(), expected, rtol=1e-9, atol=1e-11)


def test_gem_defaults_and_presets():
    assert (GEM(1).margin, GEM(1).margin_mode, GEM(1).eps) == (0.5, "bound", 1e-3)
    assert methods.make("gem", "paper", per_task=1) == GEM(1, margin_mode="shift")
    assert methods.make("gem", "pure", per_task=1) == PURE


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gem_stops_where_a_gradient_is_not_finite(bad):
    g, G = case(0)
    G[1, 3] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        PURE.project(g, G)


@SCENARIOS
def test_gem_of_two_tasks_is_agem_with_the_whole_memory(scenario):
    """Also to rounding after two epochs; and it is not fine-tuning."""
    stream = toy.stream(scenario)
    two = replace(stream, tasks=stream.tasks[:2])
    _, gem = toy.run(methods.make("gem", "pure", per_task=1000), two)
    _, agem = toy.run(toy.make("agem", per_class=1000, batch_memory=1000), two)
    torch.testing.assert_close(gem, agem, rtol=1e-9, atol=1e-12)
    assert not torch.equal(gem, toy.run(toy.make("naive"), two)[1])


@SCENARIOS
@pytest.mark.parametrize("per_task", [1, 7, 20, 1000])
def test_gem_keeps_the_last_examples_of_each_task(scenario, per_task):
    """Of what was trained on, over two epochs: fewer and more than a batch of 16, and more than there are."""
    stream = marked(scenario)
    method = toy.make("gem", per_task=per_task)
    _, seen = trained(method, stream, 3)
    assert [sorted(numbers(memory)) for memory in method.memories] == [sorted(order[-per_task:]) for order in seen]
    if per_task < 52:
        assert [len(set(numbers(memory))) for memory in method.memories] == [per_task] * 3


@pytest.mark.parametrize(
    ("scenario", "active_units", "own"),
    [("task", "seen", True), ("domain", "seen", False), ("class", "seen", False), ("class", "current", True)],
)
def test_gem_constraints_are_the_tasks_gradients_under_their_units(scenario, active_units, own, monkeypatch):
    """Task-IL: the head of the constraint's task; otherwise the units of the task in training."""
    stream = marked(scenario, active_units=active_units)
    method = toy.make("gem", per_task=6)
    theta, _ = trained(method, stream, 2)
    task = stream.tasks[2]
    method.before_task(theta, task)
    found = []
    monkeypatch.setattr(method, "project", lambda grad, G: found.append(G) or grad)
    method.after_backward(theta, torch.zeros_like(theta))
    module = toy.module(stream)
    torch.nn.utils.vector_to_parameters(theta, module.parameters())
    for k, (row, memory) in enumerate(zip(found[0], method.memories, strict=True)):
        home = stream.tasks[k] if own else task
        assert torch.equal(masks(memory), home.train.parts[0].mask.expand(6, -1))
        expected = flat(gradients(mean_loss(module, listed(memory)), parameters(module)))
        torch.testing.assert_close(row, expected, rtol=1e-9, atol=1e-12)


def test_gem_projects_in_training():
    stream = toy.stream("task")
    changed = []
    method = toy.make("gem")
    real = method.project

    def project(grad, G):
        found = real(grad, G)
        changed.append(found is not grad)
        return found

    method.project = project
    toy.run(method, stream)
    assert 3 < sum(changed) < len(changed)


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("per_task", bad) for bad in (0, -1, 1.5, "8", True, None)],
        *[(option, bad) for option in ("margin", "eps") for bad in (-0.1, math.nan, math.inf, "1", None, True)],
        *[("margin_mode", bad) for bad in ("both", None, 0)],
    ],
)
def test_gem_refuses(option, bad):
    with pytest.raises(UserError, match=rf"^(unknown )?{option}\b") as error:
        toy.make("gem", **{option: bad})
    assert repr(bad) in str(error.value)


def test_gem_dual_of_float32_gradients_is_solved_in_float64():
    """Ten nearly parallel constraints: what float32 keeps of the products is met to float32's rounding."""
    g, G = case(0, 10)
    G = G[:1] + 0.01 * G
    g, G = (g - 2 * G[0]).float(), G.float()
    found = PURE.project(g, G)
    assert found.dtype == torch.float32
    assert float((G.double() @ found.double()).min()) >= -1e-6 * float(G.norm(dim=1).max() * g.norm())


@pytest.mark.parametrize("name", ["gem", "agem"])
def test_a_task_without_a_step_leaves_no_memory(name):
    """A strategy may train for no epoch."""
    stream, method = toy.stream("class"), toy.make(name)
    theta = toy.begin(method, stream)
    method.before_task(theta, stream.tasks[0])
    method.after_task(theta, stream.tasks[0])
    method.before_task(theta, stream.tasks[1])
    method.loss(theta, *stream.tasks[1].train.take(torch.arange(4)))
    grad = torch.ones_like(theta)
    assert method.after_backward(theta, grad) is grad
    method.after_task(theta, stream.tasks[1])
    method.before_task(theta, stream.tasks[2])
    assert method.after_backward(theta, grad).isfinite().all()

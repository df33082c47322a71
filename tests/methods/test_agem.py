"""A-GEM: the projection, what the memory holds, and which of it is the reference."""

import math
from dataclasses import replace

import pytest
import torch

import methods
from methods.base import projection
from methods.base.errors import UserError
from methods.base.projection import against as project
from methods.gem import GEM
from tests.support import toy
from tests.support.marked import SCENARIOS, marked, numbers, trained


def two(seed=0, n=30):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, dtype=torch.float64, generator=draws)


def test_agem_projection_is_orthogonal_to_the_reference_and_the_nearest_such():
    opposed = 0
    for seed in range(20):
        g, r = two(seed)
        g = g - 0.5 * r
        if g @ r >= 0:
            assert project(g, r) is g
            continue
        opposed += 1
        found = project(g, r)
        assert abs(float(found @ r)) <= 1e-13 * float(g.norm() * r.norm())
        torch.testing.assert_close(found + (g @ r) / (r @ r) * r, g, rtol=1e-13, atol=1e-15)
        assert found.norm() <= g.norm()
        pure = GEM(per_task=1, margin=0.0, eps=0.0).project(g, r[None])
        torch.testing.assert_close(found, pure, rtol=1e-11, atol=1e-14)
    assert opposed > 10


def test_agem_edges():
    g, _ = two()
    assert project(g, -g).count_nonzero() == 0
    assert project(g, torch.zeros_like(g)) is g
    assert project(g, g) is g


@pytest.mark.parametrize("eps", [0.0, 1e-7])
@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e-20, 1e-6, 1.0, 1e6, 1e19, 1e36])
def test_agem_projects_on_a_reference_of_any_length_that_float32_holds(scale, eps):
    """Against the formula in float64: with eps = 0 the length of the reference does not matter."""
    g, r = (value.float() for value in two(0, 1000))
    r = (r - g) * scale
    exact, long = g.double(), r.double()
    expected = exact - (exact @ long) / (long @ long + eps) * long
    torch.testing.assert_close(project(g, r, eps), expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-7, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("eps", [0.0, 1e-7])
def test_agem_rounds_alike_whether_or_not_the_reference_is_brought_to_length_one(monkeypatch, scale, eps):
    """The scale is a power of two, so that it may be left out where nothing needs it."""
    g, r = (value.float() for value in two(0, 1000))
    r = (r - g) * scale
    asked = []
    monkeypatch.setattr(projection, "_to_one", lambda r, real=projection._to_one: asked.append(1) or real(r))
    plain = project(g, r, eps)
    assert not asked
    monkeypatch.setattr(projection, "SAFE", math.inf)
    assert torch.equal(project(g, r, eps), plain)
    assert asked


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_agem_stops_where_the_reference_is_not_finite(bad):
    g, r = two()
    r[3] = bad
    with pytest.raises(FloatingPointError, match="gradient of A-GEM's memory is not finite"):
        project(g, r)


@SCENARIOS
@pytest.mark.parametrize("per_class", [1, 3, 200])
def test_agem_keeps_the_last_examples_of_each_class(scenario, per_class):
    """Of what was trained on; batches of 16, two epochs, classes of unlike size."""
    stream = marked(scenario)
    method = toy.make("agem", per_class=per_class)
    _, seen = trained(method, stream, 3)
    label = {n: y for task in stream.tasks for n, y in zip(numbers(task.train), labels(task.train), strict=True)}
    expected = []
    for order in seen:
        for unit in sorted({label[n] for n in order}):
            own = [n for n in order if label[n] == unit]
            expected += own[-per_class:]
    assert sorted(numbers(method.kept)) == sorted(expected)
    assert labels(method.kept) == [label[n] for n in numbers(method.kept)]
    if per_class < 200:
        assert len(method.kept) == 3 * 2 * per_class  # three tasks of two classes


def labels(examples):
    return examples.take(torch.arange(len(examples)))[1].tolist()


@SCENARIOS
def test_agem_budget_holds_at_every_step(scenario):
    stream = marked(scenario)
    method = toy.make("agem", per_class=4)
    sizes = []
    real = method.after_backward

    def after_backward(theta, grad):
        ring = method.ring.examples()
        sizes.append((0 if method.kept is None else len(method.kept), len(ring)))
        assert max(torch.bincount(torch.tensor(labels(ring)))) <= 4
        assert len(method.ring.y) == 2 * 4, "places for the classes of the task alone"
        return real(theta, grad)

    method.after_backward = after_backward
    trained(method, stream, 3)
    assert {kept for kept, _ in sizes} == {0, 8, 16}
    assert max(new for _, new in sizes) == 8


@SCENARIOS
@pytest.mark.parametrize("batch_memory", [5, 256])
def test_agem_reference_is_of_distinct_examples_of_earlier_tasks(scenario, batch_memory):
    """A whole memory where it is smaller; never the current task; under the units that they are trained with."""
    stream = marked(scenario)
    method = toy.make("agem", per_class=4, batch_memory=batch_memory)
    theta, _ = trained(method, stream, 2)
    task = stream.tasks[2]
    method.before_task(theta, task)
    method.loss(theta, *task.train.take(torch.arange(9)))
    calls = []
    net = method.net.module
    net.register_forward_pre_hook(lambda _, given: calls.append(given[0].flatten(1)[:, 0].long().tolist()))
    for _ in range(60):
        method.after_backward(theta, torch.zeros_like(theta))
    assert len(calls) == 60
    for drawn in calls:
        assert len(drawn) == len(set(drawn)) == min(batch_memory, 16)
        assert set(drawn) <= set(numbers(method.kept)) and max(drawn) < 200
    assert batch_memory > 16 or len({tuple(drawn) for drawn in calls}) == 60
    assert {n for drawn in calls for n in drawn} == set(numbers(method.kept))


def test_agem_projects_in_training():
    """The runs above are no test of the projection unless it happens."""
    stream = toy.stream("class")
    changed = []
    method = toy.make("agem")
    real = method.after_backward

    def after_backward(theta, grad):
        found = real(theta, grad)
        changed.append(found is not grad)
        return found

    method.after_backward = after_backward
    toy.run(method, stream)
    assert 3 < sum(changed) < len(changed)


def test_agem_eps_shortens_what_is_removed():
    """g . g_ref = -6 and g_ref . g_ref = 4: with 2 added, 1 of g_ref is removed, not 1.5."""
    g, r = torch.tensor([-3.0, 1.0]), torch.tensor([2.0, 0.0])
    assert project(g, r, eps=2.0).tolist() == [-1.0, 1.0]
    assert project(g, r).tolist() == [0.0, 1.0]
    assert project(-g, r, eps=2.0).equal(-g)
    assert methods.make("agem", "vdv", per_class=3).eps == 1e-7


@SCENARIOS
@pytest.mark.parametrize("batch", [16, 1000])
def test_agem_mammoth_keeps_one_random_batch_of_each_task(scenario, batch):
    """The whole task where it is smaller; not the batches trained on; the same again with the same seed alone."""
    stream = marked(scenario)
    kept = []
    for seed in (1, 1, 2):
        method = toy.make("agem", preset="mammoth")
        toy.run(method, stream, (seed,), replace(toy.TRAIN, batch=batch, lr=0.0001))
        kept.append(numbers(method.kept))
        by_task = [{n for n in kept[-1] if n // 100 == k} for k in range(3)]
        assert [len(each) for each in by_task] == [min(batch, len(task.train)) for task in stream.tasks]
        assert len(kept[-1]) == sum(map(len, by_task))
    assert kept[0] == kept[1] != kept[2]


@pytest.mark.parametrize(
    ("option", "bad"),
    [(option, bad) for option in ("per_class", "batch_memory") for bad in (0, -1, 1.5, "8", True)]
    + [("batch_memory", None)],
)
def test_agem_refuses(option, bad):
    with pytest.raises(UserError, match=rf"^{option} must be a whole number >= 1") as error:
        toy.make("agem", **{option: bad})
    assert repr(bad) in str(error.value)


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf, "1", None, True])
def test_agem_refuses_eps(bad):
    with pytest.raises(UserError, match=r"^eps must be a finite number >= 0") as error:
        toy.make("agem", eps=bad)
    assert repr(bad) in str(error.value)

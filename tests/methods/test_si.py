"""SI: the path integral, the importance made of it, and what is cut at zero."""

from dataclasses import replace

import pytest
import torch

from benchmarks.learner import fit
from methods.base.errors import UserError
from tests.support import toy


def path_integral(lr, steps, batch=10**6, **options):
    """SI after training on the first task, before its end: the method, theta at both ends, the stream."""
    stream = toy.stream("class", sizes=toy.SMALL)
    method = toy.make("si", **options)
    start = toy.begin(method, stream)
    theta = start.clone()
    train = replace(toy.TRAIN, lr=lr, steps=steps, epochs=None, batch=batch)
    draws = [torch.Generator().manual_seed(0)]
    fit(method, theta, stream.tasks[0], train.make_optimizer(theta), train, draws)
    return method, start, theta, stream


def test_si_path_integral_is_the_drop_of_the_loss():
    """sum_i w_i -> L(start) - L(end) as the step shrinks, with an excess proportional to it."""
    excess = []
    for lr in (0.04, 0.02, 0.01):
        method, start, theta, stream = path_integral(lr, round(4 / lr))
        x, y, mask = stream.tasks[0].train.take(torch.arange(14))
        first, last = (method.loss(each, x, y, mask) for each in (start, theta))
        assert first - last > 0.3
        excess.append(float(method.w.sum() / (first - last) - 1))
    assert 0 < excess[2] < 0.01
    assert excess[0] / excess[1] == pytest.approx(2, rel=0.1)
    assert excess[1] / excess[2] == pytest.approx(2, rel=0.05)


def test_si_path_integral_of_plain_descent_is_never_negative_and_zero_where_nothing_moved():
    method, start, theta, _ = path_integral(0.1, 20, batch=4)
    still = theta == start
    assert bool((method.w >= 0).all())
    assert method.w[still].count_nonzero() == 0
    assert method.net.views(still)["head.bias"].tolist() == [False, False, True, True, True, True]


def test_si_importance_is_the_integral_over_the_squared_way():
    for xi in (0.1, 1e-3, 1e9):
        method, start, theta, stream = path_integral(0.1, 20, xi=xi)
        w = method.w.clone()
        method.after_task(theta, stream.tasks[0])
        torch.testing.assert_close(method.omega, w / ((theta - start) ** 2 + xi), rtol=1e-12, atol=0)
        assert torch.equal(method.star, theta)
        assert method.w.count_nonzero() == 0
    assert float(method.omega.max()) < 1e-8  # xi without bound: no importance


@pytest.mark.parametrize(
    ("clamp", "expected"),
    [("cumulative", [1.0, 2.0, 0.0]), ("increment", [1.0, 3.0, 2.0]), ("none", [-1.0, 2.0, -1.0])],
)
def test_si_clamps(clamp, expected):
    """Two tasks in which nothing moves (so that w / xi is added), by hand."""
    stream = toy.stream()
    method = toy.make("si", xi=0.5, clamp=clamp)
    theta = toy.begin(method, stream)
    for w in ([-1.0, 1.5, 1.0], [0.5, -0.5, -1.5]):
        method.w[:3] = torch.tensor(w, dtype=theta.dtype)
        method.after_task(theta, stream.tasks[0])
    assert method.omega[:3].tolist() == expected


def test_si_cuts_above_in_the_penalty_alone():
    """The sum goes on from what was cut: 3 - 2 is 1, not 2 - 2."""
    stream = toy.stream()
    method = toy.make("si", xi=0.5, clamp="none", upper_clip=2.0)
    theta = toy.begin(method, stream)
    for w, omega, cut in ((1.5, 3.0, 2.0), (-1.0, 1.0, 1.0), (-1.0, -1.0, -1.0)):
        method.w.fill_(w)
        method.after_task(theta, stream.tasks[0])
        assert torch.equal(method.omega, torch.full_like(theta, omega))
        assert torch.equal(method.quadratic.A, torch.full_like(theta, cut))


def test_si_from_zero_measures_the_first_way_from_zero_and_the_next_as_usual():
    method, _, theta, stream = path_integral(0.1, 20, from_zero=True)
    omega = method.w / (theta**2 + 0.1)
    method.after_task(theta, stream.tasks[0])
    torch.testing.assert_close(method.omega, omega, rtol=1e-12, atol=0)
    method.w += 0.7
    method.after_task(theta + 0.5, stream.tasks[1])
    torch.testing.assert_close(method.omega, omega + 0.7 / 0.35, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("grad", bad) for bad in ("totals", None, 0)],
        *[("upper_clip", bad) for bad in (0, -1.0, float("nan"), float("inf"), "1", True)],
    ],
)
def test_si_options_that_make_no_sense(option, bad):
    with pytest.raises(UserError, match=rf"^(unknown )?{option}\b") as error:
        toy.make("si", **{option: bad})
    assert repr(bad) in str(error.value)


@pytest.mark.parametrize("grad", ["task", "total"])
def test_si_integrates_the_gradient_that_it_is_told_to(grad):
    """In the second task -g . step differs from -(g + penalty's gradient) . step."""
    method, _, theta, stream = path_integral(0.1, 20, c=5.0, grad=grad)
    method.after_task(theta, stream.tasks[0])
    kept = []
    real = method.after_step

    def after_step(old, new, handed):
        variable = old.clone().requires_grad_()
        x, y, mask = stream.tasks[1].train.take(torch.arange(18))
        (task_gradient,) = torch.autograd.grad(method.loss(variable, x, y, mask), variable)
        torch.testing.assert_close(handed, task_gradient, rtol=1e-9, atol=1e-12)
        (pull,) = torch.autograd.grad(method.penalty(variable), variable)
        kept.append(-((task_gradient + pull if grad == "total" else task_gradient) * (new - old)))
        real(old, new, handed)

    method.after_step = after_step
    train = replace(toy.TRAIN, steps=10, epochs=None, batch=18)
    fit(method, theta, stream.tasks[1], train.make_optimizer(theta), train, [torch.Generator().manual_seed(0)])
    torch.testing.assert_close(method.w, sum(kept), rtol=1e-9, atol=1e-15)
    assert method.add_penalty_grad(theta, torch.zeros_like(theta)).count_nonzero() > 0

"""EWC++: the running Fisher by hand, its limits, and the squares that it is made of."""

import gc
from dataclasses import replace

import pytest
import torch

from benchmarks.learner import fit
from methods.base.errors import UserError
from methods.importance import training_pass
from methods.importance.fisher import diagonal
from tests.support import toy


def fed(estimates, **options):
    """EWC++ after a task whose batches had these squares, each the same for all parameters."""
    stream = toy.stream()
    method = toy.make("ewcpp", **options)
    theta = toy.begin(method, stream)
    for estimate in estimates:
        method.after_squares(lambda total, estimate=estimate: total.add_(estimate))
    method.after_task(theta, stream.tasks[0])
    return method


def importance(estimates, **options):
    A = fed(estimates, **options).quadratic.A
    assert bool((A[0] == A).all())
    return float(A[0])


def test_alpha_one_keeps_the_last_interval_alone():
    assert importance([1.0, 3.0, 5.0, 8.0], alpha=1.0, interval=2) == 6.5


def test_alpha_zero_keeps_the_first_estimate():
    assert importance([1.0, 3.0, 5.0, 8.0], alpha=0.0, interval=2) == 2.0


def test_alpha_weights_the_new_estimate():
    assert importance([1.0, 3.0, 5.0, 8.0], alpha=0.75, interval=2) == 0.75 * 6.5 + 0.25 * 2
    assert importance([4.0, 8.0], alpha=0.75, interval=1, from_zero=True) == 0.75 * 8 + 0.25 * 0.75 * 4


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9, 1.0])
def test_constant_gradients_have_their_square_as_fisher(alpha):
    assert importance([9.0] * 23, alpha=alpha) == pytest.approx(9.0, rel=1e-15)


def test_an_interval_cut_short_is_closed_at_the_end_of_the_task():
    assert importance([1.0, 1.0, 7.0], alpha=1.0, interval=2) == 7.0
    assert importance([7.0], interval=10) == 7.0


def test_fisher_runs_on_from_task_to_task():
    method = fed([1.0, 1.0], alpha=0.75, interval=2)
    theta = method.quadratic.m
    method.after_squares(lambda total: total.add_(5.0))
    method.after_task(theta, toy.stream().tasks[1])
    assert float(method.quadratic.A[0]) == 0.75 * 5 + 0.25


def still(stream, seed=1):
    """A net with dropout, and batch normalisation whose running statistics stay as they are."""
    net = toy.noisy(stream, seed)
    net[2].momentum = 0.0
    return net


def convolutions(stream, seed=1):
    return toy.module(stream, seed, "cnn-2-5")


@pytest.mark.parametrize("build", [toy.module, convolutions, still])
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_frozen_parameters_and_one_batch_give_the_empirical_fisher(scenario, build, monkeypatch):
    """Both ways to the squares: from the training pass, and a second pass where batch normalisation trains."""
    stream = toy.stream(scenario, sizes=toy.SMALL)
    passes, second_pass = [], training_pass._second_pass
    monkeypatch.setattr(training_pass, "_second_pass", lambda *batch: passes.append(1) or second_pass(*batch))
    method = toy.make("ewcpp", interval=3)
    theta = toy.begin(method, stream, build=build)
    start, task = theta.clone(), stream.tasks[1]
    train = replace(toy.TRAIN, lr=1e-300, steps=8, epochs=None, batch=100)
    fit(method, theta, task, train.make_optimizer(theta), train, [torch.Generator().manual_seed(0)])
    torch.testing.assert_close(theta, start, rtol=0, atol=1e-290)
    method.after_task(start, task)
    expected = diagonal(method.net, start, task.train, "empirical")
    torch.testing.assert_close(method.quadratic.A, expected, rtol=1e-10, atol=1e-15)
    assert len(passes) == (8 if build is still else 0)


def test_squares_of_single_examples_are_not_the_square_of_their_mean():
    """The known difference from the released code: by Jensen's inequality its estimate is never larger."""
    stream = toy.stream("class")
    estimates = []
    for per_sample in (True, False):
        method = toy.make("ewcpp", lam=0.0, alpha=1.0, per_sample=per_sample)
        toy.run(method, stream)
        estimates.append(method.quadratic.A)
    single, batch = estimates
    assert bool((single >= batch * (1 - 1e-12)).all())
    assert float(single.sum()) > 2 * float(batch.sum())


def test_released_importance_lies_between_zero_and_one():
    method = toy.make("ewcpp", preset="released")
    toy.run(method, toy.stream())
    assert float(method.quadratic.A.min()) == 0.0 and float(method.quadratic.A.max()) == 1.0


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("alpha", bad) for bad in (-0.1, 1.1, float("nan"), None, True)],
        *[("interval", bad) for bad in (0, 1.5, None)],
    ],
)
def test_options_that_make_no_sense(option, bad):
    with pytest.raises(UserError, match=f"^{option} must be"):
        toy.make("ewcpp", **{option: bad})


def test_steps_leave_nothing_to_the_garbage_collector():
    """A cycle through a hook would keep every step's activations until a collection that may never come."""
    stream = toy.stream("class")
    method = toy.make("ewcpp")
    theta = toy.begin(method, stream)

    def tensors_after(epochs):
        train = replace(toy.TRAIN, epochs=epochs)
        fit(method, theta, stream.tasks[0], train.make_optimizer(theta), train, [torch.Generator().manual_seed(0)])
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert tensors_after(1) == tensors_after(5)
    finally:
        gc.enable()


@pytest.mark.parametrize("interval", [1, 2, 5])
@pytest.mark.parametrize("alpha", [0.3, 0.9])
def test_released_is_the_authors_loop_but_for_where_its_intervals_end(interval, alpha):
    """Their loop closes an interval before the step that `interval` divides, so their first holds one step less.

    A step of gradient 0 at first puts ours at the same steps; both lose or close nothing at the end.
    """
    stream = toy.stream()
    method = toy.make("ewcpp", preset="released", interval=interval, alpha=alpha)
    theta = toy.begin(method, stream)
    draws = torch.Generator().manual_seed(0)
    gradients = [torch.randn(theta.shape, dtype=theta.dtype, generator=draws) for _ in range(4 * interval)]
    running_fisher = tmp_fisher = torch.zeros_like(theta)
    for iters, g in enumerate(gradients):
        if (iters + 1) % interval == 0:
            running_fisher = (1 - alpha) * running_fisher + (alpha / interval) * tmp_fisher
            tmp_fisher = torch.zeros_like(theta)
        tmp_fisher = tmp_fisher + g**2
    for g in [torch.zeros_like(theta), *gradients[:-1]]:
        assert method.after_backward(theta, g) is g
    method.after_task(theta, stream.tasks[0])
    low, high = running_fisher.min(), running_fisher.max()
    torch.testing.assert_close(method.quadratic.A, (running_fisher - low) / (high - low), rtol=1e-12, atol=1e-15)

"""RWalk: the score and its windows, the average over tasks, the scaling, and the exemplars in training."""

from dataclasses import replace

import pytest
import torch

from benchmarks.learner import fit
from methods.base.errors import UserError
from methods.importance.path_scores import PaperScores
from methods.importance.running_fisher import min_max
from tests.support import toy


def trained(name, **options):
    """A method after 20 steps of the first task, before its end: the method, theta at both ends, the task."""
    stream = toy.stream("class")
    method = toy.make(name, **options)
    start = toy.begin(method, stream)
    theta = start.clone()
    train = replace(toy.TRAIN, steps=20, epochs=None)
    fit(method, theta, stream.tasks[0], train.make_optimizer(theta), train, [torch.Generator().manual_seed(0)])
    return method, start, theta, stream.tasks[0]


def test_one_window_with_fisher_two_is_si():
    """relu(w) / (F / 2 (way)^2 + eps) with F = 2 is SI's importance with xi = eps."""
    si, _, theta, task = trained("si", xi=0.01)
    rwalk, _, same, _ = trained("rwalk", interval=100, eps=0.01)
    assert torch.equal(theta, same)
    si.after_task(theta, task)
    rwalk.scores.F.value.fill_(2.0)
    rwalk.scores.close(theta)
    assert bool((rwalk.scores.s > 0).any())
    torch.testing.assert_close(rwalk.scores.s, si.omega, rtol=1e-12, atol=0)


def test_windows_sum_to_the_path_integral_of_si(monkeypatch):
    si, *_ = trained("si")
    windows = []

    real = PaperScores.close
    monkeypatch.setattr(
        PaperScores, "close", lambda scores, theta: (windows.append(scores.w.clone()), real(scores, theta))
    )
    method, _, theta, task = trained("rwalk", interval=7)
    method.after_task(theta, task)
    assert len(windows) == 3  # 7, 7 and the 6 that the end cuts short
    torch.testing.assert_close(sum(windows), si.w, rtol=1e-12, atol=1e-18)


def test_score_is_cut_at_zero_in_each_window_and_takes_the_fisher_before_its_update():
    stream = toy.stream()
    method = toy.make("rwalk", interval=1, alpha=1.0, eps=0.5)
    theta = toy.begin(method, stream)
    one = torch.ones_like(theta)
    for step, grad, square in [(1.0, -2.0, 6.0), (2.0, 5.0, 8.0), (3.0, -4.0, 9.0)]:
        method.after_squares(lambda total, square=square: total.add_(square))
        method.after_step(theta, theta + step, grad * one)
        theta = theta + step
    expected = 2 / 0.5 + 0 + 12 / (8 / 2 * 9 + 0.5)
    torch.testing.assert_close(method.scores.s, expected * one, rtol=1e-12, atol=0)
    assert float(method.scores.F.value[0]) == 9.0


def test_scores_are_averaged_over_tasks():
    stream = toy.stream()
    method = toy.make("rwalk")
    theta = toy.begin(method, stream)
    ramp = torch.linspace(0, 1, len(theta), dtype=theta.dtype)
    kept = []
    for s in (8 * ramp, 2 * ramp, 5 * (1 - ramp)):
        method.scores.s += s
        method.after_task(theta, stream.tasks[0])
        assert method.scores.s.count_nonzero() == 0
        kept.append((s, method.scores.S))
        assert bool((torch.stack([each for each, _ in kept]).amax(0) + 1e-15 >= method.scores.S).all())
    torch.testing.assert_close(kept[0][1], 8 * ramp, rtol=0, atol=0)
    torch.testing.assert_close(kept[1][1], 5 * ramp, rtol=1e-15, atol=0)
    torch.testing.assert_close(kept[2][1], (5 * ramp + 5 * (1 - ramp)) / 2, rtol=1e-15, atol=1e-15)


def test_scaled_arrays_reach_from_zero_to_one_and_equal_ones_are_zero():
    values = torch.tensor([[3.0, 5.0, 4.0], [-2.0, -2.0, -2.0]])
    assert min_max(values).tolist() == [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    method, _, theta, task = trained("rwalk")
    method.after_task(theta, task)
    F, S = min_max(method.scores.F.value), min_max(method.scores.S)
    for scaled in (F, S):
        assert float(scaled.min()) == 0 and float(scaled.max()) == 1
    assert torch.equal(method.quadratic.A, F + S)


def test_penalty_has_no_one_half():
    method, _, theta, task = trained("rwalk", lam=0.3)
    method.after_task(theta, task)
    here = theta + 0.5
    torch.testing.assert_close(method.penalty(here), 0.3 * (method.quadratic.A * 0.25).sum())


def released(steps, **options):
    """The released variant after a first task of (step of theta, gradient) pairs, the same for every parameter."""
    stream = toy.stream()
    method = toy.make("rwalk", variant="released", **options)
    theta = toy.begin(method, stream)
    one = torch.ones_like(theta)
    method.before_task(theta, stream.tasks[0])
    for step, g in steps:
        assert torch.equal(method.after_backward(theta, g * one), g * one)
        method.after_step(theta, theta + step, g * one)
        theta = theta + step
    return method, theta, stream.tasks[0]


def test_released_windows_begin_one_step_short_and_end_before_the_task():
    """Interval 3: scores before steps 3 and 6, the first over two steps with F = 0; steps 6 and 7 do not count."""
    steps = [(1.0, -2.0), (0.5, -4.0), (2.0, -1.0), (1.0, -1.0), (1.0, 1.0), (1.0, -5.0), (1.0, -6.0)]
    method, theta, task = released(steps, interval=3, alpha=0.5, eps=0.1)
    F = 0.5 * (4 + 16) / 3
    s = (2 + 2) / 0.1 + (2 + 1 - 1) / (F * 4**2 + 0.1)
    torch.testing.assert_close(method.scores.s, torch.full_like(theta, s), rtol=1e-12, atol=0)
    F = 0.5 * F + 0.5 * (4 + 16 + 1 + 1 + 1) / 3
    torch.testing.assert_close(method.scores.F.value, torch.full_like(theta, F), rtol=1e-12, atol=0)
    method.after_task(theta, task)
    torch.testing.assert_close(method.scores.S, torch.full_like(theta, s), rtol=1e-12, atol=0)
    torch.testing.assert_close(method.scores.F.value, torch.full_like(theta, F), rtol=1e-12, atol=0)
    assert method.scores.w.count_nonzero() == method.scores.s.count_nonzero() == method.scores.F.batches == 0


def test_released_fisher_grows_with_the_number_of_steps():
    """Constant gradients 1 and alpha 1: F = (steps before the last score) / interval; the paper's stays 1."""
    for n, interval, seen in ((9, 3, 8), (99, 3, 98), (24, 5, 19)):
        method, theta, _ = released([(0.0, 1.0)] * n, interval=interval, alpha=1.0)
        torch.testing.assert_close(method.scores.F.value, torch.full_like(theta, seen / interval))


def test_released_scores_are_added_where_the_paper_averages():
    method, theta, task = released([])
    ramp = torch.linspace(0, 1, len(theta), dtype=theta.dtype)
    for s, expected in ((8.0, 8.0), (2.0, 13.0), (4.0, 21.5)):
        method.scores.s += s * ramp
        method.after_task(theta, task)
        torch.testing.assert_close(method.scores.S, expected * ramp, rtol=1e-15, atol=0)


def test_released_does_not_pay_for_squares_of_examples():
    assert toy.make("rwalk").wants_squares
    assert not toy.make("rwalk", preset="released").wants_squares


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
@pytest.mark.parametrize("sampler", ["uniform", "plane_distance", "entropy", "mof"])
def test_exemplars_of_every_class_are_trained_on_with_the_next_tasks(scenario, sampler):
    stream = toy.stream(scenario)
    method = toy.make("rwalk", sampler=sampler, per_class=4)
    theta = toy.begin(method, stream)
    for k, task in enumerate(stream.tasks):
        data = method.before_task(theta, task).train
        assert len(data) == len(task.train) + 2 * 4 * k
        x, y, mask = data.take(torch.arange(len(data)))
        assert bool((mask.expand(len(y), -1)[torch.arange(len(y)), y] == 0).all())
        assert len(x.flatten(1).unique(dim=0)) == len(data)
        old = y[: 8 * k]
        assert old.bincount(minlength=stream.n_units).tolist() == (
            [4 * k, 4 * k] if scenario == "domain" else [4] * 2 * k + [0] * (stream.n_units - 2 * k)
        )
        method.after_task(theta, task)
    counts, _ = toy.run(toy.make("rwalk", sampler=sampler, per_class=4), stream)
    assert counts != toy.run(toy.make("rwalk"), stream)[0]


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("alpha", bad) for bad in (-0.1, 1.1, float("nan"), None, True)],
        *[("eps", bad) for bad in (0, -1.0, float("inf"), None)],
        *[(name, bad) for name in ("interval", "per_class") for bad in (0, 1.5, None)],
        *[("sampler", bad) for bad in ("herding", 0, "")],
        *[("variant", bad) for bad in ("release", None, 0)],
    ],
)
def test_options_that_make_no_sense(option, bad):
    with pytest.raises(UserError, match=rf"^(unknown )?{option}\b"):
        toy.make("rwalk", **{option: bad})

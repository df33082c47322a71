"""RWalk: the score and its windows, the average over tasks, the scaling, and the exemplars in training."""

from dataclasses import replace

import pytest
import torch
import toy

from benchmarks.errors import UserError
from benchmarks.learner import fit
from methods.running import min_max
from methods.rwalk import score


def trained(name, prepare=lambda method: None, **options):
    """A method after 20 steps of the first task, before its end: the method, theta at both ends, the task."""
    stream = toy.stream("class")
    method = toy.make(name, **options)
    prepare(method)
    start = toy.begin(method, stream)
    theta = start.clone()
    train = replace(toy.TRAIN, steps=20, epochs=None)
    fit(method, theta, stream.tasks[0], train.make_optimizer(theta), train, [torch.Generator().manual_seed(0)])
    return method, start, theta, stream.tasks[0]


def test_one_window_with_fisher_two_is_si():
    """relu(w) / (F / 2 (way)^2 + eps) with F = 2 is SI's importance with xi = eps."""
    si, start, theta, task = trained("si", xi=0.01)
    rwalk, _, same, _ = trained("rwalk", interval=100, eps=0.01)
    assert torch.equal(theta, same)
    si.after_task(theta, task)
    found = score(rwalk.w, torch.full_like(theta, 2.0), theta - start, rwalk.eps)
    assert bool((found > 0).any())
    torch.testing.assert_close(found, si.omega, rtol=1e-12, atol=0)


def test_windows_sum_to_the_path_integral_of_si():
    si, *_ = trained("si")
    windows = []

    def prepare(method):
        real = method._close_interval
        method._close_interval = lambda theta: (windows.append(method.w.clone()), real(theta))

    method, _, theta, task = trained("rwalk", prepare, interval=7)
    method.after_task(theta, task)
    assert len(windows) == 3  # 7, 7 and the 6 that the end cuts short
    torch.testing.assert_close(sum(windows), si.w, rtol=1e-12, atol=1e-18)


def test_score_is_cut_at_zero_in_each_window_and_takes_the_fisher_before_its_update():
    stream = toy.stream()
    method = toy.make("rwalk", interval=1, alpha=1.0, eps=0.5)
    theta = toy.begin(method, stream)
    one = torch.ones_like(theta)
    for step, grad, square in [(1.0, -2.0, 6.0), (2.0, 5.0, 8.0), (3.0, -4.0, 9.0)]:
        method.after_squares(square * one)
        method.after_step(theta, theta + step, grad * one)
        theta = theta + step
    expected = 2 / 0.5 + 0 + 12 / (8 / 2 * 9 + 0.5)
    torch.testing.assert_close(method.s, expected * one, rtol=1e-12, atol=0)
    assert float(method.fisher.value[0]) == 9.0


def test_scores_are_averaged_over_tasks():
    stream = toy.stream()
    method = toy.make("rwalk")
    theta = toy.begin(method, stream)
    ramp = torch.linspace(0, 1, len(theta), dtype=theta.dtype)
    kept = []
    for s in (8 * ramp, 2 * ramp, 5 * (1 - ramp)):
        method.s += s
        method.after_task(theta, stream.tasks[0])
        assert method.s.count_nonzero() == 0
        kept.append((s, method.S))
        assert bool((torch.stack([each for each, _ in kept]).amax(0) + 1e-15 >= method.S).all())
    torch.testing.assert_close(kept[0][1], 8 * ramp, rtol=0, atol=0)
    torch.testing.assert_close(kept[1][1], 5 * ramp, rtol=1e-15, atol=0)
    torch.testing.assert_close(kept[2][1], (5 * ramp + 5 * (1 - ramp)) / 2, rtol=1e-15, atol=1e-15)


def test_scaled_arrays_reach_from_zero_to_one_and_equal_ones_are_zero():
    values = torch.tensor([[3.0, 5.0, 4.0], [-2.0, -2.0, -2.0]])
    assert min_max(values).tolist() == [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    method, _, theta, task = trained("rwalk")
    method.after_task(theta, task)
    F, S = min_max(method.fisher.value), min_max(method.S)
    for scaled in (F, S):
        assert float(scaled.min()) == 0 and float(scaled.max()) == 1
    assert torch.equal(method.quadratic.A, F + S)


def test_penalty_has_no_one_half():
    method, _, theta, task = trained("rwalk", lam=0.3)
    method.after_task(theta, task)
    here = theta + 0.5
    torch.testing.assert_close(method.penalty(here), 0.3 * (method.quadratic.A * 0.25).sum())


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
    ],
)
def test_options_that_make_no_sense(option, bad):
    with pytest.raises(UserError, match=rf"^(unknown )?{option}\b"):
        toy.make("rwalk", **{option: bad})

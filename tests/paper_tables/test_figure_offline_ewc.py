"""The figure of four regression tasks: both Fishers, the strengths that match them, errors and traces."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from methods.base.net import Net
from paper_tables import drawing
from paper_tables import figure_offline_ewc as offline
from paper_tables import regression_tasks as regression

TRAIN = replace(regression.TRAIN, net="mlp-8", lr=0.01, steps=40)
EWC = {"lam": 100.0}


def in_float64(seed=1):
    """A net, its parameters and the first task, in float64."""
    (task, *_) = regression.stream(seed).tasks
    (part,) = task.train.parts
    task = replace(
        task, train=replace(task.train, parts=(replace(part, source=part.source.double(), y=part.y.double()),))
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = torch.nn.Sequential(torch.nn.Linear(1, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1)).double()
    net = Net(module)
    return net, net.vector(), task


def test_both_fishers_by_brute_force():
    net, theta, task = in_float64()
    x, y, _ = task.train.take(torch.arange(len(task.train)))
    exact = torch.zeros_like(theta)
    for one in x:
        variable = theta.clone().requires_grad_()
        (slope,) = torch.autograd.grad(net(variable, one[None])[0, 0], variable)
        exact += slope**2 / 0.5 / len(x)
    variable = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.mse_loss(net(variable, x), y), variable)
    F, G = regression.fishers(net, theta, task)
    torch.testing.assert_close(F, exact, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(G, gradient**2, rtol=1e-10, atol=1e-14)


def test_the_exact_fisher_needs_no_labels_and_the_documents_number_does():
    net, theta, task = in_float64()
    (part,) = task.train.parts
    other = replace(task, train=replace(task.train, parts=(replace(part, y=part.y + 1),)))
    (F, G), (same, another) = (regression.fishers(net, theta, each) for each in (task, other))
    assert torch.equal(F, same) and float((G - another).abs().max()) > 1e-3


def test_the_loss_is_the_mean_of_the_likelihood_that_it_names():
    net, theta, task = in_float64()
    x, y, mask = task.train.take(torch.arange(len(task.train)))
    method = regression.watched("naive", {}, 1, regression.Regression)
    method.begin(net, theta, None)
    expected = -method.likelihood.log_p(net(theta, x), y, mask).mean()
    torch.testing.assert_close(method.loss(theta, x, y, mask), expected, rtol=1e-12, atol=0)


def test_the_strengths_match_the_sums_of_the_penalties():
    tasks = regression.stream(1)
    lam = regression.matched(EWC | offline.DOCUMENT, tasks, 1, TRAIN)
    assert len(lam) == len(tasks.tasks) - 1 and len(set(lam)) == len(lam)
    net, method = regression.trained("ewc", EWC | offline.DOCUMENT | {"lam": lam}, tasks, 1, TRAIN)
    for weight, theta, task in zip(lam, method.ends, tasks.tasks, strict=False):
        F, G = regression.fisher_sums(net, theta, task)
        assert weight * G == pytest.approx(EWC["lam"] * F, rel=1e-5)


def test_the_numbers_of_a_run_by_hand_and_again():
    run = regression.work("ewc", EWC, 1, TRAIN)
    net, method = regression.trained("ewc", EWC, regression.stream(1), 1, TRAIN)
    for k, theta in enumerate(method.ends):
        for j, (low, high) in enumerate(zip(regression.EDGES, regression.EDGES[1:], strict=False)):
            x = torch.tensor([[float(x)] for x in regression.GRID if low <= x <= high])
            error = (net(theta, x) - torch.sin(3 * x) - 0.3 * torch.sin(12 * x)).square().mean().sqrt()
            assert run.errors[k, j] == pytest.approx(float(error), rel=1e-4)
    points = TRAIN.steps * 4 // regression.EVERY + 1
    assert run.traces.shape == (points, 4) and len(method.path) == points
    x, y, _ = regression.stream(1).tasks[2].train.take(torch.arange(regression.N))
    assert run.traces[-1, 2] == pytest.approx(float((net(method.path[-1], x) - y).square().mean()), rel=1e-4)
    again = {("ewc", 1): regression.work("ewc", EWC, 1, TRAIN)}
    written = offline.numbers({("ewc", 1): run}).to_csv(float_format=drawing.DIGITS)
    assert offline.numbers(again).to_csv(float_format=drawing.DIGITS) == written
    assert written.splitlines()[1].startswith("0,ewc,1,1,100,")


def test_strength_zero_is_fine_tuning_and_a_huge_one_cannot_learn():
    none, zero, huge = (
        regression.work(*each, 1, TRAIN) for each in (("naive", {}), ("ewc", {"lam": 0.0}), ("ewc", {"lam": 1e12}))
    )
    assert np.array_equal(none.fits, zero.fits) and np.array_equal(none.traces, zero.traces)
    assert np.abs(huge.fits[-1] - huge.fits[0]).mean() < np.abs(none.fits[-1] - none.fits[0]).mean() / 2
    assert huge.errors.diagonal()[1:].mean() > 1.5 * none.errors.diagonal()[1:].mean()


def test_the_best_strength_has_the_least_final_error():
    trials = [(name, {option: value}, 101) for name, (option, values) in offline.SEARCH.items() for value in values]
    tried = [
        regression.Learnt(None, np.array([[9.0, 9.0], [1.0, abs(np.log10(value) - 2)]]), None, None, None)
        for _, options, _ in trials
        for value in options.values()
    ]
    assert offline.best(trials, tried) == {name: 100.0 for name in offline.SEARCH}
    assert len(offline.search(trials, tried)) == len(trials)

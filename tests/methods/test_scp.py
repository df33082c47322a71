"""SCP: closed forms on a linear net, slices of either kind, and how tasks are joined."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from methods import scp
from methods.base.errors import UserError
from methods.base.examples import Examples, Part, mask_of
from methods.base.net import Net
from methods.base.rng import generator
from methods.importance import persample
from methods.scp import SCP
from tests.support import slow, toy

N_UNITS, UNITS = 7, [1, 4, 5]


def linear_case(n=300, units=UNITS):
    """f(x) = W x + b and examples, more than one pass of them, that may use `units`."""
    draws = torch.Generator().manual_seed(0)
    net = Net(nn.Linear(5, N_UNITS).double())
    x = torch.randn(n, 5, dtype=torch.float64, generator=draws)
    theta = torch.randn(net.n_parameters, dtype=torch.float64, generator=draws)
    return net, theta, Examples((Part(x, torch.arange(n), torch.full((n,), units[0]), mask_of(units, N_UNITS)),))


def gamma_of(net, theta, *tasks, seed=0, **options):
    """The importance after each of `tasks`, all at theta."""
    method = SCP(lam=1.0, **options)
    method.begin(net, theta, lambda role, task, replica=0: generator(seed, role, task))
    for k, examples in enumerate(tasks):
        method.after_task(theta, replace(toy.stream().tasks[k], train=examples))
    return method.quadratic.A


def test_scp_of_a_linear_net():
    """Gamma_W[k, j] = mean(x_j)^2 / K and Gamma_b[k] = 1 / K for each of the K active units; 0 for the others."""
    net, theta, examples = linear_case()
    views = net.views(gamma_of(net, theta, examples))
    active = (mask_of(UNITS, N_UNITS) == 0).double()
    expected = active[:, None] * examples.parts[0].source.mean(0) ** 2 / 3
    torch.testing.assert_close(views["weight"], expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(views["bias"], active / 3, rtol=1e-12, atol=0)


def test_scp_is_blind_to_inputs_whose_mean_is_zero():
    net, theta, examples = linear_case()
    (part,) = examples.parts
    centred = Examples((replace(part, source=part.source - part.source.mean(0)),))
    views = net.views(gamma_of(net, theta, centred))
    assert float(views["weight"].max()) < 1e-30
    assert float(views["bias"].max()) > 0.3


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_scp_squares_the_mean_gradient_of_each_active_unit(scenario):
    """On a net with dropout and batch statistics, which an importance leaves out; not the mean of squares."""
    stream = toy.stream(scenario, sizes=toy.SMALL)
    module = toy.noisy(stream).eval()
    module[2].running_mean.fill_(0.3)
    examples = slow.listed(stream.tasks[1].train)
    units = examples[0][2]
    params = slow.parameters(module)
    gradients = [
        torch.stack([slow.flat(slow.gradients(module(x[None])[0][unit], params)) for x, _, _ in examples])
        for unit in units
    ]
    expected = sum(each.mean(0) ** 2 for each in gradients) / len(units)
    net = Net(module)
    module.train()
    found = gamma_of(net, net.vector(), stream.tasks[1].train)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-15)
    assert found.sum() < 0.9 * sum(each.square().mean(0) for each in gradients).sum() / len(units)


def test_scp_is_the_same_for_every_orthonormal_set(monkeypatch):
    net, theta, data = toy.second_task("domain")[1:]
    expected = gamma_of(net, theta, data)
    basis, _ = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    monkeypatch.setattr(SCP, "_slices", lambda *_: basis)
    assert float(basis.abs().min()) > 0.1
    torch.testing.assert_close(gamma_of(net, theta, data), expected, rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("slices", [None, 3])
def test_scp_needs_no_labels_and_no_batch_size(monkeypatch, slices):
    net, theta, examples = linear_case(units=[0, 1, 2])
    (part,) = examples.parts
    expected = gamma_of(net, theta, examples, slices=slices)
    other = Examples((replace(part, y=torch.arange(300) % 3),))
    assert torch.equal(gamma_of(net, theta, other, slices=slices), expected)
    monkeypatch.setattr(persample, "PASS", 7)
    torch.testing.assert_close(gamma_of(net, theta, examples, slices=slices), expected, rtol=1e-11, atol=1e-16)


def test_scp_draws_unit_vectors_over_the_active_units():
    method = SCP(lam=1.0, slices=4000)
    xi = method._slices(torch.zeros(1).double(), mask_of(UNITS, N_UNITS), torch.Generator().manual_seed(0))
    torch.testing.assert_close(xi.norm(dim=1), torch.ones(4000).double(), rtol=1e-12, atol=0)
    assert xi[:, [0, 2, 3, 6]].count_nonzero() == 0
    # E xi xi^T = I / K; an entry's standard error is at most sqrt(E xi^4 / 4000) < 0.0071 for K = 3
    active = xi[:, UNITS]
    torch.testing.assert_close(active.T @ active / 4000, torch.eye(3).double() / 3, rtol=0, atol=5 * 0.0071)


def test_scp_of_one_slice_is_its_squared_gradient():
    net, theta, data = toy.second_task("class")[1:]
    drawn = gamma_of(net, theta, data, slices=1, seed=5)
    xi = SCP(lam=1.0, slices=1)._slices(theta, data.parts[0].mask, generator(5, "scp", 0))[0]
    variable = theta.clone().requires_grad_()
    x, _, _ = data.take(torch.arange(len(data)))
    (g,) = torch.autograd.grad(net(variable, x).mean(0) @ xi, variable)
    torch.testing.assert_close(drawn, g**2, rtol=1e-11, atol=1e-18)


@pytest.mark.parametrize("slices", [2, 3, 4, 100])
def test_scp_takes_no_more_backward_passes_than_there_are_units(monkeypatch, slices):
    """Three of seven units are active. The definition is the mean over the slices of each one's squared gradient."""
    net, theta, examples = linear_case()
    xi = SCP(lam=1.0, slices=slices)._slices(theta, mask_of(UNITS, N_UNITS), generator(0, "scp", 0))
    variable, (part,) = theta.clone().requires_grad_(), examples.parts
    phi = net(variable, part.source).mean(0)
    gradients = [torch.autograd.grad(each @ phi, variable, retain_graph=True)[0] for each in xi]
    passes = []

    def counted(net, theta, examples, cotangents_at):
        passes.append(len(cotangents_at(torch.zeros(1, N_UNITS, dtype=torch.float64))))
        return persample.mean_gradients(net, theta, examples, cotangents_at)

    monkeypatch.setattr(scp, "mean_gradients", counted)
    expected = sum(gradient.square() for gradient in gradients) / slices
    torch.testing.assert_close(gamma_of(net, theta, examples, slices=slices), expected, rtol=1e-11, atol=1e-18)
    assert passes == [min(slices, len(UNITS))]


def test_scp_error_of_drawn_slices_falls_with_the_root_of_their_number():
    """RMS error over 60 draws, of the weights' total: 4 times the slices, half the error, within a third."""
    net, theta, data = toy.second_task("class")[1:]
    exact = gamma_of(net, theta, data)
    errors = []
    for slices in (4, 16, 64):
        draws = torch.stack([gamma_of(net, theta, data, slices=slices, seed=seed) for seed in range(60)])
        errors.append(float((draws - exact).square().mean(0).sum().sqrt()))
        assert float((draws.mean(0) - exact).norm()) < 4 * errors[-1] / 60**0.5
    assert errors[0] / errors[1] == pytest.approx(2, rel=1 / 3)
    assert errors[1] / errors[2] == pytest.approx(2, rel=1 / 3)


def test_scp_joins_tasks():
    """An average in which the first task counts fully, or the sum."""
    stream = toy.stream("domain", sizes=toy.SMALL)
    net = Net(toy.module(stream))
    theta = net.vector()
    tasks = [task.train for task in stream.tasks]
    a, b, c = (gamma_of(net, theta, each) for each in tasks)
    averaged = 0.7 * (0.7 * a + 0.3 * b) + 0.3 * c
    torch.testing.assert_close(gamma_of(net, theta, *tasks, ema=0.7), averaged, rtol=1e-12, atol=1e-18)
    torch.testing.assert_close(gamma_of(net, theta, *tasks), a / 4 + b / 4 + c / 2, rtol=1e-12, atol=1e-18)
    torch.testing.assert_close(gamma_of(net, theta, *tasks, ema=None), a + b + c, rtol=1e-12, atol=1e-18)


def test_scp_penalty_has_no_one_half():
    method = toy.make("scp", lam=0.3)
    (star,) = toy.after_tasks(method, toy.stream(), 1)
    expected = 0.3 * (method.quadratic.A * (star + 1 - star) ** 2).sum()
    assert expected > 0
    torch.testing.assert_close(method.penalty(star + 1), expected)


def test_each_replica_draws_its_own_slices():
    stream = toy.stream("class", sizes=toy.SMALL)
    _, thetas = toy.run(toy.make("scp", slices=2), stream, (1, 2))
    for r, seed in enumerate((1, 2)):
        _, alone = toy.run(toy.make("scp", slices=2), stream, (seed,))
        torch.testing.assert_close(thetas[r], alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("option", "bad"),
    [*[("slices", bad) for bad in (0, -1, 1.5, "8", True)], *[("ema", bad) for bad in (-0.1, 1.1, "1", True)]],
)
def test_scp_refuses(option, bad):
    with pytest.raises(UserError, match=rf"^{option} must be") as error:
        toy.make("scp", **{option: bad})
    assert repr(bad) in str(error.value)


def test_scp_holds_few_slices_at_a_time(monkeypatch):
    """All of them, [K, P], are gigabytes for a hundred units and a network of some millions."""
    net, theta, examples = linear_case(units=[0, 1, 2, 4, 5])
    whole, held, real = gamma_of(net, theta, examples), [], scp.mean_gradients

    def mean_gradients(*arguments):
        held.append(len(found := real(*arguments)))
        return found

    monkeypatch.setattr(scp, "mean_gradients", mean_gradients)
    monkeypatch.setattr(scp, "within_budget", lambda size, device: 2 if size == 8 * len(theta) else 0)
    torch.testing.assert_close(gamma_of(net, theta, examples), whole, rtol=1e-12, atol=0)
    assert held == [2, 2, 1]

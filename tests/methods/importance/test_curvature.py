"""The Fisher as a matrix, as the variance of the score, and as the curvature of the mean loss, in float64."""

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian, jacobian

from methods.base.errors import UserError
from methods.base.examples import Examples, Part, mask_of
from methods.base.net import Net
from methods.importance import curvature, example_gradients, persample
from methods.importance.curvature import full, gauss_newton_diagonal, hessian_diagonal, mean_score
from methods.importance.fisher import diagonal
from methods.importance.likelihoods import Gaussian
from tests.support import toy
from tests.support.labels import log_p, support
from tests.support.nets import one_by_one

N, D, C = 5, 5, 4
SAID = {"categorical": "categorical", "bernoulli": "bernoulli", "gaussian": Gaussian(0.3)}
NAME = pytest.mark.parametrize("name", SAID)
UNITS = pytest.mark.parametrize("units", [[0, 1, 2, 3], [0, 2, 3]], ids=["all units", "some units"])
BODIES = {
    "relu": lambda: nn.Sequential(nn.Linear(D, 6), nn.ReLU(), nn.Linear(6, C)),
    "tanh": lambda: nn.Sequential(nn.Linear(D, 6), nn.Tanh(), nn.Linear(6, C)),
    "convolutions": lambda: nn.Sequential(
        nn.Linear(D, 16),
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(8),
        nn.Linear(8, C),
    ),
}


def case(name, units, build="tanh"):
    """Net, theta, inputs, and examples with labels of the likelihood that use `units`; float64."""
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net(BODIES[build]().double().eval())
    theta = net.vector() + 0.3 * torch.randn(net.n_parameters, dtype=torch.float64, generator=draws)
    x = 2 * torch.randn(N, D, dtype=torch.float64, generator=draws)
    supports = [support(name, z, units) for z in net(theta, x)]
    y = torch.stack([each[3 * n % len(each)][0] for n, each in enumerate(supports)])
    return net, theta, x, Examples((Part(x, torch.arange(N), y, mask_of(units, C)),))


def mean_loss(net, name, examples, units):
    """theta -> mean of -log p(y_n | x_n)."""
    x, y, _ = examples.take(torch.arange(N))
    return lambda theta: -sum(log_p(name, z, y[n], units) for n, z in enumerate(net(theta, x))) / N


def scores_of(net, theta, name, examples, units, n):
    """The scores [Y, P] of every label of example n, their weights [Y], and the score [1, P] of its own label."""
    x, (own,), _ = examples.take(torch.tensor([n]))
    labels, weights = zip(*support(name, net(theta, x)[0].detach(), units), strict=True)

    def all_log_p(theta):
        z = net(theta, x)[0]
        return torch.stack([log_p(name, z, y, units) for y in (*labels, own)])

    scores = jacobian(all_log_p, theta)
    return scores[:-1], torch.stack(weights), scores[-1:]


@UNITS
@NAME
def test_every_estimator_against_a_loop_over_examples_and_labels(name, units):
    net, theta, _, examples = case(name, units)
    exact, empirical = torch.zeros(2, len(theta), len(theta), dtype=theta.dtype)
    for n in range(N):
        scores, weights, own = scores_of(net, theta, name, examples, units, n)
        exact += scores.T @ (weights[:, None] * scores) / N
        empirical += own.T @ own / N
    for estimator, expected in (("exact", exact), ("empirical", empirical)):
        found = full(net, theta, examples, estimator, likelihood=SAID[name])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)
        found = diagonal(net, theta, examples, estimator, likelihood=SAID[name])
        torch.testing.assert_close(found, expected.diagonal(), rtol=1e-9, atol=1e-13)


def test_rank_of_the_full_fisher_is_at_most_examples_times_units_less_one():
    net, theta, _, examples = case("categorical", [0, 2, 3])
    values = torch.linalg.eigvalsh(full(net, theta, examples.select(torch.arange(3))))
    assert float(values.min()) > -1e-14
    assert int((values > 1e-12).sum()) == 3 * 2


@NAME
def test_mean_of_many_samples_is_exact(name):
    """Each coordinate within 5.5 standard errors, which come from 400 estimates of their own."""
    net, theta, _, examples = case(name, [0, 2, 3])
    generator = [torch.Generator().manual_seed(0)]
    found = torch.stack(
        [diagonal(net, theta, examples, "sample", generator, likelihood=SAID[name]) for _ in range(400)]
    )
    exact = diagonal(net, theta, examples, likelihood=SAID[name])
    assert bool(((found.mean(0) - exact).abs() <= 5.5 * found.std(0) / 20 + 1e-12).all())
    empirical = diagonal(net, theta, examples, "empirical", likelihood=SAID[name])
    assert bool(((empirical - exact).abs() > 5.5 * found.std(0) / 20).any()), "the bound tells another estimator apart"


@NAME
def test_kl_is_half_the_quadratic_form_of_the_fisher(name):
    """KL(p_theta || p_theta+v) = v^T F v / 2 + O(|v|^3); the cubic term cancels between v and -v."""
    units = [0, 1, 2, 3]
    net, theta, x, examples = case(name, units)

    def kl(other):
        here, there = net(theta, x), net(other, x)
        return sum(
            weight * (log_p(name, here[n], y, units) - log_p(name, there[n], y, units)) / N
            for n in range(N)
            for y, weight in support(name, here[n], units)
        )

    F, exact = full(net, theta, examples, likelihood=SAID[name]), diagonal(net, theta, examples, likelihood=SAID[name])
    v = 3e-4 * torch.randn(theta.shape, dtype=theta.dtype, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(kl(theta + v) + kl(theta - v), v @ F @ v, rtol=1e-4, atol=0)
    for i in exact.argsort(descending=True)[:30:5].tolist():
        e = torch.zeros_like(theta).index_fill(0, torch.tensor(i), 1e-3)
        torch.testing.assert_close((kl(theta + e) + kl(theta - e)) / 1e-6, exact[i], rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("build", BODIES)
@UNITS
@NAME
def test_hessian_and_mean_score_are_the_derivatives_of_the_mean_loss(name, units, build, monkeypatch):
    net, theta, _, examples = case(name, units, build)
    loss = mean_loss(net, name, examples, units)
    expected = hessian(loss, theta, vectorize=True).diagonal()
    torch.testing.assert_close(hessian_diagonal(net, theta, examples, SAID[name]), expected, rtol=1e-8, atol=1e-12)
    slope = jacobian(loss, theta)
    torch.testing.assert_close(mean_score(net, theta, examples, SAID[name]), -slope, rtol=1e-9, atol=1e-13)
    monkeypatch.setattr(persample, "PASS", 4)
    monkeypatch.setattr(curvature, "within_budget", lambda size, device: 50)  # unit vectors at a time: some, and a rest
    torch.testing.assert_close(hessian_diagonal(net, theta, examples, SAID[name]), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("build", BODIES)
@UNITS
@NAME
def test_gauss_newton_is_the_exact_fisher_whatever_the_labels(name, units, build):
    net, theta, _, examples = case(name, units, build)
    exact = diagonal(net, theta, examples, likelihood=SAID[name])
    torch.testing.assert_close(gauss_newton_diagonal(net, theta, examples, SAID[name]), exact, rtol=1e-9, atol=1e-13)


@NAME
def test_both_definitions_are_one_in_expectation_over_the_models_labels(name):
    """E_y[score^2] = -E_y[second derivative of log p], on a net where the Hessian for one label is another thing."""
    net, theta, _, examples = case(name, [0, 2, 3])
    one = examples.select(torch.tensor([4]))
    exact, expected = diagonal(net, theta, one, likelihood=SAID[name]), torch.zeros_like(theta)
    (part,) = one.parts
    signs = set()
    for y, weight in support(name, net(theta, part.source)[0], [0, 2, 3]):
        labelled = Examples((Part(part.source, part.rows, y[None], part.mask),))
        found = hessian_diagonal(net, theta, labelled, SAID[name])
        expected += weight * found
        signs |= set(found.sign().int().tolist())
    torch.testing.assert_close(expected, exact, rtol=1e-9, atol=1e-12)
    assert signs == {-1, 0, 1}, "some entries are negative, and stay so"


@NAME
def test_in_a_relu_net_the_hessian_is_the_exact_fisher_whatever_the_labels(name):
    """The outputs are linear in every single weight."""
    net, theta, _, examples = case(name, [0, 1, 2, 3], "relu")
    exact = diagonal(net, theta, examples, likelihood=SAID[name])
    torch.testing.assert_close(hessian_diagonal(net, theta, examples, SAID[name]), exact, rtol=1e-9, atol=1e-12)


def test_mean_score_vanishes_at_the_optimum_and_the_definitions_meet():
    """Softmax regression on labels of a model in its family: at the optimum, with many examples, all are alike."""
    draws = torch.Generator().manual_seed(0)
    n, net = 4000, Net(nn.Linear(2, 3).double())
    x = torch.randn(n, 2, dtype=torch.float64, generator=draws)
    truth = torch.randn(net.n_parameters, dtype=torch.float64, generator=draws)
    y = torch.multinomial(net(truth, x).softmax(-1), 1, generator=draws).flatten()
    theta = torch.zeros_like(truth)
    for _ in range(12):  # Newton's method
        F = full(net, theta, (x, y))
        theta = theta + torch.linalg.pinv(F, hermitian=True) @ mean_score(net, theta, (x, y))
    assert float(mean_score(net, theta, (x, y)).abs().max()) < 1e-14
    assert float(mean_score(net, truth, (x, y)).abs().max()) > 1e-4
    exact, curved = diagonal(net, theta, (x, y)), hessian_diagonal(net, theta, (x, y))
    torch.testing.assert_close(curved, exact, rtol=1e-10, atol=0)
    empirical = diagonal(net, theta, (x, y), "empirical")
    error = 5 * empirical * (3 / n) ** 0.5  # of a mean of squares with a kurtosis near that of a normal
    assert bool(((empirical - exact).abs() < error).all())
    batched = diagonal(net, theta, (x, y), "batched", batch=n)
    assert float(batched.max()) < 1e-25, "one batch squares the mean score"


def test_full_of_a_net_without_rules_and_in_chunks(monkeypatch):
    """A recurrent net, one example at a time."""

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.GRU(1, 3, batch_first=True), nn.Linear(3, C)

        def forward(self, x):
            return self.head(self.cell(x[..., None])[0][:, -1])

    net = Net(Recurrent().double())
    theta, x = net.vector(), torch.randn(N, D).double()
    monkeypatch.setitem(example_gradients.BUDGET, "cpu", 1)
    F = full(net, theta, (x, None), likelihood="gaussian")
    expected = one_by_one(net, theta, x, torch.eye(C).double()[:, None].expand(C, N, C), torch.square) / N
    torch.testing.assert_close(F.diagonal(), expected, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(diagonal(net, theta, (x, None), likelihood="gaussian"), expected, rtol=1e-9, atol=1e-13)


def test_full_of_too_many_parameters_names_the_memory():
    net = Net(nn.Linear(999, 11))
    with pytest.raises(UserError, match=r"of 11000 parameters takes 0.5 GiB: it is for at most 10000"):
        full(net, net.vector(), (torch.zeros(2, 999), None))
    with pytest.raises(UserError, match="unknown estimator of the full Fisher 'batched'"):
        full(net, net.vector(), (torch.zeros(2, 999), None), "batched")


@pytest.mark.parametrize("function", [gauss_newton_diagonal, hessian_diagonal, mean_score])
def test_labels_are_needed_and_checked(function):
    _, net, theta, data = toy.second_task()
    x, y, _ = data.take(torch.arange(len(data)))
    with pytest.raises(UserError, match="true labels"):
        function(net, theta, (x, None))
    with pytest.raises(UserError, match="label 99 is not"):
        function(net, theta, (x, y.clone().fill_(99)))
    with pytest.raises(UserError, match="unknown likelihood 'hinge'"):
        function(net, theta, (x, y), "hinge")

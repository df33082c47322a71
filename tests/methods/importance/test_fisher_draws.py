"""Fisher diagonals from what is drawn at random: labels, batches, subsets; and what holds for all of them."""

from itertools import combinations, permutations

import pytest
import torch

from methods.base.net import Net
from methods.importance import persample
from methods.importance.fisher import ESTIMATORS, diagonal
from methods.importance.likelihoods import CATEGORICAL
from tests.support import slow, toy


@pytest.fixture(params=["task", "domain", "class"])
def case(request):
    return toy.second_task(request.param)


@pytest.fixture
def one():
    return toy.second_task()


def seeded(seed=0):
    return [torch.Generator().manual_seed(seed)]


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("draws", [1, 3])
def test_sample_is_the_score_of_the_drawn_labels(case, draws):
    module, net, theta, data = case
    x, _, mask = data.take(torch.arange(len(data)))
    z, (generator,), expected = module(x).detach(), seeded(), []
    for _ in range(draws):
        drawn = CATEGORICAL.draw(z, mask, generator).tolist()
        expected.append(slow.flat(slow.fisher(module, slow.listed(data), "sample", drawn)))
    close(diagonal(net, theta, data, "sample", seeded(), draws=draws), torch.stack(expected).mean(0))


def test_sampled_labels_do_not_depend_on_the_size_of_a_pass(one, monkeypatch):
    _, net, theta, data = one
    expected = diagonal(net, theta, data, "sample", seeded())
    monkeypatch.setattr(persample, "PASS", 5)
    close(diagonal(net, theta, data, "sample", seeded()), expected)


def test_mean_of_many_sampled_is_exact(one):
    """Each coordinate within 5.5 standard errors: false alarm below 2e-5 over the 190 of them, twice."""
    module, net, theta, data = one
    draws = 400
    listed, N = slow.listed(data), len(data)
    exact = slow.flat(slow.fisher(module, listed, "exact"))
    second, square = torch.zeros_like(theta), torch.zeros_like(theta)
    for x, _, units in listed:
        scores = slow.log_p(module, x, units)
        squares = torch.stack([slow.flat(slow.gradients(score, slow.parameters(module))) ** 2 for score in scores])
        p = scores.exp().detach()
        second += p @ squares**2
        square += (p @ squares) ** 2
    error = ((second - square) / (N**2 * draws)).sqrt()  # the standard error, from the definition
    for mean in (
        diagonal(net, theta, data.repeat(draws), "sample", seeded()),
        diagonal(net, theta, data, "sample", seeded(), draws=draws),
    ):
        assert bool(((mean - exact).abs() <= 5.5 * error + 1e-15).all())
    argmax = diagonal(net, theta, data, "argmax")
    assert bool(((argmax - exact).abs() > 5.5 * error + 1e-15).any()), "the bound tells another estimator apart"


def test_batches_of_one_are_empirical(case):
    _, net, theta, data = case
    expected = diagonal(net, theta, data, "empirical")
    for estimator in ("batched", "batched_rescaled"):
        close(diagonal(net, theta, data, estimator, seeded(), batch=1), expected)


@pytest.mark.parametrize("batch", [4, 5, 18, 100])
def test_batched_squares_the_means_of_its_batches(case, batch):
    """Of 18 examples the last batch may be smaller. It counts like any other, and is rescaled by its own size."""
    module, net, theta, data = case
    groups = slow.grouped(slow.listed(data), batch, seeded()[0])
    for estimator, rescaled in (("batched", False), ("batched_rescaled", True)):
        expected = slow.flat(slow.squared_means(module, groups, rescaled))
        close(diagonal(net, theta, data, estimator, seeded(), batch=batch), expected)


def test_one_batch_that_is_smaller_than_asked_for_is_rescaled_by_its_own_size(one):
    """60 examples in batches of 128: the factor is 60."""
    _, net, theta, data = one
    sixty = data.repeat(4).select(torch.arange(60))
    close(diagonal(net, theta, sixty, "batched_rescaled"), 60 * diagonal(net, theta, sixty, "batched"))


def test_batched_over_all_partitions(one):
    """E[batched] = emp (N - B) / (B (N - 1)) + mean^2 N (B - 1) / (B (N - 1)), B dividing N: here 2 and 4."""
    module, net, theta, data = one
    four = data.select(torch.arange(4))
    found = [
        diagonal(net, theta, four.select(torch.tensor(order)), "batched", batch=2) for order in permutations(range(4))
    ]
    empirical = diagonal(net, theta, four, "empirical")
    mean = slow.flat(slow.gradients(slow.mean_loss(module, slow.listed(four)), slow.parameters(module)))
    close(torch.stack(found).mean(0), empirical * 2 / (2 * 3) + mean**2 * 4 * 1 / (2 * 3))


def test_n_samples_takes_that_many_without_replacement(one):
    _, net, theta, data = one
    six = data.select(torch.arange(6))
    subsets = {each: diagonal(net, theta, six.select(torch.tensor(each))) for each in combinations(range(6), 3)}
    found = []
    for seed in range(12):
        drawn = diagonal(net, theta, six, generators=seeded(seed), n_samples=3)
        assert torch.equal(drawn, diagonal(net, theta, six, generators=seeded(seed), n_samples=3))
        (which,) = [each for each, value in subsets.items() if float((value - drawn).abs().max()) < 1e-14]
        found.append(which)
    assert len(set(found)) > 3
    assert {n for each in found for n in each} == set(range(6))


@pytest.mark.parametrize("n_samples", [6, 100])
def test_n_samples_that_leave_nobody_out(one, n_samples):
    _, net, theta, data = one
    six = data.select(torch.arange(6))
    assert torch.equal(diagonal(net, theta, six, n_samples=n_samples), diagonal(net, theta, six))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_replicas_are_networks_of_their_own(one, estimator):
    _, net, theta, data = one
    thetas = torch.stack([theta, 2 * theta, -theta])
    options = {"n_samples": 9, "batch": 4}
    together = diagonal(net, thetas, data, estimator, [seeded(r)[0] for r in range(3)], **options)
    for r, row in enumerate(thetas):
        assert torch.equal(together[r], diagonal(net, row, data, estimator, seeded(r), **options))


@pytest.mark.parametrize("estimator", ["exact", "empirical", "batched"])
def test_dropout_and_batch_statistics_are_off(estimator):
    stream = toy.stream("domain", sizes=toy.SMALL)
    module = toy.noisy(stream).eval()
    module[2].running_mean.fill_(0.3)
    data = stream.tasks[0].train
    listed = slow.listed(data)
    if estimator == "batched":
        expected = slow.squared_means(module, slow.grouped(listed, 4, seeded()[0]))
    else:
        expected = slow.fisher(module, listed, estimator)
    net = Net(module)
    module.train()
    close(diagonal(net, net.vector(), data, estimator, seeded(), batch=4), slow.flat(expected))

"""The Fisher of any module on tensors: likelihoods in closed form, what a call leaves alone, and what it refuses."""

import re

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from methods.base.errors import UserError
from methods.base.examples import Examples, Part, mask_of
from methods.base.net import Net
from methods.importance import curvature, fisher
from methods.importance.fisher import ESTIMATORS, diagonal
from methods.importance.likelihoods import Bernoulli, Gaussian
from tests.support import toy

N, D, C = 20, 4, 3
OWN = ("exact", "sample", "empirical")


def linear_case():
    """f(x) = W x + b; theta, inputs, units as labels, numbers as labels."""
    draws = torch.Generator().manual_seed(0)
    net = Net(nn.Linear(D, C).double())
    theta = torch.randn(net.n_parameters, dtype=torch.float64, generator=draws)
    x, numbers = (torch.randn(N, n, dtype=torch.float64, generator=draws) for n in (D, C))
    return net, theta, x, torch.arange(N) % C, numbers


def seeded():
    return [torch.Generator().manual_seed(0)]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-15)


def weighed(net, weights, x):
    """1/N sum_n weights_n,c x_n,j^2 at the weight and without x at the bias [P], as for a linear net."""
    expected = torch.zeros(net.n_parameters, dtype=x.dtype)
    net.views(expected)["weight"].copy_(weights.T @ x.square() / N)
    net.views(expected)["bias"].copy_(weights.mean(0))
    return expected


def test_linear_regression():
    """exact = x^2 / variance, and empirical = r^2 x^2 / variance^2 with residuals r."""
    net, theta, x, _, y = linear_case()
    p = Gaussian(0.7)
    close(diagonal(net, theta, (x, None), likelihood=p), weighed(net, torch.full_like(y, 1 / 0.7), x))
    residuals = (y - net(theta, x)).square() / 0.7**2
    close(diagonal(net, theta, (x, y), "empirical", likelihood=p), weighed(net, residuals, x))


def test_independent_sigmoids():
    """exact = p (1 - p) x^2, and empirical = (y - p)^2 x^2."""
    net, theta, x, units, _ = linear_case()
    p = net(theta, x).sigmoid()
    close(diagonal(net, theta, (x, None), likelihood="bernoulli"), weighed(net, p * (1 - p), x))
    y = nn.functional.one_hot(units, C)
    for labels in (y, units):
        close(diagonal(net, theta, (x, labels), "empirical", likelihood=Bernoulli()), weighed(net, (y - p) ** 2, x))


def test_softmax_of_every_estimator_of_units():
    net, theta, x, y, _ = linear_case()
    p = net(theta, x).softmax(-1)
    y = nn.functional.one_hot(y, C)
    top = nn.functional.one_hot(p.argmax(-1), C)
    every = [nn.functional.one_hot(torch.full((N,), c), C) for c in range(C)]
    expected = {
        "exact": p * (1 - p),
        "empirical": (y - p) ** 2,
        "argmax": (top - p) ** 2,
        "p_weighted": (p * y).sum(1, keepdim=True) * (y - p) ** 2,
        "unweighted_classes": sum((each - p) ** 2 for each in every),
    }
    for estimator, weights in expected.items():
        close(diagonal(net, theta, (x, y.argmax(-1)), estimator), weighed(net, weights, x))


@pytest.mark.parametrize("estimator", ["batched", "batched_rescaled"])
def test_batches_of_one_are_empirical_for_every_likelihood(estimator):
    net, theta, x, units, numbers = linear_case()
    for likelihood, y in (("categorical", units), ("bernoulli", units), ("gaussian", numbers)):
        expected = diagonal(net, theta, (x, y), "empirical", likelihood=likelihood)
        close(diagonal(net, theta, (x, y), estimator, seeded(), batch=1, likelihood=likelihood), expected)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_tensors_are_examples_whose_units_are_all_allowed(estimator):
    module, net, theta, data = toy.second_task("domain")
    x, y, _ = data.take(torch.arange(len(data)))
    given = diagonal(net, theta, (x, y), estimator, seeded(), n_samples=9, batch=4)
    assert torch.equal(given, diagonal(Net(module), theta, data, estimator, seeded(), n_samples=9, batch=4))


@pytest.mark.parametrize("likelihood", ["categorical", "bernoulli", "gaussian"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_call_leaves_everything_as_it_was(estimator, likelihood):
    if estimator in fisher.OF_UNITS and likelihood != "categorical":
        return
    stream = toy.stream("domain", sizes=toy.SMALL)
    module = toy.noisy(stream)
    x, y, _ = stream.tasks[0].train.take(torch.arange(14))
    y = torch.randn(14, 2).double() if likelihood == "gaussian" else y
    module[3].eval()  # a mode of its own
    modes = [each.training for each in module.modules()]
    state = {key: value.clone() for key, value in module.state_dict().items()}
    net, draws = Net(module), torch.get_rng_state()
    options = {"n_samples": 9, "batch": 4, "draws": 2, "likelihood": likelihood}
    F = diagonal(net, net.vector(), (x, y), estimator, seeded(), **options)
    assert F.shape == (net.n_parameters,) and bool((F >= 0).all()) and not F.requires_grad
    assert torch.equal(torch.get_rng_state(), draws)
    assert [each.training for each in module.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int16, torch.uint16])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_labels_of_any_integer_type(estimator, dtype):
    net, theta, x, y, _ = linear_case()
    expected = diagonal(net, theta, (x, y), estimator, seeded(), batch=6)
    assert torch.equal(diagonal(net, theta, (x, y.to(dtype)), estimator, seeded(), batch=6), expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_of_any_integer_type_in_curvatures(dtype):
    net, theta, x, y, _ = linear_case()
    for f in (curvature.gauss_newton_diagonal, curvature.hessian_diagonal, curvature.mean_score):
        assert torch.equal(f(net, theta, (x, y.to(dtype))), f(net, theta, (x, y)))


@pytest.mark.parametrize("n", [1, 7, N])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_unit_has_the_fisher_zero(estimator, n):
    """p = 1: nothing that the network could learn of one unit changes what it says."""
    net, theta, x, _, _ = linear_case()
    one = Net(nn.Linear(D, 1).double())
    F = diagonal(one, one.vector(), (x[:n], torch.zeros(n, dtype=torch.int64)), estimator, seeded(), batch=4)
    assert F.shape == (D + 1,) and F.count_nonzero() == 0
    y = torch.full((n,), 2)
    allowed = Examples((Part(x[:n], torch.arange(n), y, mask_of([2], C)),))
    assert diagonal(net, theta, allowed, estimator, seeded(), batch=4).count_nonzero() == 0
    for f in (curvature.full, curvature.gauss_newton_diagonal, curvature.mean_score, curvature.hessian_diagonal):
        assert f(net, theta, allowed).count_nonzero() == 0


@pytest.mark.parametrize("batch_size", [1, 6, 100])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_loader_is_the_examples_that_it_gives(estimator, batch_size):
    net, theta, x, y, _ = linear_case()
    expected = diagonal(net, theta, (x, y), estimator, seeded(), n_samples=9, batch=4)
    loader = DataLoader(TensorDataset(x, y), batch_size)
    assert torch.equal(diagonal(net, theta, loader, estimator, seeded(), n_samples=9, batch=4), expected)
    with_task_labels = DataLoader(TensorDataset(x, y, torch.zeros(N)), batch_size)
    assert torch.equal(diagonal(net, theta, with_task_labels, estimator, seeded(), n_samples=9, batch=4), expected)
    generated = ((some, labels) for some, labels in loader)
    assert torch.equal(diagonal(net, theta, generated, estimator, seeded(), n_samples=9, batch=4), expected)


def test_a_loader_without_labels_is_for_estimators_that_need_none():
    net, theta, x, _, _ = linear_case()
    loader = DataLoader(TensorDataset(x), 6)
    assert torch.equal(diagonal(net, theta, loader), diagonal(net, theta, (x, None)))
    with pytest.raises(UserError, match="empirical is about the true labels"):
        diagonal(net, theta, loader, "empirical")


@pytest.mark.parametrize("make", [lambda x: DataLoader(x, 6), lambda x: [x, x, x], lambda x: [{"x": x}]])
def test_batches_of_inputs_alone_are_not_taken_for_inputs_and_labels(make):
    net, theta, x, _, _ = linear_case()
    with pytest.raises(UserError, match=r"a batch must be a tuple of inputs and labels, \(x, y\) or \(x,\), got"):
        diagonal(net, theta, make(x))


@pytest.mark.parametrize("estimator", ["exact", "empirical"])
def test_inputs_and_labels_of_different_number_are_refused(estimator):
    """Twice as many labels gave the Fisher of the first half, and half as many an error about an index."""
    net, theta, x, y, _ = linear_case()
    for labels in (torch.cat([y, y]), y[:5]):
        refused(f"got {N} inputs and {len(labels)} labels", net, theta, (x, labels), estimator)
    refused("every batch needs labels, or none has any: 1 of 3", net, theta, [(x, y), (x,), (x, y)], estimator)
    refused("may be two batches: give (x, y), or batches as [(x,), (x,)]", net, theta, [x, x], estimator)
    for data in ((x, y.numpy()), [(x, y.numpy())], [(x.numpy(), y)]):
        refused("inputs and labels must be tensors, got ndarray", net, theta, data, estimator)
    assert torch.equal(diagonal(net, theta, [x, y], estimator), diagonal(net, theta, (x, y), estimator))


@pytest.mark.parametrize("generators", [torch.Generator(), [torch.Generator()] * 2, (torch.Generator(),) * 3])
def test_there_is_one_generator_for_each_replica(generators):
    net, theta, x, y, _ = linear_case()
    refused("generators must be a list, one for each replica: 1", net, theta, (x, y), "sample", generators)
    stacked = torch.stack([theta] * 4)
    refused("generators must be a list, one for each replica: 4", net, stacked, (x, y), "sample", generators)


def test_one_output_of_zeros_and_ones():
    """Labels [N] would be units, so a label 0 would name the output, as a 1 does."""
    net = Net(nn.Linear(4, 1))
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 0, 0, 1, 0])
    refused(
        "labels of one output must be 0 or 1, of shape (6, 1), got (6,)",
        net,
        net.vector(),
        (x, y),
        "empirical",
        likelihood="bernoulli",
    )
    found = diagonal(net, net.vector(), (x, y[:, None]), "empirical", likelihood="bernoulli")
    p = net(net.vector(), x).sigmoid().detach()
    torch.testing.assert_close(found[-1], (y[:, None] - p).square().mean())


def test_a_loader_in_curvatures():
    net, theta, x, y, _ = linear_case()
    loader = DataLoader(TensorDataset(x, y), 6)
    for f in (curvature.full, curvature.gauss_newton_diagonal, curvature.hessian_diagonal, curvature.mean_score):
        assert torch.equal(f(net, theta, loader), f(net, theta, (x, y)))


def test_half_precision_gives_single():
    """Scores near 1e-4: their squares are below what float16 holds."""
    net, theta, x, y, _ = linear_case()
    expected = diagonal(net, theta, (x / 5000, y), "empirical")
    net.module.half()
    for estimator in ("empirical", "batched"):
        found = diagonal(net, theta.half(), (x.half() / 5000, y), estimator, seeded(), batch=1)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected.float(), rtol=0.02, atol=0)
    assert float(net.views(expected)["weight"].max()) < 6e-8 / 2


def refused(message, net, theta, *arguments, **options):
    with pytest.raises(UserError, match=re.escape(message)):
        diagonal(net, theta, *arguments, **options)


def test_refusals():
    net, theta, x, y, _ = linear_case()
    refused("unknown fisher 'exakt'", net, theta, (x, y), "exakt")
    refused("unknown likelihood 'hinge'", net, theta, (x, y), likelihood="hinge")
    refused("unknown likelihood None", net, theta, (x, y), likelihood=None)
    for estimator in fisher.OF_LABELS:
        refused(f"{estimator} is about the true labels", net, theta, (x, None), estimator)
        refused("label 3 is not among", net, theta, (x, y + 1), estimator)
        refused("one whole number for each example", net, theta, (x, y.double()), estimator)
    for estimator in fisher.OF_UNITS:
        refused(f"{estimator} is about units of a softmax", net, theta, (x, y), estimator, likelihood="bernoulli")
    for bad in (0, -1, 1.5, None, True):
        refused("draws must be a whole number >= 1", net, theta, (x, y), "sample", seeded(), draws=bad)
    for bad in (0, -1, 1.5, True):
        refused("n_samples must be a whole number >= 1", net, theta, (x, y), n_samples=bad)
    refused("fisher_batch must be a whole number >= 1", net, theta, (x, y), "batched", batch=0)
    refused("sample draws at random: give `generators`", net, theta, (x, y), "sample")
    refused("n_samples draws at random: give `generators`", net, theta, (x, y), n_samples=3)
    refused("no examples", net, theta, (x[:0], y[:0]))
    refused("the loader gave no batch", net, theta, DataLoader(TensorDataset(x[:0], y[:0])))
    cube = Net(nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Linear(2, C)).double())
    refused("the network must give real numbers [N, C]", cube, cube.vector(), (x, y))


def test_a_method_with_a_loss_of_its_own_has_no_fisher():
    method = toy.make("lwf")
    theta = toy.begin(method, toy.stream())
    with pytest.raises(UserError, match="LwF has a loss of its own, without a likelihood"):
        fisher.of_task(method, theta, toy.stream().tasks[0])


def test_exact_is_zero_where_nothing_can_change():
    """Units whose logits differ by 2000: no score is left, and nothing is nan."""
    net, theta, x, y, _ = linear_case()
    net.views(theta)["bias"].copy_(torch.tensor([0.0, 2000.0, 0.0]))
    for estimator in ("exact", "argmax", "p_weighted"):
        assert diagonal(net, theta, (x, y), estimator).count_nonzero() == 0
    assert bool(diagonal(net, theta, (x, y), "empirical").isfinite().all())
    assert curvature.gauss_newton_diagonal(net, theta, (x, y)).count_nonzero() == 0

"""RWalk's four samplers: what they return, what their chances are, and herding against brute force."""

import pytest
import torch
from torch import nn

from methods.base.errors import UserError
from methods.base.examples import Examples
from methods.base.net import Net
from methods.memory.herding import herd
from methods.memory.samplers import SAMPLERS, choose, draw_weighted, exemplars, observe
from tests.support import slow, slow_methods, toy


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("m", [1, 5, 18, 40])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_as_many_as_asked_for_all_distinct(sampler, m):
    _, net, theta, data = toy.second_task()
    places = choose(net, theta, data, sampler, m, draws())
    assert len(places) == min(m, 18) == len(places.unique())
    assert int(places.min()) >= 0 and int(places.max()) < 18


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_class_gets_its_own(sampler):
    _, net, theta, data = toy.second_task()
    generator = draws()
    chosen = exemplars(data, lambda members: choose(net, theta, members, sampler, 4, generator))
    assert list(chosen) == [2, 3]
    x, y, _ = Examples.joined(chosen.values()).take(torch.arange(8))
    assert y.tolist() == [2] * 4 + [3] * 4
    whole, labels, _ = data.take(torch.arange(18))
    for image, unit in zip(x, y, strict=True):
        (place,) = (whole == image).flatten(1).all(1).nonzero().flatten()
        assert labels[place] == unit


def test_features_planes_and_entropies_are_those_of_the_definition():
    module, net, theta, data = toy.second_task()
    module.train()
    theta = theta + 0.1  # not the module's own parameters
    features, planes, entropies = observe(net, theta, data)
    assert module.training
    nn.utils.vector_to_parameters(theta, module.parameters())
    for n, (x, y, units) in enumerate(slow.listed(data)):
        p = slow.log_p(module, x, units).exp()
        torch.testing.assert_close(features[n], module.body(x[None])[0].detach())
        assert torch.equal(planes[n], module.head.weight[y].detach())
        torch.testing.assert_close(entropies[n], -(p * p.log()).sum().detach())


def test_uniform_logits_make_entropy_uniform():
    _, net, theta, data = toy.second_task()
    views = net.views(theta := theta.clone())
    views["head.weight"].zero_()
    views["head.bias"].zero_()
    _, _, entropies = observe(net, theta, data)
    assert bool((entropies == entropies[0]).all()) and float(entropies[0]) == pytest.approx(torch.tensor(4.0).log())


def test_chances_are_proportional_to_the_weights():
    generator = draws()
    counts = torch.zeros(4)
    for _ in range(4000):
        counts[draw_weighted(torch.tensor([1.0, 2.0, 0.0, 5.0]), 1, generator)] += 1
    assert counts[2] == 0
    for count, p in zip(counts[[0, 1, 3]].tolist(), (1 / 8, 2 / 8, 5 / 8), strict=True):
        assert abs(count - 4000 * p) < 4 * (4000 * p * (1 - p)) ** 0.5


def test_plane_distance_prefers_examples_near_the_plane_and_entropy_unsure_ones():
    _, net, theta, data = toy.second_task()
    theta = 6 * theta  # Larger weights make the network sure of some examples.
    features, planes, entropies = observe(net, theta, data)
    chances = {"plane_distance": 1 / (features * planes).sum(-1).abs(), "entropy": entropies, "uniform": torch.ones(18)}
    for sampler, q in chances.items():
        counts = torch.zeros(18, dtype=torch.float64)
        generator = draws()
        for _ in range(400):
            counts[choose(net, theta, data, sampler, 1, generator)] += 1
        expected = 400 * q / q.sum()
        even = float(((400 / 18 - expected) ** 2 / expected).sum())
        assert (even > 100) == (sampler != "uniform"), "far enough from even chances to be told from them"
        assert float(((counts - expected) ** 2 / expected.clamp(min=1)).sum()) < 42.3, sampler  # 0.001 of chi2, 17


def test_weights_of_zero_come_last():
    weights = torch.tensor([0.0, 3.0, 0.0, 1e-30, 2.0])
    for seed in range(20):
        assert set(draw_weighted(weights, 3, draws(seed)).tolist()) == {1, 3, 4}
        assert len(draw_weighted(weights, 9, draws(seed)).unique()) == 5


@pytest.mark.parametrize("m", [1, 3, 12, 99])
def test_mean_of_features_is_herding_by_brute_force(m):
    features = torch.randn(12, 5, generator=draws(), dtype=torch.float64)
    places = herd(features, features.mean(0), m).tolist()
    assert places == slow_methods.herded(list(features), m)
    assert places == herd(features, features.mean(0), 12).tolist()[:m]


def test_a_network_without_a_linear_head_is_refused():
    module = nn.Sequential(nn.Flatten())
    module.add_module("head", nn.BatchNorm1d(16).double())
    net = Net(module)
    _, _, _, data = toy.second_task()
    with pytest.raises(UserError, match="last layer is a BatchNorm1d, not linear"):
        choose(net, net.vector(), data, "mof", 3, draws())


class ClassifierFirst(nn.Module):
    """Its last layer has another name than `head`, and is registered before its body."""

    def __init__(self, stream, seed=1):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.classifier, self.body = nn.Linear(9, stream.n_units), nn.Linear(16, 9)
        self.double()

    def forward(self, x):
        return self.classifier(self.body(x.flatten(1)).relu())


def test_the_last_layer_is_the_one_whose_output_is_the_logits():
    """Features and planes are those of the classifier; whole runs of RWalk and iCaRL find it too."""
    stream = toy.stream("class", sizes=toy.SMALL)
    module = ClassifierFirst(stream)
    net, data = Net(module), stream.tasks[0].train
    x, y, _ = data.take(torch.arange(len(data)))
    features, planes, _ = observe(net, net.vector(), data)
    torch.testing.assert_close(features, module.body(x.flatten(1)).relu(), rtol=1e-12, atol=1e-14)
    assert torch.equal(planes, module.classifier.weight[y])
    for name, options in (("rwalk", {"sampler": "plane_distance"}), ("icarl", {})):
        counts, theta = toy.run(toy.make(name, **options), stream, build=ClassifierFirst)
        assert bool(theta.isfinite().all()) and None not in counts[3]

"""The network as a function of one vector."""

import math

import pytest
import torch
from torch import nn

from benchmarks import models
from methods.base.errors import UserError
from methods.base.net import Net, Point, by_replica
from tests.support import toy


class Odd(nn.Module):
    """A tied weight, a frozen one, an unused layer, a bare parameter and a buffer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.unused, self.head = (nn.Linear(4, 4) for _ in range(4))
        self.second.weight = self.first.weight
        self.second.bias.requires_grad_(False)
        self.gain = nn.Parameter(torch.full((1, 4), 1.5))
        self.register_buffer("shift", torch.arange(4.0))

    def forward(self, x):
        return self.head(self.gain * torch.tanh(self.second(torch.tanh(self.first(x + self.shift)))))


@pytest.fixture
def odd():
    torch.manual_seed(0)
    return Odd().double()


def test_theta_is_every_trainable_parameter_once(odd):
    net = Net(odd)
    names = ["gain", "first.weight", "first.bias", "unused.weight", "unused.bias", "head.weight", "head.bias"]
    assert list(net.shapes) == names
    assert net.n_parameters == len(net.vector()) == 4 + 3 * 20
    parameters = dict(odd.named_parameters())
    assert torch.equal(net.vector(), torch.cat([parameters[name].flatten() for name in names]))
    assert not net.vector().requires_grad


def test_vector_and_views_are_inverse(odd):
    net = Net(odd)
    theta = torch.arange(float(net.n_parameters))
    views = net.views(theta)
    assert {name: view.shape for name, view in views.items()} == net.shapes
    assert torch.equal(torch.cat([view.flatten() for view in views.values()]), theta)
    views["first.bias"][2] = -1
    assert (theta == -1).nonzero().flatten().tolist() == [4 + 16 + 2], "views, not copies"
    replicas = net.views(torch.stack([theta, -theta]))
    assert all(view.shape == (2, *net.shapes[name]) for name, view in replicas.items())
    assert torch.equal(replicas["head.weight"][1], -views["head.weight"])


def test_net_is_the_module_at_theta(odd):
    net, x = Net(odd), torch.randn(5, 4).double()
    assert torch.equal(net(net.vector(), x), odd(x))
    theta = torch.randn(net.n_parameters).double()
    found = net(theta, x)
    for name, view in net.views(theta).items():
        odd.get_parameter(name).data = view
    assert torch.equal(odd.second.weight, odd.first.weight)
    assert torch.equal(found, odd(x))


def test_gradients_tied_summed_unused_zero_and_frozen_left_out(odd):
    net, x = Net(odd), torch.randn(5, 4).double()
    theta = net.vector().requires_grad_()
    (grad,) = torch.autograd.grad(net(theta, x).square().sum(), theta)
    odd(x).square().sum().backward()
    for name, view in net.views(grad).items():
        own = odd.get_parameter(name).grad
        assert torch.equal(view, torch.zeros_like(view) if own is None else own), name
    assert odd.unused.weight.grad is None and odd.first.weight.grad.count_nonzero() == 16
    assert odd.second.bias.grad is None


def losses(net, x):
    """Return losses of one pass and of two, of theta itself, and of gradients that they take."""

    def once(at):
        return net(at, x).square().sum()

    def taken(at, **options):
        return torch.autograd.grad(once(at), at, **options)[0]

    return {
        "one pass": once,
        "two passes": lambda at: once(at) + net(at, 2 * x, train=True).sum(),
        "theta": lambda at: at[1:].pow(3).sum(),
        "both": lambda at: once(at) + at[1:].pow(3).sum(),
        "a gradient": lambda at: (taken(at) * at).sum() + once(at),
        "its norm": lambda at: taken(at, create_graph=True).square().sum() + once(at),
    }


@pytest.mark.parametrize("name", losses(None, None))
def test_a_point_has_the_gradient_of_theta(odd, name):
    net, x = Net(odd), torch.randn(5, 4).double()
    theta, loss = net.vector(), losses(net, x)[name]
    point = Point(net, theta)
    for _ in range(3):
        variable = theta.clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss(variable), variable)
        found = point.gradient(loss(point.variable))
        torch.testing.assert_close(found, expected, rtol=0 if name == "one pass" else 1e-13, atol=1e-16)
        theta[2:] += 0.1  # the point moves with it


def test_points_of_one_network_do_not_disturb_each_other(odd):
    net, x = Net(odd), torch.randn(5, 4).double()
    one, other = (Point(net, net.vector() + shift) for shift in (0, 1))
    losses = [net(point.variable, x).square().sum() for point in (one, other)]
    first = one.gradient(losses[0]).clone()
    assert not torch.equal(other.gradient(losses[1]), first)
    assert torch.equal(one.gradient(net(one.variable, x).square().sum()), first)
    assert len(net.points) == 2
    del one, other, losses
    assert not net.points  # they go with those who asked for them


def test_a_point_of_replicas_has_the_gradients_of_each(odd):
    net, x = Net(odd), torch.randn(3, 5, 4).double()
    thetas = torch.randn(3, net.n_parameters).double()
    together = Point(net, thetas)
    found = together.gradient(net(together.variable, x).square().sum((-1, -2)))
    for r in range(3):
        alone = Point(net, thetas[r])
        expected = alone.gradient(net(alone.variable, x[r]).square().sum())
        torch.testing.assert_close(found[r], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("train", [True, False])
def test_several_networks_are_a_stack_of_single_ones(odd, train):
    net = Net(odd)
    thetas, x = torch.randn(3, net.n_parameters).double(), torch.randn(3, 5, 4).double()
    together = net(thetas, x, train)
    assert together.shape == (3, 5, 4)
    for r in range(3):
        torch.testing.assert_close(together[r], net(thetas[r], x[r], train), rtol=1e-12, atol=1e-14)


def test_train_is_an_argument(odd):
    """Dropout and batch statistics are on where it is asked for, and only there."""
    stream = toy.stream()
    net = Net(toy.noisy(stream))
    theta, x = net.vector(), torch.randn(12, *toy.SHAPE).double()
    quiet = net(theta, x)
    state = {key: value.clone() for key, value in net.module.state_dict().items()}
    assert torch.equal(net(theta, x), quiet)
    assert all(torch.equal(value, state[key]) for key, value in net.module.state_dict().items())
    loud = net(theta, x, train=True)
    assert not torch.equal(loud, net(theta, x, train=True))
    assert not torch.equal(net.module[2].running_mean, state["2.running_mean"])
    net.module.load_state_dict(state)
    assert torch.equal(net(theta, x), quiet)


def test_replicas_drop_different_units():
    stream = toy.stream()
    net = Net(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, stream.n_units)).double())
    theta, x = net.vector().expand(2, -1), torch.randn(12, *toy.SHAPE).double().expand(2, -1, -1, -1, -1)
    first, second = net(theta, x, train=True)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("lead", [(), (2,)])
def test_a_theta_of_another_length_is_refused(lead):
    net = Net(torch.nn.Linear(3, 2))
    for length in (7, 9):
        with pytest.raises(UserError, match=r"theta \[.*\] is not \[\.\.\., 8\], the network's parameters"):
            net(torch.zeros(*lead, length), torch.zeros(*lead, 4, 3))


def test_number_of_outputs():
    """Also of a network that one example alone stops; its statistics do not move."""
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3))
    net = Net(module)
    assert net.n_outputs(net.vector(), torch.randn(1, 4)) == 3
    net = Net(toy.noisy(toy.stream()))
    state = {key: value.clone() for key, value in net.module.state_dict().items()}
    assert net.n_outputs(net.vector(), torch.randn(7, *toy.SHAPE).double()) == toy.stream().n_units
    assert all(torch.equal(value, state[key]) for key, value in net.module.state_dict().items())


def test_by_replica():
    def one(theta, a, b):
        return theta * a + b

    theta = torch.arange(6.0).view(2, 3)
    together = by_replica(one, theta, [2, 3], torch.tensor([5, 7]))
    assert torch.equal(together, torch.stack([one(theta[0], 2, 5), one(theta[1], 3, 7)]))
    assert torch.equal(by_replica(one, theta[1], [3], [7]), together[1])
    with pytest.raises(ValueError):
        by_replica(one, theta, [2], [5, 7])


def test_models():
    shape = torch.Size((3, 8, 8))
    x = torch.randn(2, *shape)
    mlp = models.build("mlp-7-5", shape, 4, 0)
    assert [tuple(p.shape) for p in mlp.parameters()] == [(7, 192), (7,), (5, 7), (5,), (4, 5), (4,)]
    cnn = models.build("cnn-6-7-5", shape, 4, 0)
    assert [tuple(p.shape) for p in cnn.parameters() if p.dim() > 1] == [(6, 3, 3, 3), (7, 6, 3, 3), (5, 7 * 4), (4, 5)]
    for net in (mlp, cnn):
        assert net(x).shape == (2, 4)
        assert torch.equal(net(x), net.head(net.body(x)))
        assert bool((net.body(x) >= 0).all())


def test_initialisation_is_pytorchs_and_depends_on_the_seed_alone():
    random = torch.get_rng_state()
    first, again, other = (Net(models.build("mlp-7", torch.Size((3,)), 2, seed)).vector() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Linear(3, 7), nn.Linear(7, 2)
    assert torch.equal(first, torch.cat([p.detach().flatten() for layer in layers for p in layer.parameters()]))


def weights_and_biases(spec, shape=(1, 28, 28), seed=1):
    net = models.build(spec, torch.Size(shape), 10, seed)
    layers = [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    return [layer.weight.detach() for layer in layers], [layer.bias.detach() for layer in layers]


@pytest.mark.parametrize("spec", ["mlp-300-200,xavier", "cnn-20-30-200,xavier"])
def test_xavier(spec):
    weights, biases = weights_and_biases(spec)
    assert len(weights) == spec.count("-") + 1
    for weight, bias in zip(weights, biases, strict=True):
        window = weight[0, 0].numel()
        bound = math.sqrt(6 / ((weight.shape[0] + weight.shape[1]) * window))
        assert 0.97 * bound < float(weight.abs().max()) <= bound
        assert float(weight.square().mean()) == pytest.approx(bound**2 / 3, rel=0.15)  # uniform
        assert not bias.any()


@pytest.mark.parametrize("spec", ["mlp-300-200,truncated", "cnn-20-30-200,truncated"])
def test_truncated(spec):
    within = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    variance = 0.01 * float(within[within.abs() < 2].var())  # of a normal distribution cut at two deviations
    weights, biases = weights_and_biases(spec)
    for weight, bias in zip(weights, biases, strict=True):
        assert float(weight.abs().max()) <= 0.2
        assert bool((bias == 0.1).all())
    drawn = torch.cat([weight.flatten() for weight in weights])
    assert float(drawn.abs().max()) > 0.195
    assert float(drawn.mean()) == pytest.approx(0, abs=2e-3) and float(drawn.var()) == pytest.approx(variance, rel=0.02)


def test_zero_head():
    (*body, head), biases = weights_and_biases("mlp-30-20,xavier,zero_head")
    (*plain, _), _ = weights_and_biases("mlp-30-20,xavier")
    assert not head.any() and all(map(torch.equal, body, plain)) and not any(bias.any() for bias in biases)
    (*body, head), biases = weights_and_biases("mlp-30-20,zero_head")
    assert not head.any() and all(weight.any() for weight in body) and all(bias.any() for bias in biases)


@pytest.mark.parametrize("init", ["xavier", "truncated", "zero_head"])
def test_initialisations_depend_on_the_seed_alone(init):
    random = torch.get_rng_state()
    shape = torch.Size((3,))
    first, again, other = (Net(models.build(f"mlp-7,{init}", shape, 2, seed)).vector() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("spec", ["mlp-4,", "mlp-4,xaver", "mlp-4,xavier,", "mlp-4, xavier", "mlp-4,xavier-4"])
def test_unknown_initialisation(spec):
    with pytest.raises(UserError, match=f"unknown initialisation of the net '{spec}' .*nearest .*xavier"):
        models.parse(spec)


@pytest.mark.parametrize("spec", ["mlp", "mlp-", "mlp-0", "mlp-a", "resnet-18", "", "mlp-4--4", "mlp-1.5"])
def test_unknown_net(spec):
    with pytest.raises(UserError, match="unknown net"):
        models.parse(spec)


def test_net_that_does_not_fit_the_images():
    with pytest.raises(UserError, match="needs images"):
        models.build("cnn-4-4", torch.Size((16,)), 2, 0)
    with pytest.raises(UserError, match="poolings leave nothing"):
        models.build("cnn-4-4-4-4-4", torch.Size((1, 8, 8)), 2, 0)


@pytest.mark.parametrize("lead", [(), (3,)])
def test_a_parameter_may_be_a_single_number(lead):
    class Warm(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.warmth = nn.Linear(4, 3), nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return self.warmth * self.layer(x)

    net = Net(Warm().double())
    theta = torch.randn(*lead, net.n_parameters, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.randn(*lead, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    views = net.views(theta)
    weight, bias, warmth = views["layer.weight"], views["layer.bias"], views["warmth"]
    assert warmth.shape == lead
    expected = warmth[..., None, None] * (x @ weight.mT + bias[..., None, :])
    torch.testing.assert_close(net(theta, x), expected, rtol=1e-12, atol=1e-12)

"""Sums of a function of each example's gradient: both paths against one backward pass for each example."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from benchmarks.net import Net
from methods import persample

N, D, C = 40, 6, 3  # more examples than one chunk of the vmap path


class Tied(nn.Module):
    """Two linear layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, C)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Twice(nn.Module):
    """One linear layer, called twice."""

    def __init__(self):
        super().__init__()
        self.shared, self.head = nn.Linear(D, D), nn.Linear(D, C)

    def forward(self, x):
        return self.head(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


class Transposed(nn.Module):
    """A weight that is used a second time outside its layer."""

    def __init__(self):
        super().__init__()
        self.encode, self.head = nn.Linear(D, D), nn.Linear(D, C)

    def forward(self, x):
        return self.head(F.linear(torch.tanh(self.encode(x)), self.encode.weight.T))


class Scale(nn.Module):
    """A layer that is not linear and may share its parameter with one that is."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x):
        return x * self.weight.sum(0)


class SharedElsewhere(nn.Module):
    """A weight of a linear layer that is also the parameter of another module."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(D, D), nn.Linear(D, C)
        self.scale = Scale(self.first.weight)

    def forward(self, x):
        return self.head(self.scale(torch.tanh(self.first(x))))


class Bare(nn.Module):
    """A parameter that belongs to no layer."""

    def __init__(self):
        super().__init__()
        self.head, self.gain = nn.Linear(D, C), nn.Parameter(torch.randn(D))

    def forward(self, x):
        return self.head(torch.tanh(x * self.gain))


class Pieces(nn.Module):
    """Each example as two rows that are summed: the layer sees [N, 2, D/2], or [2N, D/2] where `flat`."""

    def __init__(self, flat):
        super().__init__()
        self.flat, self.row, self.head = flat, nn.Linear(D // 2, D), nn.Linear(D, C)

    def forward(self, x):
        rows = x.view(-1, 2, D // 2)
        h = torch.tanh(self.row(rows.flatten(0, 1))).view(-1, 2, D) if self.flat else torch.tanh(self.row(rows))
        return self.head(h.sum(1))


class Unused(nn.Module):
    """A layer that is never called, and one whose output is dropped."""

    def __init__(self):
        super().__init__()
        self.never, self.dropped, self.head = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, C)

    def forward(self, x):
        self.dropped(x)
        return self.head(x)


class Residual(nn.Module):
    """An output that is used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, C)

    def forward(self, x):
        h = self.first(x)
        return self.head(h + self.second(torch.relu(h)))


def freeze(module, *names):
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    return module


def mlp(relu=nn.ReLU, bias=True):
    return nn.Sequential(nn.Linear(D, 7, bias=bias), relu(), nn.Linear(7, 5), relu(), nn.Linear(5, C))


def cnn():
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 2, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4, 4),
        nn.ReLU(),
        nn.Linear(4, C),
    )


def normalised(norm):
    return nn.Sequential(nn.Linear(D, 5), norm, nn.Tanh(), nn.Linear(5, C))


LAYERS = {  # every parameter in a linear layer that is used once on [N, I]
    "mlp": mlp,
    "no bias": lambda: mlp(bias=False),
    "relu in place": lambda: mlp(lambda: nn.ReLU(inplace=True)),
    "residual": Residual,
    "unused layers": Unused,
    "first layer frozen": lambda: freeze(mlp(), "0.weight", "0.bias"),
    "middle layer frozen": lambda: freeze(mlp(), "2.weight", "2.bias"),
    "one weight frozen": lambda: freeze(mlp(), "2.weight"),
    "head frozen": lambda: freeze(mlp(), "4.weight", "4.bias"),
    "convolution frozen": lambda: freeze(cnn(), "1.weight", "1.bias"),
    "batch norm without parameters": lambda: normalised(nn.BatchNorm1d(5, affine=False)),
}
EXAMPLES = {
    "convolution": cnn,
    "tied": Tied,
    "used twice": Twice,
    "weight used outside its layer": Transposed,
    "weight shared with another module": SharedElsewhere,
    "bare parameter": Bare,
    "three dimensions": lambda: Pieces(flat=False),
    "several rows for an example": lambda: Pieces(flat=True),
    "batch norm": lambda: normalised(nn.BatchNorm1d(5)),
    "layer norm": lambda: normalised(nn.LayerNorm(5)),
}


def case(build):
    """Net, theta, inputs and two cotangents, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build().double()
        for each in module.modules():
            if isinstance(each, nn.BatchNorm1d):
                each.running_mean.normal_()
                each.running_var.uniform_(0.5, 2)
        net = Net(module.eval())
        return net, net.vector(), torch.randn(N, D).double(), [torch.randn(N, C).double() for _ in range(2)]


def one_by_one(net, theta, x, seeds, f):
    """sum_k sum_n f(J_n^T S^k_n), one backward pass for each term."""
    total = torch.zeros_like(theta)
    for seed in seeds:
        for n in range(len(x)):
            variable = theta.clone().requires_grad_()
            logits = functional_call(net.module, net.views(variable), (x[n : n + 1],))
            (gradient,) = torch.autograd.grad((logits[0] * seed[n]).sum(), variable)
            total += f(gradient)
    return total


@pytest.mark.parametrize("f", [torch.square, torch.abs])
@pytest.mark.parametrize("name", [*LAYERS, *EXAMPLES])
def test_sums_are_those_of_one_example_at_a_time(name, f):
    net, theta, x, seeds = case((LAYERS | EXAMPLES)[name])
    expected = one_by_one(net, theta, x, seeds, f)
    assert expected.count_nonzero() > theta.numel() / 6
    torch.testing.assert_close(persample.sums(net, theta, x, lambda z: seeds, f), expected, rtol=1e-10, atol=1e-13)


def path_of(name, monkeypatch):
    net, theta, x, seeds = case((LAYERS | EXAMPLES)[name])
    calls = []
    monkeypatch.setattr(persample, "_by_examples", lambda net, theta, *_: calls.append(1) or torch.zeros_like(theta))
    persample.sums(net, theta, x, lambda z: seeds, torch.square)
    return "examples" if calls else "layers"


@pytest.mark.parametrize("name", [*LAYERS, *EXAMPLES])
def test_the_fast_path_is_taken_where_it_holds_and_only_there(name, monkeypatch):
    assert path_of(name, monkeypatch) == ("layers" if name in LAYERS else "examples")


@pytest.mark.parametrize("name", ["mlp", "no bias", "residual", "unused layers"])
def test_both_paths_agree(name, monkeypatch):
    net, theta, x, seeds = case(LAYERS[name])
    fast = persample.sums(net, theta, x, lambda z: seeds, torch.abs)
    monkeypatch.setattr(persample, "layers_suffice", lambda *_: False)
    torch.testing.assert_close(persample.sums(net, theta, x, lambda z: seeds, torch.abs), fast, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["mlp", "convolution"])
def test_cotangents_are_asked_for_once_and_see_the_logits(name):
    net, theta, x, seeds = case((LAYERS | EXAMPLES)[name])
    seen = []
    persample.sums(net, theta, x, lambda z: seen.append(z) or seeds, torch.square)
    (logits,) = seen
    torch.testing.assert_close(logits, net(theta, x))
    assert not logits.requires_grad


@pytest.mark.parametrize("name", ["mlp", "convolution", "used twice"])
def test_nothing_is_left_on_the_module(name):
    net, theta, x, seeds = case((LAYERS | EXAMPLES)[name])
    before = theta.clone()
    with torch.no_grad():  # as the loop calls it
        persample.sums(net, theta, x, lambda z: seeds, torch.square)
    assert torch.equal(theta, before) and not theta.requires_grad
    assert not any(module._forward_hooks for module in net.module.modules())
    assert all(p.grad is None for p in net.module.parameters())

"""A user's own module under every method: convolutions, batch statistics, dropout, tied, frozen and unused layers."""

import pytest
import torch
from torch import nn

from methods.base.net import Net
from tests.support import toy
from tests.support.toy import CASES, CLASSES


class Peculiar(nn.Module):
    """All of them in one; `tied` is used twice, `frozen` is not trained, `unused` is never called."""

    def __init__(self, n_units):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, bias=False)  # a bias before batch statistics has no gradient
        self.norm = nn.BatchNorm2d(2)
        self.tied = nn.Linear(32, 32)
        self.again = self.tied
        self.frozen = nn.Linear(32, 12).requires_grad_(False)
        self.dropout = nn.Dropout(0.2)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(12, n_units)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu().flatten(1)
        x = self.again(self.tied(x).relu()).relu()
        return self.head(self.dropout(self.frozen(x).relu()))


def build(stream, seed=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Peculiar(stream.n_units).double()


@pytest.mark.parametrize(("name", "scenario"), [case for case in CASES if case[0] not in toy.PERCEPTRON])
def test_method_trains_a_peculiar_module(name, scenario):
    """It learns, otherwise than by fine-tuning; what is frozen is no parameter, what is unused does not move."""
    stream = toy.stream(scenario)
    net = Net(build(stream))
    start = net.vector()
    method = toy.make(name)
    theta = toy.run(method, stream, build=build)[1][: len(start)]  # a generator's parameters follow
    assert not any(parameter.startswith("frozen") or parameter.startswith("again") for parameter in net.shapes)
    assert bool(theta.isfinite().all())
    for parameter, moved in net.views(theta - start).items():
        pulled = moved.count_nonzero() > 0
        assert pulled == (not parameter.startswith("unused")), parameter
    frozen = build(stream).frozen
    assert torch.equal(method.net.module.frozen.weight, frozen.weight)
    if not CLASSES[name].joins_tasks and name != "naive":
        assert not torch.equal(theta, toy.run(toy.make("naive"), stream, build=build)[1])


@pytest.mark.parametrize("name", [name for name, cls in CLASSES.items() if cls.strength and name != "l2"])
def test_importance_of_a_peculiar_module(name):
    """Positive somewhere in every layer that is used; exactly zero in the one that is not."""
    stream = toy.stream("domain")
    method = toy.make(name)
    toy.run(method, stream, build=build)
    if method.quadratic is None:
        pytest.skip(f"{name} has no quadratic penalty")
    toy.skip_if_even(name, method.quadratic.A)
    for parameter, importance in method.net.views(method.quadratic.A).items():
        assert (importance.count_nonzero() > 0) == (not parameter.startswith("unused")), parameter

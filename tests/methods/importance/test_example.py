"""The engine on its own: the example in the docstring of methods/importance runs, and gives the exact diagonal."""

from textwrap import dedent

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import methods.importance
from methods.importance.fisher import diagonal


def test_the_example_of_the_docstring_gives_the_exact_diagonal():
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, y = torch.randn(50, 4).double(), torch.randint(3, (50,))
    names = {"module": module, "x": x, "y": y, "loader": DataLoader(TensorDataset(x, y), batch_size=16)}
    example = "\n".join(line for line in methods.importance.__doc__.splitlines() if line.startswith("    "))
    exec(dedent(example), names)
    net, theta, F = (names[name] for name in ("net", "theta", "F"))

    p = module(x).softmax(-1)
    expected = (p * (1 - p)).mean(0)  # of the last bias: the variance of the indicator of a unit
    torch.testing.assert_close(net.views(F)["2.bias"], expected.detach())
    assert F.shape == theta.shape and {name: view.shape for name, view in net.views(F).items()} == net.shapes
    assert torch.equal(diagonal(net, theta, (x, y)), F)
    assert not torch.equal(diagonal(net, theta, (x, y), "empirical"), F)

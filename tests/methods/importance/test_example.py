"""The engine on its own, as the docstring of methods/importance shows it: a module, a loader, the exact diagonal."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def test_a_module_a_loader_and_the_exact_diagonal():
    from methods.base.net import Net
    from methods.importance.fisher import diagonal

    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, y = torch.randn(50, 4).double(), torch.randint(3, (50,))
    loader = DataLoader(TensorDataset(x, y), batch_size=16)

    net = Net(module)
    theta = net.vector()
    F = diagonal(net, theta, loader)

    p = module(x).softmax(-1)
    expected = (p * (1 - p)).mean(0)  # of the last bias: the variance of the indicator of a unit
    torch.testing.assert_close(net.views(F)["2.bias"], expected.detach())
    assert F.shape == theta.shape and {name: view.shape for name, view in net.views(F).items()} == net.shapes
    assert torch.equal(diagonal(net, theta, (x, y)), F)
    assert not torch.equal(diagonal(net, theta, (x, y), "empirical"), F)

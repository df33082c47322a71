"""Our Fisher diagonals beside those of other packages, in float64; each is skipped where it is not installed."""

import pytest
import torch
from torch import nn

from benchmarks.timing.peers import DRAW, HUTCHINSON, MEANS, PEERS, operator
from methods.base.net import Net
from methods.importance import curvature, fisher

pytestmark = pytest.mark.filterwarnings("ignore")  # what the packages make torch say
N, D, C = 150, 36, 4  # two batches, of 128 and of 22
MODULES = {
    "torch": "torch",
    "avalanche-lib": "avalanche",
    "backpack-for-pytorch": "backpack",
    "curvlinops-for-pytorch": "curvlinops",
    "laplace-torch": "laplace",
    "nngeometry": "nngeometry",
    "opacus": "opacus",
}
NETS = {
    "mlp": lambda: nn.Sequential(nn.Linear(D, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, C)),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6, 6)),
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(27, C),
    ),
}


@pytest.fixture(params=NETS)
def case(request):
    """A network in evaluation mode, inputs and labels."""
    torch.set_default_dtype(torch.float64)  # NNGeometry makes tensors of the default type
    torch.manual_seed(0)
    yield NETS[request.param]().eval(), 2 * torch.randn(N, D), (torch.rand(N) < 0.2).long()
    torch.set_default_dtype(torch.float32)


def ours(module, x, y, estimator):
    net = Net(module)
    return fisher.diagonal(net, net.vector(), (x, y), estimator)


def peer(label):
    found = PEERS[label]
    pytest.importorskip(MODULES[found.package])
    return found


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


def labels(*notes):
    return pytest.mark.parametrize("label", [label for label, found in PEERS.items() if found.note in notes])


@labels("")
def test_those_that_give_what_they_name_equal_ours(label, case):
    found = peer(label)
    diagonal = found.build(*case)
    expected = ours(*case, found.of)
    assert expected.count_nonzero() > len(expected) / 2
    close(diagonal(), expected)
    close(diagonal(), expected)  # nothing is left of the first call


@labels(MEANS)
def test_squared_batch_means_are_our_batched_and_not_the_fisher(label, case):
    found = peer(label).build(*case)()
    close(found, ours(*case, "batched"))
    F = ours(*case, "empirical")
    assert (found - F).norm() > 0.3 * F.norm()


@labels(DRAW, HUTCHINSON)
def test_those_that_draw_are_right_in_the_mean(label, case):
    """One is off by 10 to 50 %, the mean of 60 by a few; the other of the two Fishers by 60 % and more."""
    found = peer(label)
    other = {"exact": "empirical", "empirical": "exact"}[found.of]
    diagonal, F = found.build(*case), ours(*case, found.of)
    drawn = [diagonal() for _ in range(60)]
    off = [((values - F).norm() / F.norm()).item() for values in (drawn[0], sum(drawn) / 60, ours(*case, other))]
    assert off[0] > 0.03 and off[1] < 0.15 and off[2] > 0.3


@pytest.mark.parametrize(("kind", "estimator"), [("EFLinearOperator", "empirical"), ("GGNLinearOperator", "exact")])
def test_matrices_of_curvlinops_are_ours(kind, estimator, case):
    pytest.importorskip("curvlinops")
    module, x, y = case
    net = Net(module)
    theta = net.vector()
    matrix = (operator(kind, module, x, y) @ torch.eye(len(theta))).detach()
    torch.testing.assert_close(matrix, curvature.full(net, theta, (x, y), estimator), rtol=1e-9, atol=1e-13)
    close(matrix.diagonal(), ours(*case, estimator))

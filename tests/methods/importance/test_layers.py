"""Every layer with a closed form, and every option of it, against one backward pass for each example, in float64."""

import pytest
import torch
from torch import nn

from methods.base.net import Net
from methods.importance import layers, persample, probe
from tests.support.nets import one_by_one

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
N, C = 5, 3


def sequence(layer, width=4, out=4, tail=nn.Identity):
    """[N, 6] as three positions of two numbers, an embedding of them, and the layer."""
    return nn.Sequential(
        nn.Unflatten(1, (3, 2)), nn.Linear(2, width), nn.Tanh(), layer, tail(), nn.Flatten(), nn.LazyLinear(C)
    )


def image(*layers, shape=(2, 6, 5)):
    size = torch.Size(shape).numel()
    return nn.Sequential(nn.Linear(6, size), nn.Unflatten(1, shape), *layers, nn.Tanh(), nn.Flatten(), nn.LazyLinear(C))


def text(**options):
    return nn.Sequential(nn.Embedding(4, 3, **options), nn.Tanh(), nn.Flatten(), nn.LazyLinear(C))


class Bag(nn.Module):
    """One embedded number for an example, without an axis of positions."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(4, 3), nn.Linear(3, C)

    def forward(self, x):
        return self.head(torch.tanh(self.embed(x[:, 0])))


CASES = {
    "linear": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, C)),
    "linear without bias": lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, C)),
    "linear at three positions": lambda: sequence(nn.Linear(4, 5)),
    "linear at three positions without bias": lambda: sequence(nn.Linear(4, 5, bias=False)),
    "linear at two axes of positions": lambda: image(nn.Linear(5, 4)),
    "conv1d": lambda: sequence(nn.Conv1d(3, 4, 2)),
    "conv1d with every option": lambda: image(nn.Conv1d(4, 6, 3, 2, 2, 2, 2, padding_mode="circular"), shape=(4, 9)),
    "conv2d": lambda: image(nn.Conv2d(2, 3, 3)),
    "conv2d without bias": lambda: image(nn.Conv2d(2, 3, 3, bias=False)),
    "conv2d of one pixel": lambda: image(nn.Conv2d(2, 3, 1)),
    "conv2d of the whole image": lambda: image(nn.Conv2d(2, 3, (6, 5))),
    "conv2d, oblong": lambda: image(nn.Conv2d(2, 3, (3, 2), (1, 2), (0, 1), (2, 1))),
    "conv2d, stride that leaves a rest": lambda: image(nn.Conv2d(2, 3, 3, 2)),
    "conv2d, padding": lambda: image(nn.Conv2d(2, 3, 3, padding=(2, 1))),
    "conv2d, padding same": lambda: image(nn.Conv2d(2, 3, (2, 4), padding="same")),
    "conv2d, padding valid": lambda: image(nn.Conv2d(2, 3, (2, 4), padding="valid")),
    "conv2d, padding same, dilated": lambda: image(nn.Conv2d(2, 3, (2, 3), padding="same", dilation=(3, 2))),
    "conv2d, reflected": lambda: image(nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode="reflect")),
    "conv2d, replicated, same": lambda: image(nn.Conv2d(2, 3, 2, padding="same", padding_mode="replicate")),
    "conv2d, dilated": lambda: image(nn.Conv2d(2, 3, 2, dilation=3)),
    "conv2d, groups": lambda: image(nn.Conv2d(4, 6, 3, groups=2), shape=(4, 5, 4)),
    "conv2d, by channel": lambda: image(nn.Conv2d(3, 6, 3, stride=2, groups=3), shape=(3, 5, 4)),
    "conv3d": lambda: image(nn.Conv3d(2, 3, 2, (1, 2, 1), (1, 0, 1)), shape=(2, 3, 3, 2)),
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, C)),
    "batch norm at positions": lambda: image(nn.BatchNorm1d(4), shape=(4, 3)),
    "batch norm of images": lambda: image(nn.BatchNorm2d(2, eps=0.1)),
    "layer norm": lambda: nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, C)),
    "layer norm without bias": lambda: sequence(nn.LayerNorm(4, bias=False), tail=nn.Tanh),
    "layer norm at positions": lambda: sequence(nn.LayerNorm(4, eps=0.1), tail=nn.Tanh),
    "layer norm over two axes": lambda: image(nn.LayerNorm((6, 5))),
    "group norm": lambda: image(nn.GroupNorm(2, 6, eps=0.1), shape=(6, 3, 2)),
    "group norm without positions": lambda: image(nn.GroupNorm(2, 6), shape=(6,)),
    "embedding": text,
    "embedding with padding": lambda: text(padding_idx=1),
    "embedding with padding from the end": lambda: text(padding_idx=-1),
    "embedding of one number": Bag,
}


def case(name, dtype=torch.float64):
    """Net, theta, inputs and two cotangents; parameters and statistics drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = CASES[name]().double().eval()
        x = torch.randint(4, (N, 6)) if "embedding" in name else torch.randn(N, 6).double()
        module(x)  # lazy layers take their sizes
        for values in module.buffers():
            if values.is_floating_point():
                values.uniform_(0.5, 2)
        net = Net(module.to(dtype))
        theta = torch.randn(net.n_parameters).to(dtype)
        return net, theta, x.to(dtype) if x.is_floating_point() else x, torch.randn(2, N, C).to(dtype)


@pytest.mark.parametrize("f", [torch.square, torch.abs])
@pytest.mark.parametrize("name", CASES)
def test_a_rule_gives_the_gradients_of_single_examples(name, f):
    net, theta, x, seeds = case(name)
    expected = one_by_one(net, theta, x, seeds, f)
    found = persample.sums(net, theta, x, lambda z: list(seeds), f)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert all(view.count_nonzero() > 0 for view in net.views(expected).values())
    assert set(probe.plan_of(net, theta, x).uses) == set(net.shapes), "no parameter went another way"


@pytest.mark.parametrize("name", CASES)
def test_a_rule_gives_the_same_in_small_blocks(name, monkeypatch):
    net, theta, x, seeds = case(name)
    expected = persample.sums(net, theta, x, lambda z: list(seeds), torch.abs)
    monkeypatch.setattr(layers, "BLOCK", 1)
    found = persample.sums(net, theta, x, lambda z: list(seeds), torch.abs)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["linear", "linear at three positions", "conv2d, groups", "batch norm", "embedding"])
def test_half_precision_accumulates_in_single(name, dtype):
    """Gradients near 1e-4, whose squares float16 cannot hold; the rounding of the passes themselves remains."""
    net, theta, x, seeds = case(name, dtype)
    seeds = (1e-4 * seeds.double()).to(dtype)
    found = persample.sums(net, theta, x, lambda z: list(seeds), torch.square)
    net.module.double()
    x = x.double() if x.is_floating_point() else x
    expected = one_by_one(net, theta.double(), x, seeds.double(), torch.square)
    assert found.dtype == torch.float32
    assert 0 < float(expected[expected > 0].min()) < 6e-8
    assert float((found - expected).norm() / expected.norm()) < (0.01 if dtype == torch.float16 else 0.1)
    assert bool((found[expected > 0] > 0).all())

"""Networks and layers of others, as their users write them, against the double loop over examples and units.

The oracle is a copy of the module that holds theta itself. So a network is also found out if anything but theta, such
as a weight of the module's own, gets into its gradients.
"""

from copy import deepcopy

import pytest
import torch
import torchvision.models as vision
from torch import nn
from torch.nn.utils import parametrizations, parametrize, weight_norm
from torch.utils.checkpoint import checkpoint

from methods.base.net import Net
from methods.importance.fisher import diagonal
from tests.support import slow

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # vmap's
    pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated"),
]
N, C = 3, 3
LARGE = 3000  # Parameters of more numbers are frozen, so that the double loop stays quick.


class Body(nn.Module):
    """`forward` of a layer named `layer`, and a classifier of another name than `head`, registered first."""

    def __init__(self, width, layer, forward=lambda layer, x: layer(x)):
        super().__init__()
        self.classifier, self.layer, self.forward_of = nn.Linear(width, C), layer, forward

    def forward(self, x):
        self.kept = torch.tanh(self.forward_of(self.layer, x)).flatten(1)  # an activation that the module keeps
        return self.classifier(self.kept)


class Tied(nn.Module):
    """A language model whose embedding is its decoder too."""

    def __init__(self):
        super().__init__()
        self.embed, self.cell, self.out = nn.Embedding(5, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(4, 5)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.cell(self.embed(x))[0][:, -1])


class Tokens(nn.Module):
    """Batch norm of an image, then tokens: for one image, torch 2.12 differentiates it wrongly."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, C)

    def forward(self, x):
        return self.out(self.norm(self.conv(x)).flatten(2).transpose(1, 2).contiguous().tanh().mean(1))


class Symmetric(nn.Module):
    """A parametrisation of a weight."""

    def forward(self, weight):
        return weight.triu() + weight.triu(1).T


def checkpointed(layer, x):
    return checkpoint(layer, x, use_reentrant=False)


def parametrised(layer, name, parametrisation):
    parametrize.register_parametrization(layer, name, parametrisation)
    return layer


def block():
    return nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 6))


def transformer():
    return nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)


def attention(layer, x):
    return layer(x, x, x, need_weights=False)[0]


SEQUENCE, IMAGE, VECTOR = (3, 4), (3, 5, 5), (6,)
NETS = {  # the shape of an example, and the network
    "resnet18": ((3, 16, 16), lambda: vision.resnet18(num_classes=C)),
    "mobilenet_v3_small": ((3, 32, 32), lambda: vision.mobilenet_v3_small(num_classes=C, width_mult=0.1)),
    "squeezenet": ((3, 32, 32), lambda: vision.squeezenet1_1(num_classes=C)),
    "shufflenet": ((3, 32, 32), lambda: vision.ShuffleNetV2([1, 1, 1], [4, 8, 8, 8, 8], C)),
    "densenet": (
        (3, 16, 16),
        lambda: vision.DenseNet(growth_rate=2, block_config=(2, 1), num_init_features=4, num_classes=C),
    ),
    "densenet that saves memory": (
        (3, 16, 16),
        lambda: vision.DenseNet(2, (2, 1), num_init_features=4, num_classes=C, memory_efficient=True),
    ),
    "vision transformer": (
        (3, 8, 8),
        lambda: vision.VisionTransformer(8, 4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=C),
    ),
    "swin transformer": (
        (3, 8, 8),
        lambda: vision.SwinTransformer([2, 2], 8, [2], [2], [2, 2], num_classes=C),
    ),
    "LSTM": (SEQUENCE, lambda: Body(15, nn.LSTM(4, 5, batch_first=True), lambda layer, x: layer(x)[0])),
    "LSTM, two layers, both ways": (
        SEQUENCE,
        lambda: Body(18, nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True), lambda layer, x: layer(x)[0]),
    ),
    "GRU": (SEQUENCE, lambda: Body(15, nn.GRU(4, 5, batch_first=True), lambda layer, x: layer(x)[0])),
    "GRU cell": (VECTOR, lambda: Body(5, nn.GRUCell(6, 5))),
    "attention": (SEQUENCE, lambda: Body(12, nn.MultiheadAttention(4, 2, batch_first=True), attention)),
    "transformer layer": (SEQUENCE, lambda: Body(12, transformer())),
    "spectral norm": (VECTOR, lambda: Body(6, parametrizations.spectral_norm(nn.Linear(6, 6)))),
    "weight norm": (IMAGE, lambda: Body(18, parametrizations.weight_norm(nn.Conv2d(3, 2, 3)))),
    "weight norm, old style": (VECTOR, lambda: Body(6, weight_norm(nn.Linear(6, 6)))),
    "orthogonal": (VECTOR, lambda: Body(6, parametrizations.orthogonal(nn.Linear(6, 6)))),
    "parametrised": (VECTOR, lambda: Body(6, parametrised(nn.Linear(6, 6), "weight", Symmetric()))),
    "circular padding": (
        IMAGE,
        lambda: Body(50, nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular")),
    ),
    "transposed convolution": (IMAGE, lambda: Body(98, nn.ConvTranspose2d(3, 2, 3))),
    "bilinear": (VECTOR, lambda: Body(6, nn.Bilinear(6, 6, 6), lambda layer, x: layer(x, x.sin()))),
    "PReLU": (IMAGE, lambda: Body(75, nn.PReLU(3))),
    "group norm": (IMAGE, lambda: Body(100, nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4)))),
    "instance norm": (IMAGE, lambda: Body(75, nn.InstanceNorm2d(3, affine=True))),
    "layer norm": (SEQUENCE, lambda: Body(12, nn.LayerNorm((3, 4)))),
    "RMS norm": (SEQUENCE, lambda: Body(12, nn.RMSNorm(4))),
    "batch norm, then tokens": ((2, 5, 5), Tokens),
    "embedding tied to the decoder": (None, Tied),
    "bag of embeddings": (None, lambda: Body(4, nn.EmbeddingBag(5, 4))),
    "checkpointed": (VECTOR, lambda: Body(6, block(), checkpointed)),
    "checkpointed transformer": (SEQUENCE, lambda: Body(12, transformer(), checkpointed)),
}

ONE = ("batch norm, then tokens", "instance norm", "densenet", "checkpointed", "GRU")  # also with one example alone


def case(name):
    """The net at a theta that is not the module's own, a module that holds it, and examples."""
    shape, build = NETS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build().double().eval()
        for p in module.parameters():
            p.requires_grad_(p.numel() <= LARGE)
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
        x = torch.randint(5, (N, 4)) if shape is None else torch.randn(N, *shape).double()
        net, oracle = Net(module), _copy(build, module)
        theta = net.vector() + 0.1 * torch.randn(net.n_parameters).double()
    own = dict(oracle.named_parameters())
    for name_, view in net.views(theta).items():
        own[name_].data.copy_(view)
    return net, theta, oracle, x


def _copy(build, module):
    """deepcopy refuses the old weight norm, whose module keeps a tensor that has been computed."""
    if not any(hasattr(layer, "weight_g") for layer in module.modules()):
        return deepcopy(module)
    other = build().double().eval()
    other.load_state_dict(module.state_dict())
    return other


@pytest.mark.parametrize(("name", "n"), [(name, N) for name in NETS] + [(name, 1) for name in ONE])
def test_exact_diagonal_is_that_of_the_double_loop(name, n):
    net, theta, oracle, x = case(name)
    units = list(range(oracle(x).shape[-1]))
    expected = slow.fisher(oracle, [(row, 0, units) for row in x[:n]], "exact")
    F = diagonal(net, theta, (x[:n], None))
    assert sum(bool(value.any()) for value in expected.values()) > len(expected) / 2
    for name_, view in net.views(F).items():
        error = float((view - expected[name_]).abs().max())
        assert error <= 1e-12 * float(slow.flat(expected).max()), (name_, error)


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_module_that_holds_theta(name):
    net, theta, oracle, x = case(name)
    variable = theta.clone().requires_grad_()
    z, expected = net(variable, x), oracle(x)
    torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-13)
    (grad,) = torch.autograd.grad(z.square().sum(), variable)
    theirs = slow.flat(slow.gradients(expected.square().sum(), slow.parameters(oracle)))
    torch.testing.assert_close(grad, theirs, rtol=1e-10, atol=1e-13 * float(theirs.abs().max()))

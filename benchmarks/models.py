"""The networks of the papers are plain modules with a `body` (features) and a `head` (one linear layer)."""

import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from methods.base.errors import UserError, unknown


class Classifier(nn.Module):
    """Compute logits = head(body(x)). The penultimate features are body(x)."""

    def __init__(self, body: nn.Module, n_features: int, n_units: int):
        super().__init__()
        self.body = body
        self.head = nn.Linear(n_features, n_units)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N, C] of inputs [N, ...]."""
        return self.head(self.body(x))


def mlp(widths: list[int], shape: torch.Size, n_units: int) -> Classifier:
    """Make ReLU layers of the given widths on flattened inputs of `shape`."""
    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(shape)
    for width in widths:
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return Classifier(nn.Sequential(*layers), size, n_units)


def cnn(widths: list[int], shape: torch.Size, n_units: int) -> Classifier:
    """Make 3x3 convolutions of these widths, each with ReLU and 2x2 max pooling. The last width is a dense layer."""
    *convolutions, dense = widths
    channels, height, width = shape
    layers: list[nn.Module] = []
    for out in convolutions:
        layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels, height, width = out, height // 2, width // 2
    if height * width == 0:
        raise UserError(f"{len(convolutions)} poolings leave nothing of images of {tuple(shape)}: use fewer layers")
    layers += [nn.Flatten(), nn.Linear(channels * height * width, dense), nn.ReLU()]
    return Classifier(nn.Sequential(*layers), dense, n_units)


class ChannelsLast(nn.Module):
    """Lay images out with their channels last. On a CPU, convolutions of few maps then take a tenth to a third less."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the images [N, C, H, W] themselves, in another order in memory."""
        return x.contiguous(memory_format=torch.channels_last)


class Residual(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to the input (He et al., 2016, figure 5).

    Where the number of maps or their size changes, the input goes through a 1x1 convolution and a normalisation.
    """

    def __init__(self, maps: int, out: int, stride: int):
        super().__init__()
        self.first, self.second = _convolution(maps, out, 3, stride), _convolution(out, out, 3)
        self.shortcut = nn.Identity() if (maps, stride) == (out, 1) else _convolution(maps, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps [N, out, H / stride, W / stride] of maps [N, maps, H, W]."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


def _convolution(maps: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(maps, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out))


def reduced_resnet18(widths: list[int], shape: torch.Size, n_units: int) -> Classifier:
    """Make the ResNet-18 of Lopez-Paz and Ranzato (2017) for small images, with 20 maps in place of 64.

    The first layer keeps the size. Four stages of two blocks have 20, 40, 80 and 160 maps. Each stage but the first
    halves the size. The features are the means of the last maps.
    """
    layers, maps = [ChannelsLast(), _convolution(shape[0], 20, 3), nn.ReLU()], 20
    for out, stride in ((20, 1), (40, 2), (80, 2), (160, 2)):
        layers += [Residual(maps, out, stride), Residual(out, out, 1)]
        maps = out
    return Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), maps, n_units)


def xavier(net: Classifier) -> None:
    """Draw weights uniformly with variance 2 / (fan in + fan out), and set biases to 0 (Glorot and Bengio, 2010)."""
    for layer in _layers(net):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def truncated(net: Classifier) -> None:
    """Draw normal weights with deviation 0.1, and again where beyond two deviations. Set biases to 0.1."""
    for layer in _layers(net):
        nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, 0.1)


def one_axis(net: Classifier) -> None:
    """Draw convolutions uniformly within 1 / sqrt(kernel width * maps in), as the code of Chaudhry et al. (2019).

    PyTorch's limit counts both axes of the kernel. Before batch normalisation, larger weights learn more slowly.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            limit = (layer.kernel_size[1] * layer.in_channels) ** -0.5
            nn.init.uniform_(layer.weight, -limit, limit)


def zero_head(net: Classifier) -> None:
    """Set the weights of the head to 0."""
    nn.init.zeros_(net.head.weight)


def _layers(net: Classifier) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def keeps_or_draws(module: nn.Module) -> bool:
    """Say whether a pass in training keeps statistics or draws at random, which replicas of a network would share."""
    return any(True for _ in module.buffers()) or any(isinstance(m, _DropoutNd) for m in module.modules())


MAX_WIDTH = 100_000  # units of a layer
NAMED = {"resnet18-reduced": reduced_resnet18}  # kinds whose widths are given
KINDS = {"mlp": mlp, "cnn": cnn, **NAMED}
INITS = {"xavier": xavier, "truncated": truncated, "one_axis": one_axis, "zero_head": zero_head}


def parse(spec: str) -> tuple[str, list[int], list[str]]:
    """Return kind, widths and initialisations of a spec such as `mlp-400-400,xavier`."""
    if not isinstance(spec, str):
        raise UserError(f"net must be a text, as in mlp-400-400, got {spec!r}")
    net, *inits = spec.split(",")
    kind, *widths = [net] if net in NAMED else net.split("-")
    numbers = all(re.fullmatch("0*[1-9][0-9]*", width) for width in widths)
    if kind not in KINDS or not numbers or bool(widths) == (kind in NAMED):
        kinds = ", ".join(kind for kind in KINDS if kind not in NAMED)
        named = ", ".join(NAMED)
        raise UserError(f"unknown net {spec!r}: write a kind ({kinds}) and its widths, as in mlp-400-400, or {named}")
    if any(len(width) > len(str(MAX_WIDTH)) or int(width) > MAX_WIDTH for width in widths):
        raise UserError(f"net {spec[:80]!r}: a layer has more than {MAX_WIDTH} units; give it fewer")
    for init in inits:
        if init not in INITS:
            raise unknown(f"initialisation of the net {spec!r}", init, INITS)
    return kind, [int(width) for width in widths], inits


def build(spec: str, shape: torch.Size, n_units: int, seed: int) -> Classifier:
    """Return the net `spec` for inputs of `shape` and `n_units` outputs, initialised from `seed` alone.

    PyTorch initialises it. Then each name after a comma does, in order: `mlp-256-256,xavier,zero_head`.
    """
    kind, widths, inits = parse(spec)
    if kind != "mlp" and len(shape) != 3:
        raise UserError(f"{spec} needs images [channels, height, width], got inputs of shape {tuple(shape)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the net is built on the CPU
        net = KINDS[kind](widths, shape, n_units)
        for init in inits:
            INITS[init](net)
        return net

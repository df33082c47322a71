"""The networks of the papers are plain modules with a `body` (features) and a `head` (one linear layer)."""

import math
import re

import torch
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


def xavier(net: Classifier) -> None:
    """Draw weights uniformly with variance 2 / (fan in + fan out), and set biases to 0 (Glorot and Bengio, 2010)."""
    for layer in _layers(net):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


def truncated(net: Classifier) -> None:
    """Draw normal weights with deviation 0.1, and again where beyond two deviations. Set biases to 0.1."""
    for layer in _layers(net):
        nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
        nn.init.constant_(layer.bias, 0.1)


def zero_head(net: Classifier) -> None:
    """Set the weights of the head to 0."""
    nn.init.zeros_(net.head.weight)


def _layers(net: Classifier) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def keeps_or_draws(module: nn.Module) -> bool:
    """Say whether a pass in training keeps statistics or draws at random, which replicas of a network would share."""
    return any(True for _ in module.buffers()) or any(isinstance(m, _DropoutNd) for m in module.modules())


MAX_WIDTH = 100_000  # units of a layer
KINDS = {"mlp": mlp, "cnn": cnn}
INITS = {"xavier": xavier, "truncated": truncated, "zero_head": zero_head}


def parse(spec: str) -> tuple[str, list[int], list[str]]:
    """Return kind, widths and initialisations of a spec such as `mlp-400-400,xavier`."""
    if not isinstance(spec, str):
        raise UserError(f"net must be a text, as in mlp-400-400, got {spec!r}")
    net, *inits = spec.split(",")
    kind, *widths = net.split("-")
    if kind not in KINDS or not widths or not all(re.fullmatch("0*[1-9][0-9]*", width) for width in widths):
        raise UserError(f"unknown net {spec!r}: write a kind ({', '.join(KINDS)}) and its widths, as in mlp-400-400")
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
    if kind == "cnn" and len(shape) != 3:
        raise UserError(f"{spec} needs images [channels, height, width], got inputs of shape {tuple(shape)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the net is built on the CPU
        net = KINDS[kind](widths, shape, n_units)
        for init in inits:
            INITS[init](net)
        return net

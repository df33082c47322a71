"""Networks of the papers: plain modules with a `body` (features) and a `head` (one linear layer)."""

import math

import torch
from torch import Tensor, nn

from benchmarks.errors import UserError


class Classifier(nn.Module):
    """logits = head(body(x)); the penultimate features are body(x)."""

    def __init__(self, body: nn.Module, n_features: int, n_units: int):
        super().__init__()
        self.body = body
        self.head = nn.Linear(n_features, n_units)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, C] of inputs [N, ...]."""
        return self.head(self.body(x))


def mlp(widths: list[int], shape: torch.Size, n_units: int) -> Classifier:
    """ReLU layers of the given widths on flattened inputs of `shape`."""
    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(shape)
    for width in widths:
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return Classifier(nn.Sequential(*layers), size, n_units)


def cnn(widths: list[int], shape: torch.Size, n_units: int) -> Classifier:
    """3x3 convolutions of the given widths, each with ReLU and 2x2 max pooling; the last width is a dense layer."""
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


KINDS = {"mlp": mlp, "cnn": cnn}


def parse(spec: str) -> tuple[str, list[int]]:
    """`mlp-400-400` as its kind and its widths."""
    kind, *widths = str(spec).split("-")
    if kind not in KINDS or not widths or not all(width.isdecimal() and int(width) > 0 for width in widths):
        raise UserError(f"unknown net {spec!r}: write a kind ({', '.join(KINDS)}) and its widths, as in mlp-400-400")
    return kind, [int(width) for width in widths]


def build(spec: str, shape: torch.Size, n_units: int, seed: int) -> Classifier:
    """The net `spec` for inputs of `shape` and `n_units` outputs, initialised PyTorch's way from `seed` alone."""
    kind, widths = parse(spec)
    if kind == "cnn" and len(shape) != 3:
        raise UserError(f"{spec} needs images [channels, height, width], got inputs of shape {tuple(shape)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KINDS[kind](widths, shape, n_units)

"""The problem that every library gets: a tiny network in float64, three tasks, importances, and accuracy matrices.

A network of 6 inputs, 5 hidden units and 4 outputs has P = 59 parameters. Its tasks share the 4 units. They have 64, 40
and 24 examples. The files are `problem.npz` and `problem.json`, so nothing is unpickled.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

D, H, C = 6, 5, 4
P = H * (D + 1) + C * (H + 1)  # parameters
SIZES = (64, 40, 24)
NUMBERS = {"T": 2.5, "gamma": 0.9, "lr": 0.1, "steps": 8, "xi": 0.1, "alpha": 0.9, "interval": 4, "eps": 1e-3}
NUMBERS |= {"budget": 30, "draws": 200}
# Accuracies [T + 1, T], the untrained row first, and test counts [T].
MATRICES = {
    "forgets": ([[0.1, 0.2, 0.1], [0.9, 0.3, 0.2], [0.6, 0.8, 0.3], [0.5, 0.4, 0.9]], [100, 100, 100]),
    "improves": ([[0.1, 0.1, 0.2], [0.6, 0.3, 0.2], [0.7, 0.7, 0.4], [0.8, 0.9, 0.8]], [100, 100, 100]),
    "uneven tasks": ([[0.2, 0.2, 0.1], [0.9, 0.4, 0.1], [0.5, 0.6, 0.3], [0.7, 0.3, 0.8]], [100, 20, 10]),
    "learnt late": ([[0.5, 0.2, 0.1], [0.7, 0.9, 0.6], [0.8, 0.6, 0.5], [0.4, 0.5, 0.7]], [50, 50, 50]),
    "two tasks": ([[0.3, 0.2], [0.9, 0.4], [0.7, 0.8]], [100, 100]),
}


@dataclass(frozen=True)
class Problem:
    """Arrays and numbers by name. `theta` [P]; `anchor_k`, `fisher_k` [P] and `x_k`, `y_k` of task k."""

    arrays: dict[str, np.ndarray]
    numbers: dict

    def __getitem__(self, name: str):
        if name in self.numbers:
            return self.numbers[name]
        return torch.from_numpy(self.arrays[name].copy())

    def task(self, k: int) -> tuple[Tensor, Tensor]:
        """Return x [N, D] and y [N] of task k."""
        return self[f"x_{k}"], self[f"y_{k}"]

    @property
    def current(self) -> list[tuple[Tensor, Tensor]]:
        """Return two batches: the third task, which opposes the others, and examples of the first."""
        x, y = self.task(0)
        return [self.task(2), (x[:20], y[:20])]

    def loader(self, k: int, batch: int = 64, dtype: torch.dtype = torch.float64) -> DataLoader:
        """Return the batches (x, y) of task k, in order."""
        x, y = self.task(k)
        return DataLoader(TensorDataset(x.to(dtype), y), batch_size=batch)

    def module(self, theta: Tensor | None = None) -> nn.Module:
        """Return the network in float64 at theta [P], by default the problem's own."""
        return load(
            nn.Sequential(nn.Linear(D, H), nn.Tanh(), nn.Linear(H, C)), self["theta"] if theta is None else theta
        )

    def net(self, name: str) -> "Case":
        """Return one of the networks on which Fisher diagonals are compared."""
        x, y = self.task(0)
        module, weight, ignore = self.module(), None, -100
        if name == "masked":  # the last two units are no part of the softmax
            module, y = nn.Sequential(*module, Mask(torch.tensor([0.0, 0.0, -1e9, -1e9]).double())), y % 2
        elif name == "weighted":
            weight = torch.tensor([0.5, 1.0, 2.0, 3.0]).double()
        elif name == "ignored":
            y = y.where(torch.arange(len(y)) % 8 < 5, ignore)
        elif name == "shared":
            layer = nn.Linear(D, D)
            module = load(nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(D, C)), self["theta_shared"])
        elif name == "tokens":
            x = self["tokens"]
            module = load(nn.Sequential(nn.Linear(D, H), nn.Tanh(), Average(), nn.Linear(H, C)), self["theta"])
        elif name == "circular":
            x = self["images"]
            conv = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
            module = load(nn.Sequential(conv, nn.Tanh(), nn.Flatten(), nn.Linear(32, C)), self["theta_circular"])
        return Case(module, x, y, weight, ignore)

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Return theta [P] by the network's names."""
        return {name: p.detach() for name, p in self.module(theta).named_parameters()}

    def per_matrix(self, metric: Callable) -> list[float]:
        """Return metric(accuracy [T + 1, T] with the untrained row first, test counts [T]) of each matrix."""
        return [metric(np.array(R), np.array(total)) for R, total in self.numbers["matrices"].values()]


class Mask(nn.Module):
    """Add a mask [C] to the logits."""

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, z: Tensor) -> Tensor:
        """Return masked logits [N, C]."""
        return z + self.mask


class Average(nn.Module):
    """Average over the tokens of a sequence."""

    def forward(self, h: Tensor) -> Tensor:
        """Return [N, H] for [N, L, H]."""
        return h.mean(1)


@dataclass(frozen=True)
class Case:
    """A network, its data, and the options of its cross entropy."""

    module: nn.Module
    x: Tensor
    y: Tensor
    weight: Tensor | None
    ignore: int

    def loss(self, reduction: str) -> nn.Module:
        """Return the cross entropy as a module."""
        return nn.CrossEntropyLoss(self.weight, ignore_index=self.ignore, reduction=reduction)

    def batches(self, size: int) -> list[tuple[Tensor, Tensor]]:
        """Return the batches in order."""
        return list(zip(self.x.split(size), self.y.split(size), strict=True))

    @property
    def counted(self) -> int:
        """Return how many examples have a label."""
        return int((self.y != self.ignore).sum())


def load(module: nn.Module, theta: Tensor) -> nn.Module:
    """Return the module in float64 with the parameters theta [P]."""
    module = module.double()
    nn.utils.vector_to_parameters(theta.clone(), module.parameters())
    return module


def flat(tensors) -> Tensor:
    """Join tensors, in order, to one vector [P]."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).double()


def gradient(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient [P] of the mean cross entropy."""
    return flat(torch.autograd.grad(F.cross_entropy(module(x), y), list(module.parameters())))


def set_gradient(module: nn.Module, g: Tensor) -> None:
    """Put g [P] where a backward pass would leave the gradient."""
    for p, part in zip(module.parameters(), g.split([p.numel() for p in module.parameters()]), strict=True):
        p.grad = part.view(p.shape).clone().to(p.dtype)


def gradient_of(module: nn.Module) -> Tensor:
    """Return the gradient [P] that a backward pass left. A parameter without one has 0."""
    return flat(torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters())


def value_and_gradient(value: Tensor, module: nn.Module) -> Tensor:
    """Return a penalty and its gradient, [1 + P]. A penalty without a graph has the gradient 0."""
    value = value + 0.0 * next(module.parameters()).sum()
    slopes = torch.autograd.grad(value, list(module.parameters()), allow_unused=True)
    pairs = zip(slopes, module.parameters(), strict=True)
    return torch.cat([value.detach().double().view(1), flat(torch.zeros_like(p) if g is None else g for g, p in pairs)])


class Rooted(nn.Module):
    """A criterion with the gradient sqrt(F), so that its square is F: it hands a library an importance."""

    def __init__(self, module: nn.Module, importance: Tensor):
        super().__init__()
        self.module, self.root = module, importance.sqrt()

    def forward(self, *_, **__) -> Tensor:
        """Return sum_i sqrt(F_i) theta_i, whatever the outputs and labels are."""
        theta = nn.utils.parameters_to_vector(self.module.parameters())
        return theta @ self.root.to(theta.dtype)


def make() -> Problem:
    """Draw the problem. It is the same each time."""
    rng = np.random.default_rng(20)
    P = D * H + H + H * C + C
    arrays = {"theta": rng.normal(size=P) * 0.7}
    W = rng.normal(size=(D, C))
    for k, (n, sign) in enumerate(zip(SIZES, (1, 1, -1), strict=True)):  # the third task opposes the others
        x = rng.normal(size=(n, D)) + 0.5
        arrays[f"x_{k}"], arrays[f"y_{k}"] = x, (x @ (W + 0.2 * rng.normal(size=W.shape)) * sign).argmax(1)
        arrays[f"anchor_{k}"] = arrays["theta"] + 0.3 * rng.normal(size=P)
        arrays[f"fisher_{k}"] = rng.gamma(0.5, size=P)
    arrays["theta_shared"] = rng.normal(size=D * D + D + D * C + C) * 0.7
    arrays["theta_circular"] = rng.normal(size=2 * 9 + 2 + 32 * C + C) * 0.4
    arrays["tokens"] = rng.normal(size=(SIZES[0], 3, D)) + 0.5
    arrays["images"] = rng.normal(size=(SIZES[0], 1, 4, 4))
    return Problem(arrays, NUMBERS | {"matrices": MATRICES})


def save(problem: Problem, folder: Path) -> None:
    """Write the two files."""
    np.savez(folder / "problem.npz", **problem.arrays)
    (folder / "problem.json").write_text(json.dumps(problem.numbers), encoding="utf-8")


def read(folder: Path) -> Problem:
    """Read the two files."""
    with np.load(folder / "problem.npz", allow_pickle=False) as arrays:
        return Problem(dict(arrays), json.loads((folder / "problem.json").read_text(encoding="utf-8")))

"""What dynamically expandable networks do with units: select, add, remove, and copy them (methods/den.py).

A network is a list of layers [W [n_out, n_in], b [n_out]]. Functions change the list that they are given.
"""

import torch
from torch import Tensor

from methods.growing.perceptron import Layers


def select(layers: Layers, outputs: list[int]) -> list[Tensor]:
    """Return which inputs, units of each hidden layer, and outputs lead to these outputs by weights that are not 0."""
    chosen = [torch.zeros(len(layers[-1][0]), dtype=torch.bool, device=layers[-1][0].device)]
    chosen[0][outputs] = True
    for W, _ in reversed(layers):
        chosen.insert(0, (W[chosen[0]] != 0).any(0))
    return chosen


def drifted(W: Tensor, before: Tensor, sigma: float) -> Tensor:
    """Return the units of `before` [n, m] whose incoming weights moved by more than sigma, the least moved first."""
    rho = (W[: before.shape[0], : before.shape[1]] - before).norm(dim=1)
    order = rho.argsort(stable=True)
    return order[rho[order] > sigma]


def expand(layers: Layers, k: int, outputs: list[int], draws: torch.Generator, uniform_bias: bool) -> None:
    """Add k units to each hidden layer. Of all outputs only these get weights from the new units.

    New weights are uniform within 1 / sqrt(fan in), new biases 0, or uniform in [0, 1].
    """

    def draw(n: int, m: int, fan_in: int) -> Tensor:
        u = torch.rand(n, m, generator=draws, dtype=layers[0][0].dtype).to(layers[0][0].device)
        return (2 * u - 1) / fan_in**0.5

    for n, (W, b) in enumerate(layers):
        fan_in = W.shape[1] + (k if n else 0)
        if n:
            W = torch.cat([W, draw(len(W), k, fan_in)], dim=1)
        if n < len(layers) - 1:
            new_b = torch.rand(k, generator=draws, dtype=b.dtype).to(b.device)
            W = torch.cat([W, draw(k, W.shape[1], fan_in)])
            b = torch.cat([b, new_b if uniform_bias else torch.zeros_like(new_b)])
        else:
            others = [row for row in range(len(W)) if row not in outputs]
            W[others, -k:] = 0
        layers[n] = [W, b]


def prune(layers: Layers, before: Layers) -> list[list[bool]]:
    """Remove the units that `before` lacks and whose incoming weights and bias are 0. Return which units stay."""
    kept = []
    for n, (W, b) in enumerate(layers[:-1]):
        keep = (W != 0).any(1) | (b != 0)
        keep[: len(before[n][0])] = True
        layers[n] = [W[keep], b[keep]]
        layers[n + 1][0] = layers[n + 1][0][:, keep]
        kept.append(keep.tolist())
    return kept


def copy(layers: Layers, before: Layers, ids: list[Tensor]) -> None:
    """Add copies of the units `ids` of each hidden layer. The units themselves take their weights of `before` back."""
    for n, i in enumerate(ids):
        (W, b), (old, old_b) = layers[n], before[n]
        layers[n] = [torch.cat([W, W[i]]), torch.cat([b, b[i]])]
        layers[n][0][i, : old.shape[1]], layers[n][1][i] = old[i], old_b[i]
        layers[n + 1][0] = torch.cat([layers[n + 1][0], layers[n + 1][0][:, i]], dim=1)

"""What each phase of dynamically expandable networks trains, and what it penalises (Yoon et al., 2018, eqs. 2 to 6).

    phase           trains                                    L1 of                    quadratic of
    learn           all; of the last layer, the task's rows   the weights it trains    -
    select          the task's rows of the last layer         the weights it trains    -
    retrain         what lies between selected units          -                        the weights it trains, around 0
    expand          what comes into or leaves new units       the weights it trains    -
    drift, settle   as learn                                  -                        the old weights, around W^{t-1}

A bias is trained with its unit and is in no penalty. The last layer's rows are in the quadratic of `retrain` alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.base.net import Net
from methods.growing.perceptron import Layers, layers_of


@dataclass(frozen=True)
class Phase:
    """Hold what a phase trains, and what L1 and the quadratic are of (A): all [P], 1 or 0. m [P]: its centre."""

    name: str
    trained: Tensor
    sparse: Tensor
    A: Tensor
    m: Tensor

    @property
    def is_sparse(self) -> bool:
        """Say whether the penalty is L1. Else it is the quadratic."""
        return self.name in ("learn", "select", "expand")


def phase(name: str, net: Net, theta: Tensor, before: Layers, outputs: list[int], chosen: list[Tensor] | None) -> Phase:
    """Return the phase of this name.

    before: the layers W^{t-1}. outputs: those of the task. chosen: the selected inputs, hidden units and outputs.
    """
    found = Phase(name, *(torch.zeros_like(theta) for _ in range(4)))
    tables = [layers_of(net, vector) for vector in (found.trained, found.sparse, found.A, found.m)]
    for n, ((W, b), (s, _), (a, _), (m, _), (old, _)) in enumerate(zip(*tables, before, strict=True)):
        block = slice(old.shape[0]), slice(old.shape[1])
        if name == "retrain":
            W[:], b[:] = chosen[n + 1][:, None] & chosen[n], chosen[n + 1]
            a.copy_(W)
        elif name == "expand":
            W[:], b[:] = 1, 1
            W[block], b[block[0]] = 0, 0
        elif name != "select" or n == len(before) - 1:
            W[:], b[:] = 1, 1
        if name in ("drift", "settle") and n < len(before) - 1:
            a[block], m[block] = 1, old
        if found.is_sparse:
            s.copy_(W)
    for W, b in (table[-1] for table in tables):  # Other tasks' rows of the last layer stand still.
        others = [row for row in range(len(W)) if row not in outputs]
        W[others], b[others] = 0, 0
    return found

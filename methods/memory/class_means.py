"""Features of unit length, and the means of classes among them (Rebuffi et al., 2017, algorithm 1).

phi(x) / |phi(x)|                                            phi: features of the network in evaluation mode
mu_y = mean of these over the exemplars of y, divided by its norm
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base.errors import UserError
from methods.base.examples import Examples


def directions(net, theta: Tensor, examples: Examples, mirrored: bool = False) -> Tensor:
    """Return features [N, D], each divided by its norm. A feature of norm 0 stays 0."""
    inputs = (x.flip(-1) if mirrored else x for x, _, _ in examples.batches())
    return F.normalize(torch.cat([net.features(theta, x) for x in inputs]), dim=-1)


def class_mean(net, theta: Tensor, exemplars: Examples, flips: bool, unit: int) -> tuple[Tensor, int]:
    """Return mu_y [D] of a unit, and how many exemplars have norm 0. With `flips` mirror images count, too."""
    phi = directions(net, theta, exemplars)
    zeros = int((phi == 0).all(-1).sum())
    if zeros == len(phi):
        raise UserError(f"icarl: all {len(phi)} exemplars of unit {unit} have features of norm 0: lower the lr")
    if flips and exemplars.parts[0].source.dim() == 4:  # [N, channels, height, width]
        phi = torch.cat([phi, directions(net, theta, exemplars, mirrored=True)])
    return F.normalize(phi.mean(0), dim=0), zeros

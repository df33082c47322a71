"""Memory Aware Synapses (Aljundi et al., 2018).

    Omega_i <- Omega_i + 1/N sum_n | d ||f(x_n; theta)||^2 / d theta_i |      f: logits of the active units; no labels
    L        = L_k + lam * sum_i Omega_i (theta_i - star_i)^2                 star: parameters after the previous task

The absolute value is taken example by example, as the paper defines it. Much code takes it of a batch's mean
gradient, in which signs cancel (`per_sample=False`).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.errors import check_whole
from methods.base import Method
from methods.fisher import mean_over_batches
from methods.persample import mean
from methods.quadratic import Quadratic


@dataclass
class MAS(Method):
    """lam: weight of the penalty. per_sample, batch: absolute values of examples, or of means over `batch` of them.

    unit_mean: the squared norm is divided by the number of active units.
    """

    lam: float
    per_sample: bool = True
    unit_mean: bool = False
    batch: int = 128

    strength: ClassVar[str] = "lam"
    presets: ClassVar[dict[str, dict]] = {"hsu": {"per_sample": False, "unit_mean": True}}

    def __post_init__(self):
        super().__post_init__()
        check_whole("batch", self.batch)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(2 * self.lam)
        self.omega = theta.new_zeros(theta.shape)

    def after_task(self, theta, task):
        generators = self.generators("mas", theta, task)
        if theta.dim() == 1:
            self.omega = self.omega + self._importance(theta, task.train, generators[0])
        else:
            rows = [self._importance(row, task.train, g) for row, g in zip(theta, generators, strict=True)]
            self.omega = self.omega + torch.stack(rows)
        self.quadratic.set(self.omega, theta)

    def _importance(self, theta: Tensor, examples, generator: torch.Generator) -> Tensor:
        if not self.per_sample:

            def loss(theta, x, y, mask):
                return self._active(self.net(theta, x).square(), mask).sum(-1).mean()

            return mean_over_batches(torch.abs, loss, theta, examples, self.batch, generator)
        return mean(self.net, theta, examples, lambda z, _, mask: [self._active(2 * z, mask)], torch.abs)

    def _active(self, values: Tensor, mask: Tensor) -> Tensor:
        """Values [N, C] of the active units, zero elsewhere; divided by their number for `unit_mean`."""
        active = mask == 0
        return values * active / (active.sum(-1, keepdim=True) if self.unit_mean else 1)

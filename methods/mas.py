"""Memory Aware Synapses (Aljundi et al., 2018).

    Omega_i <- Omega_i + 1/N sum_n | d ||f(x_n; theta)||^2 / d theta_i |      f: logits of the active units; no labels
    L        = L_k + lam * sum_i Omega_i (theta_i - star_i)^2                 star: parameters after the previous task

The absolute value is taken example by example, as the paper defines it. Much code takes the absolute value of a batch's
mean gradient, where signs cancel (`per_sample=False`). Some code averages Omega over the tasks instead of adding it up:
Omega <- ema * Omega + (1 - ema) * Omega_k. The first task then sets Omega, or the average starts from 0 (`from_zero`).

The authors' code (`official`) weighs the batches of a task by their numbers of examples. It weighs a short last batch
wrongly. Here each batch weighs the same, the last one too.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.func import grad

from methods.base.method import Method
from methods.base.options import Count, Need, NonNegative, Share
from methods.base.quadratic import AVERAGED, Quadratic, average
from methods.importance.fisher import mean_over_batches
from methods.importance.persample import mean

OF_BATCHES = Need("per_sample = false", lambda own: not own.per_sample)


@dataclass
class MAS(Method):
    """lam: weight of the penalty. per_sample, batch: absolute values of examples, or of means over `batch` of them.

    by_class: such a batch holds neighbours in the order of the classes, as the authors' notebook has them, not a draw.
    norm: what is differentiated, the squared norm or the norm. unit_mean: the square is divided by the number of active
    units. ema: how much of the earlier importance stays; None adds the tasks' importances up. from_zero: see above.
    """

    lam: NonNegative
    per_sample: bool = True
    unit_mean: bool = False
    batch: Count = 128
    by_class: bool = False
    norm: Literal["squared", "l2"] = "squared"
    ema: Share | None = None
    from_zero: bool = False

    strength: ClassVar[str] = "lam"
    needs: ClassVar[dict[str, Need]] = {
        "batch": OF_BATCHES,
        "by_class": OF_BATCHES,
        "from_zero": AVERAGED,
    }
    presets: ClassVar[dict[str, dict]] = {
        "hsu": {"per_sample": False, "unit_mean": True},
        "official": {"per_sample": False, "batch": 200},
        "agem": {"per_sample": False, "batch": 10, "ema": 0.0},  # Chaudhry et al. (2019) keep the last task's
        # Both estimate in training mode. This is not done here. batch is their training batch.
        "avalanche": {"per_sample": False, "ema": 0.5},
        "facil": {"per_sample": False, "norm": "l2", "ema": 0.5, "from_zero": True},  # with a 1/2: lam is half theirs
    }

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(2 * self.lam)

    def after_task(self, theta, task):
        new = self.by_replica(self._importance, "mas", theta, task)
        self.quadratic.set(average(self.quadratic.A, new, self.ema, self.from_zero), theta)

    def _importance(self, theta: Tensor, examples, generator: torch.Generator) -> Tensor:
        if not self.per_sample:

            def loss(theta, x, y, mask):
                return self._norm(self.net(theta, x), mask).mean()

            if self.by_class:
                examples, generator = examples.select(examples.y.argsort(stable=True)), None
            return mean_over_batches(torch.abs, loss, theta, examples, self.batch, generator)
        slope = grad(lambda z, mask: self._norm(z, mask).sum())
        return mean(self.net, theta, examples, lambda z, _, mask: [slope(z, mask)], torch.abs)

    def _norm(self, z: Tensor, mask: Tensor) -> Tensor:
        """Return ||f||^2 [N] of logits [N, C] over the active units, or what `norm` and `unit_mean` make of it."""
        active = mask == 0
        squared = (z.square() * active / (active.sum(-1, keepdim=True) if self.unit_mean else 1)).sum(-1)
        if self.norm == "squared":
            return squared
        return squared.where(squared > 0, 1.0).sqrt()  # at f = 0, where the root has no slope: a constant, of slope 0

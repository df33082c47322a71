"""Sliced Cramer Preservation (Kolouri et al., 2020).

    phi     = 1/N sum_n f(x_n; theta)                           f: logits of the active units; no labels
    Gamma_i = 1/L sum_l (d (xi_l . phi) / d theta_i)^2          the mean first, then the square; |xi_l| = 1
    L       = L_k + lam * sum_i Gamma_i (theta_i - star_i)^2    star: parameters after the previous task

Slices xi that are uniform on the sphere of K active units have E[xi xi^T] = I / K. So the K one-hot slices give the
limit of L -> infinity exactly. They are the default. `slices` draws L at random instead, as the paper does.

Across tasks Gamma <- ema * Gamma + (1 - ema) * Gamma_k, and the first task sets Gamma. The authors' code starts from
Gamma = 0 (`from_zero`). That code divides by N once more, and scales its slices to |xi|^2 = K / L on average.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from methods.base.examples import units_of
from methods.base.method import Method
from methods.base.options import Count, Need, NonNegative, Share
from methods.base.quadratic import AVERAGED, Quadratic, average
from methods.importance.example_gradients import accumulator, within_budget
from methods.importance.persample import mean_gradients


@dataclass
class SCP(Method):
    """lam: weight of the penalty. slices: how many are drawn at random, or None for the exact average.

    ema: how much of the earlier importance stays; None adds the tasks' importances up. from_zero: see above.
    """

    lam: NonNegative
    slices: Count | None = None
    ema: Share | None = 0.5
    from_zero: bool = False

    strength: ClassVar[str] = "lam"
    needs: ClassVar[dict[str, Need]] = {"from_zero": AVERAGED}
    # Their importance is K / (N L) times this one on average, so lam is that many times theirs.
    presets: ClassVar[dict[str, dict]] = {"author": {"slices": 50, "from_zero": True}}

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(2 * self.lam)

    def after_task(self, theta, task):
        new = self.by_replica(self._importance, "scp", theta, task)
        self.quadratic.set(average(self.quadratic.A, new, self.ema, self.from_zero), theta)

    def _importance(self, theta: Tensor, examples, generator: torch.Generator) -> Tensor:
        """Return Gamma [P] of one task at theta [P]."""
        mask = examples.parts[0].mask
        slices = self._slices(theta, mask, generator)
        rows = _as_few(slices, units_of(mask))
        total = accumulator(theta)
        for some in rows.split(within_budget(total.nbytes, theta.device)):  # [K, P] of all would fill a memory
            projected = mean_gradients(
                self.net, theta, examples, lambda z, *_, some=some: [row.expand_as(z) for row in some]
            )
            total += projected.square_().sum(0)
        return total / len(slices)

    def _slices(self, theta: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Return unit vectors xi [L, C] of the units that the mask, [C] or [N, C], allows."""
        basis = torch.eye(mask.shape[-1], dtype=theta.dtype, device=theta.device)[units_of(mask)]
        if self.slices is None:
            return basis
        drawn = torch.randn(self.slices, len(basis), generator=generator, dtype=theta.dtype).to(theta.device)
        return drawn / drawn.norm(dim=1, keepdim=True) @ basis


def _as_few(slices: Tensor, units: Tensor) -> Tensor:
    """Return min(L, K) rows [., C] whose squared products with any vector add up to those of the slices [L, C].

    Slices of K units are Q R, and |Q R v|^2 = |R v|^2. So L slices cost no more backward passes than there are units.
    """
    if len(slices) <= len(units):
        return slices
    rows = slices.new_zeros(len(units), slices.shape[1])
    rows[:, units] = torch.linalg.qr(slices[:, units].double(), mode="r").R.to(slices)
    return rows

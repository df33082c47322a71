"""Online EWC keeps one running Fisher and one anchor (Schwarz et al., 2018, section 4; Huszar, 2018).

    F~_k = gamma F~_{k-1} + F_k,   F~_0 = 0
    L    = L_k + lam / 2 * sum_i gamma F~_{k-1,i} (theta_i - star_i)^2      star: parameters after the previous task
    F_k  = 1/N sum_n E_y (d log p(y|x_n) / d theta)^2, y ~ p(.|x_n)         after task k, on its N examples

gamma = 1 is Huszar's recursive Laplace approximation. gamma = 1/2 is also the average F <- F / 2 + F_k / 2 from F = 0
on, with the penalty lam / 2 * sum_i F_i (theta_i - star_i)^2. The paper normalises each F_k, because tasks differ in
scale. This is not done here. F_k as above is `exact`. The other estimators are in methods/importance/fisher.py.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from methods.base.method import Method
from methods.base.options import Count, Need, NonNegative, Share
from methods.base.quadratic import Quadratic
from methods.importance.fisher import BATCHED, ESTIMATORS, of_task


@dataclass
class OnlineEWC(Method):
    """lam: weight of the penalty. gamma: how much of the earlier Fisher stays. The rest: importance/fisher.py."""

    lam: NonNegative
    gamma: Share = 1.0
    fisher: Literal[*ESTIMATORS] = "exact"
    n_samples: Count | None = None
    fisher_batch: Count = 128

    strength: ClassVar[str] = "lam"
    needs: ClassVar[dict[str, Need]] = {"fisher_batch": BATCHED}
    presets: ClassVar[dict[str, dict]] = {
        "hsu": {"fisher": "argmax", "gamma": 1.0},  # they have no 1/2: lam is twice theirs
        # These two estimate in training mode. This is not done here. facil does not penalise its heads.
        "mammoth": {"fisher": "p_weighted"},  # their penalty has no 1/2 and no gamma: lam is 2 / gamma times theirs
        "facil": {"fisher": "batched_argmax", "gamma": 0.5},  # fisher_batch is their training batch
    }

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(self.lam)
        self.F = torch.zeros_like(theta)

    def after_task(self, theta, task):
        self.F = self.gamma * self.F + of_task(self, theta, task)
        self.quadratic.set(self.gamma * self.F, theta)

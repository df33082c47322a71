"""L2: every parameter is as important as any other (the control of Kirkpatrick et al., 2017).

L = L_k + lam / 2 * sum_i (theta_i - star_i)^2        star: parameters after the previous task
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from methods.base.method import Method
from methods.base.options import NonNegative
from methods.base.quadratic import Quadratic


@dataclass
class L2(Method):
    """lam: weight of the penalty. per_task: one anchor for each earlier task, not only the last."""

    lam: NonNegative
    per_task: bool = False

    strength: ClassVar[str] = "lam"
    presets: ClassVar[dict[str, dict]] = {"hsu": {"per_task": False}}  # their coefficient has no 1/2: lam is twice it

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(self.lam)

    def after_task(self, theta, task):
        anchor = self.quadratic.add if self.per_task else self.quadratic.set
        anchor(torch.ones_like(theta), theta)

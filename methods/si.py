"""Synaptic Intelligence (Zenke, Poole and Ganguli, 2017, eqs. 3 to 5).

    w_i     = - sum over steps of g_i * (step of theta_i)             g: gradient of the task loss alone
    Omega_i <- relu(Omega_i + w_i / (Delta_i^2 + xi))                 Delta: change of theta over the task
    L       = L_k + c * sum_i Omega_i (theta_i - star_i)^2            star: parameters after the previous task

Differs from the paper: the relu, which is in the authors' code (`clamp="none"` leaves it out).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from benchmarks.errors import check_number, unknown
from methods.base import Method
from methods.quadratic import Quadratic

CLAMPS = ("cumulative", "increment", "none")


@dataclass
class SI(Method):
    """c: weight of the penalty. xi: damping. clamp: what is cut at zero, the sum, each task's addition, or nothing."""

    c: float
    xi: float = 0.1
    clamp: str = "cumulative"

    strength: ClassVar[str] = "c"
    presets: ClassVar[dict[str, dict]] = {"hsu": {"xi": 0.1, "clamp": "none"}}

    def __post_init__(self):
        super().__post_init__()
        check_number("xi", self.xi, "a finite number > 0", lambda value: value > 0)
        if self.clamp not in CLAMPS:
            raise unknown("clamp", self.clamp, CLAMPS)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(2 * self.c)
        self.star, self.omega, self.w = theta.clone(), torch.zeros_like(theta), torch.zeros_like(theta)
        self._step = torch.empty_like(theta)

    def after_step(self, old, new, grad):
        torch.sub(new, old, out=self._step)
        self.w.addcmul_(grad, self._step, value=-1)

    def after_task(self, theta, task):
        increment = self.w / ((theta - self.star) ** 2 + self.xi)
        if self.clamp == "increment":
            increment = increment.clamp(min=0)
        self.omega = self.omega + increment
        if self.clamp == "cumulative":
            self.omega = self.omega.clamp(min=0)
        self.star, self.w = theta.clone(), torch.zeros_like(theta)
        self.quadratic.set(self.omega, theta)

"""Synaptic Intelligence (Zenke, Poole and Ganguli, 2017, eqs. 3 to 5).

    w_i     = - sum over steps of g_i * (step of theta_i)             g: gradient of the task loss alone
    Omega_i <- relu(Omega_i + w_i / (Delta_i^2 + xi))                 Delta: change of theta over the task
    L       = L_k + c * sum_i Omega_i (theta_i - star_i)^2            star: parameters after the previous task

Differs from the paper: the relu is that of the authors' code. `clamp="none"` leaves it out, and the penalty then has no
minimum where Omega is below zero. Other code takes for g the gradient of the total loss, penalty included
(`grad="total"`). Other code cuts Omega above in the penalty, while the sum goes on uncut (`upper_clip`).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from methods.base.method import Method
from methods.base.options import NonNegative, Positive
from methods.base.quadratic import Quadratic


@dataclass
class SI(Method):
    """c: weight of the penalty. xi: damping. clamp: cut the sum, each task's addition, or nothing at zero.

    grad: g is that of the task loss, or of the total loss. upper_clip: the largest Omega in the penalty, or None.
    from_zero: Delta of the first task is theta's distance from 0, not from where it began.
    """

    c: NonNegative
    xi: Positive = 0.1
    clamp: Literal["cumulative", "increment", "none"] = "cumulative"
    grad: Literal["task", "total"] = "task"
    upper_clip: Positive | None = None
    from_zero: bool = False

    strength: ClassVar[str] = "c"
    scratch: ClassVar[tuple[str, ...]] = ("_step",)
    presets: ClassVar[dict[str, dict]] = {
        "hsu": {"xi": 0.1, "clamp": "none"},
        "vdv": {"xi": 0.1, "clamp": "none", "grad": "total"},
        "agem": {"xi": 1e-3, "clamp": "increment"},
        "pathint": {"xi": 0.1, "from_zero": True},  # the authors' Permuted MNIST: star is not set at first
        "capymoa": {"xi": 0.1, "clamp": "increment"},  # their penalty has a 1/2: c is half theirs
        # Maltoni and Lomonaco (2019), as in Avalanche. Their penalty has a 1/2 (c is half theirs) and no norm layers.
        "maltoni": {"xi": 1e-7, "clamp": "none", "grad": "total", "upper_clip": 1e-3},
    }

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(2 * self.c, signed=self.clamp == "none")
        self.star = torch.zeros_like(theta) if self.from_zero else theta.clone()
        self.omega, self.w = torch.zeros_like(theta), torch.zeros_like(theta)
        self._step = torch.empty_like(theta)

    def after_step(self, old, new, grad):
        if self.grad == "total":
            grad = self.add_penalty_grad(old, grad)
        torch.sub(new, old, out=self._step)
        self.w.addcmul_(grad, self._step, value=-1)

    def after_task(self, theta, task):
        increment = self.w / ((theta - self.star) ** 2 + self.xi)
        if self.clamp == "increment":
            increment = increment.clamp(min=0)
        self.omega = self.omega + increment
        if self.clamp == "cumulative":
            self.omega = self.omega.clamp(min=0)
        self.quadratic.set(self.omega if self.upper_clip is None else self.omega.clamp(max=self.upper_clip), theta)
        self.star, self.w = self.quadratic.m, torch.zeros_like(theta)  # one copy: the quadratic never writes into m

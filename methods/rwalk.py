"""Riemannian Walk (Chaudhry et al., 2018, section 4).

    w_i <- w_i - g_i * (step of theta_i)                                every step; g: gradient of the task loss alone
    s_i <- s_i + relu(w_i) / (1/2 F_i (theta_i - window_i)^2 + eps)     every `interval` steps; then w = 0
    F   <- alpha * F_batch + (1 - alpha) * F                            after the score, which takes the F before it
    S   <- s after the first task, then (S + s) / 2                     every task; then s = 0
    L   = L_k + lam * sum_i (F^_i + S^_i) (theta_i - star_i)^2          star: parameters after the previous task

window is theta where the interval began, and F^ and S^ are F and S scaled to [0, 1] over all parameters jointly (0
where all are equal). F is EWC++'s (importance/running_fisher.py) and is never reset; before its first estimate the
score's denominator is eps. An interval that a task's end cuts short is closed there.

Single-head, the paper adds exemplars: `sampler` chooses `per_class` of each class of a finished task
(methods/memory/samplers.py), and a later task trains on its own data and all of them, each once in an epoch.

The authors' code (`variant="released"`) differs. Before each step n of a task, from 1, that `interval` divides:

    s_i <- s_i + relu(w_i) / (F_i (theta_i - window_i)^2 + eps)         then w = 0
    F   <- alpha * G / interval + (1 - alpha) * F                       G: sum of g^2 over the task's steps before n

from F = 0 on, and S <- s after the first task, then 3/2 S + s / 2. So F grows with the number of steps, a task's first
interval is one step short, and its last steps do not count. What is squared is the batch's gradient g.
"""

from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import ClassVar

import torch
from torch import Tensor

from methods.base.errors import check_number, check_whole, unknown
from methods.base.method import Method
from methods.base.quadratic import Quadratic
from methods.importance import running_fisher
from methods.memory.samplers import SAMPLERS, exemplars

VARIANTS = ("paper", "released")


@dataclass
class RWalk(Method):
    """lam: weight of the penalty. alpha, interval: of the running Fisher. eps: damping of the score.

    sampler: how exemplars are chosen, or None for none; per_class: how many of each class of a task. variant: whose
    recursion it is, "paper" or "released".
    """

    lam: float
    alpha: float = 0.9
    interval: int = 10
    eps: float = 1e-3
    sampler: str | None = None
    per_class: int = 10
    variant: str = "paper"

    strength: ClassVar[str] = "lam"
    presets: ClassVar[dict[str, dict]] = {"released": {"variant": "released"}}

    def __post_init__(self):
        super().__post_init__()
        running_fisher.check(self.alpha, self.interval)
        check_number("eps", self.eps, "a finite number > 0", lambda value: value > 0)
        if self.sampler is not None and self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        check_whole("per_class", self.per_class)
        if self.variant not in VARIANTS:
            raise unknown("variant", self.variant, VARIANTS)

    @property
    def wants_squares(self):
        return self.variant == "paper"

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        if self.sampler is not None:
            self.refuse_replicas(theta)
        self.quadratic = Quadratic(2 * self.lam)
        self.fisher = running_fisher.RunningFisher(theta, self.alpha, from_zero=self.variant == "released")
        self.window, self.w, self.s = theta.clone(), torch.zeros_like(theta), torch.zeros_like(theta)
        self.S: Tensor | None = None
        self.memory = []
        self._step = torch.empty_like(theta)

    def before_task(self, theta, task):
        self.window.copy_(theta)
        if not self.memory:
            return task
        return replace(task, train=task.remask(reduce(add, self.memory).merge()) + task.train)

    def after_squares(self, squares):
        self.fisher.add(squares)

    def after_backward(self, theta, grad):
        if self.variant == "released":
            if (self.fisher.batches + 1) % self.interval == 0:
                self._close_interval(theta)
            self.fisher.add(grad.square())
        return grad

    def after_step(self, old, new, grad):
        torch.sub(new, old, out=self._step)
        self.w.addcmul_(grad, self._step, value=-1)
        if self.variant == "paper" and self.fisher.batches == self.interval:
            self._close_interval(new)

    def _close_interval(self, theta):
        F = self.fisher.value / 2 if self.variant == "paper" else self.fisher.value
        self.s += self.w.clamp(min=0) / (F * (theta - self.window) ** 2 + self.eps)
        if self.variant == "paper":
            self.fisher.update()
        else:
            self.fisher.average(self.interval)
        self.w.zero_()
        self.window.copy_(theta)

    def after_task(self, theta, task):
        if self.variant == "paper":
            self._close_interval(theta)
            self.S = self.s if self.S is None else (self.S + self.s) / 2
        else:
            self.w.zero_()
            self.fisher.clear()
            self.S = self.s if self.S is None else 1.5 * self.S + self.s / 2
        self.s = torch.zeros_like(theta)
        self.quadratic.set(running_fisher.min_max(self.fisher.value) + running_fisher.min_max(self.S), theta)
        if self.sampler is not None:
            (generator,) = self.generators("exemplars", theta, task)
            self.memory.append(exemplars(self.net, theta, task.train, self.sampler, self.per_class, generator))

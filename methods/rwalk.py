"""Riemannian Walk (Chaudhry et al., 2018, section 4).

    w_i <- w_i - g_i * (step of theta_i)                                every step; g: gradient of the task loss alone
    s_i <- s_i + relu(w_i) / (1/2 F_i (theta_i - window_i)^2 + eps)     every `interval` steps; then w = 0
    F   <- alpha * F_batch + (1 - alpha) * F                            after the score, which takes the old F
    S   <- s after the first task, then (S + s) / 2                     every task; then s = 0
    L   = L_k + lam * sum_i (F^_i + S^_i) (theta_i - star_i)^2          star: parameters after the previous task

window is theta at the beginning of the interval. F^ and S^ are F and S scaled to [0, 1] over all parameters jointly (0
where all are equal). F is that of EWC++ (importance/running_fisher.py) and is never reset. Before the first estimate of
F the score's denominator is eps. The end of a task closes an unfinished interval.

With a single head the paper adds exemplars. `sampler` chooses `per_class` of each class of a finished task
(methods/memory/samplers.py). A later task trains on its own data and on all exemplars, each once in an epoch.

Differs from the paper: the paper sets negative scores to zero. Here, as in the authors' code, each interval takes the
relu before scores are added. The authors' code (`variant="released"`) has another recursion. Before each step n = 1, 2,
... of a task that `interval` divides:

    s_i <- s_i + relu(w_i) / (F_i (theta_i - window_i)^2 + eps)         then w = 0
    F   <- alpha * G / interval + (1 - alpha) * F                       G: sum of g^2 over the task's steps before n

F starts from 0. S <- s after the first task, then 3/2 S + s / 2. So F grows with the number of steps, a task's first
interval is one step short, and its last steps do not count. g is the gradient of the batch.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from methods.base.examples import Examples
from methods.base.method import Method
from methods.base.options import Count, Need, NonNegative, Positive, Share
from methods.base.quadratic import Quadratic
from methods.importance.path_scores import PaperScores, ReleasedScores
from methods.importance.running_fisher import min_max
from methods.memory.samplers import SAMPLERS, choose, exemplars, last_linear


@dataclass
class RWalk(Method):
    """lam: weight of the penalty. alpha, interval: of the running Fisher. eps: damping of the score.

    sampler: how exemplars are chosen, or None for none; per_class: how many of each class of a task. variant: the
    recursion of the paper, or of the released code.
    """

    lam: NonNegative
    alpha: Share = 0.9
    interval: Count = 10
    eps: Positive = 1e-3
    sampler: Literal[*SAMPLERS] | None = None
    per_class: Count = 10
    variant: Literal["paper", "released"] = "paper"

    strength: ClassVar[str] = "lam"
    scratch: ClassVar[tuple[str, ...]] = ("_step",)
    needs: ClassVar[dict[str, Need]] = {"per_class": Need("a sampler", lambda own: own.sampler is not None)}
    presets: ClassVar[dict[str, dict]] = {"released": {"variant": "released"}}

    @property
    def stacks(self):
        return self.sampler is None

    @property
    def wants_squares(self):
        return self.variant == "paper"

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(2 * self.lam)
        recursion = PaperScores if self.variant == "paper" else ReleasedScores
        self.scores = recursion(theta, self.alpha, self.interval, self.eps)
        self.exemplars = []  # of each class of each earlier task
        self._step = torch.empty_like(theta)

    def before_task(self, theta, task):
        self.scores.window.copy_(theta)
        if self.sampler not in (None, "uniform"):
            last_linear(self.net, theta, task.train)  # refuses before training
        if not self.exemplars:
            return task
        return replace(task, train=task.remask(Examples.joined(self.exemplars)) + task.train)

    def after_squares(self, add_to):
        self.scores.F.add(add_to)

    def after_backward(self, theta, grad):
        self.scores.before_step(theta, grad)
        return grad

    def after_step(self, old, new, grad):
        torch.sub(new, old, out=self._step)
        self.scores.w.addcmul_(grad, self._step, value=-1)
        self.scores.after_step(new)

    def after_task(self, theta, task):
        self.scores.end_task(theta)
        self.quadratic.set(min_max(self.scores.F.value) + min_max(self.scores.S), theta)
        if self.sampler is not None:
            (generator,) = self.generators("exemplars", theta, task)
            settings = self.sampler, self.per_class, generator
            self.exemplars += exemplars(task.train, lambda own: choose(self.net, theta, own, *settings)).values()

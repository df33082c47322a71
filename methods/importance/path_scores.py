"""The scores of RWalk: what each parameter did for the loss along the path of training (Chaudhry et al., 2018).

    w_i <- w_i - g_i * (step of theta_i)                                every step
    s_i <- s_i + relu(w_i) / (1/2 F_i (theta_i - window_i)^2 + eps)     every `interval` steps; then w = 0
    S   <- s after the first task, then (S + s) / 2                     every task; then s = 0

The paper's recursion is `PaperScores`. That of the authors' code is `ReleasedScores`.
"""

import torch
from torch import Tensor

from methods.base.state import Stateful
from methods.importance.running_fisher import RunningFisher


class PaperScores(Stateful):
    """Compute w, s, F and S, each [..., P], by the paper's recursion."""

    def __init__(self, theta: Tensor, alpha: float, interval: int, eps: float, from_zero: bool = False):
        self.F = RunningFisher(theta, alpha, from_zero)
        self.interval, self.eps = interval, eps
        self.window, self.w, self.s = theta.clone(), torch.zeros_like(theta), torch.zeros_like(theta)
        self.S: Tensor | None = None

    def before_step(self, theta: Tensor, grad: Tensor) -> None:
        """Do nothing: the paper's intervals end after a step."""

    def after_step(self, theta: Tensor) -> None:
        """Close the interval after its last step."""
        if self.F.batches == self.interval:
            self.close(theta)

    def close(self, theta: Tensor) -> None:
        """Close an interval: first the score, then the Fisher."""
        self.score(theta, self.F.value / 2)
        self.F.update()

    def score(self, theta: Tensor, F: Tensor) -> None:
        """Set s <- s + relu(w) / (F * way^2 + eps), and begin the next window."""
        self.s += self.w.clamp(min=0) / (F * (theta - self.window) ** 2 + self.eps)
        self.w.zero_()
        self.window.copy_(theta)

    def end_task(self, theta: Tensor) -> None:
        """Average the task's scores with those of the tasks before."""
        self.close(theta)
        self.S = self.s if self.S is None else (self.S + self.s) / 2
        self.s = torch.zeros_like(theta)


class ReleasedScores(PaperScores):
    """Follow the recursion of the authors' code. Before each step n = 1, 2, ... of a task that `interval` divides:

        s_i <- s_i + relu(w_i) / (F_i (theta_i - window_i)^2 + eps)      then w = 0
        F   <- alpha * G / interval + (1 - alpha) * F                    G: sum of g^2 over the task's steps before n

    F starts from 0. S <- s after the first task, then 3/2 S + s / 2. So F grows with the number of steps, a task's
    first interval is one step short, and its last steps do not count. g is the gradient of the batch.
    """

    def __init__(self, theta: Tensor, alpha: float, interval: int, eps: float):
        super().__init__(theta, alpha, interval, eps, from_zero=True)

    def before_step(self, theta: Tensor, grad: Tensor) -> None:
        """Close the interval before the step that its length divides."""
        if (self.F.batches + 1) % self.interval == 0:
            self.score(theta, self.F.value)
            self.F.average(self.interval)
        self.F.add(grad.square())

    def after_step(self, theta: Tensor) -> None:
        """Do nothing: intervals end before a step."""

    def end_task(self, theta: Tensor) -> None:
        """Add the task's scores. Drop the steps since the last interval."""
        self.w.zero_()
        self.F.clear()
        self.S = self.s if self.S is None else 1.5 * self.S + self.s / 2
        self.s = torch.zeros_like(theta)

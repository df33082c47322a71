"""The scores of RWalk: what each parameter did for the loss along the path of training (Chaudhry et al., 2018).

The two recursions for w, s, F and S stand in methods/rwalk.py.
"""

import torch
from torch import Tensor

from methods.base.state import Stateful
from methods.importance.running_fisher import RunningFisher


class PaperScores(Stateful):
    """Compute w, s, F and S, each [..., P], by the recursion of the paper."""

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
        """Set s <- s + relu(w) / (F * (theta - window)^2 + eps), and begin the next window."""
        self.s += self.w.clamp(min=0) / (F * (theta - self.window) ** 2 + self.eps)
        self.w.zero_()
        self.window.copy_(theta)

    def end_task(self, theta: Tensor) -> None:
        """Average the task's scores with those of the tasks before."""
        self.close(theta)
        self.S = self.s if self.S is None else (self.S + self.s) / 2
        self.s = torch.zeros_like(theta)


class ReleasedScores(PaperScores):
    """Compute w, s, F and S by the recursion of the authors' code."""

    def __init__(self, theta: Tensor, alpha: float, interval: int, eps: float):
        super().__init__(theta, alpha, interval, eps, from_zero=True)

    def before_step(self, theta: Tensor, grad: Tensor) -> None:
        """Close the interval before the step that its length divides."""
        if (self.F.batches + 1) % self.interval == 0:
            self.score(theta, self.F.value)
            self.F.average(self.interval)
        self.F.add(lambda total: total.add_(grad.square()))

    def after_step(self, theta: Tensor) -> None:
        """Do nothing: intervals end before a step."""

    def end_task(self, theta: Tensor) -> None:
        """Add the task's scores. Drop the steps since the last interval."""
        self.w.zero_()
        self.F.clear()
        self.S = self.s if self.S is None else 1.5 * self.S + self.s / 2
        self.s = torch.zeros_like(theta)

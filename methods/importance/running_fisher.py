"""The Fisher diagonal as a running average over training (Chaudhry et al., 2018, section 4.1): EWC++ and RWalk.

    F^t = alpha * F_batch + (1 - alpha) * F^(t-1)        F_batch: mean over the mini-batches of an interval

alpha weights the new estimate. The first estimate is the initial F. F is never reset between tasks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from methods.base.state import Stateful
from methods.importance.layers import wide


class RunningFisher(Stateful):
    """Hold F [..., P] in `value`. `from_zero` averages the first estimate with 0 instead of taking it whole."""

    def __init__(self, theta: Tensor, alpha: float, from_zero: bool = False):
        self.alpha, self.known = alpha, from_zero
        self.value, self._sum = torch.zeros_like(theta), torch.zeros_like(wide(theta))
        self.batches = 0  # how many this interval has so far

    def add(self, add_to: Callable[[Tensor], None]) -> None:
        """Take one more mini-batch into the interval: add_to(total) adds its squares to total [..., P]."""
        add_to(self._sum)
        self.batches += 1

    def update(self) -> None:
        """Close the interval. An interval without a mini-batch changes nothing."""
        if self.batches:
            self.average(self.batches)
            self.clear()

    def average(self, n: int) -> None:
        """Set F <- alpha / n * (sum of the mini-batches) + (1 - alpha) * F."""
        alpha = self.alpha if self.known else 1.0
        self.value.mul_(1 - alpha).add_(self._sum, alpha=alpha / n)
        self.known = True

    def clear(self) -> None:
        """Forget the mini-batches so far."""
        self._sum.zero_()
        self.batches = 0


def min_max(values: Tensor) -> Tensor:
    """Move and scale values [..., P] to [0, 1] over all parameters jointly. They become 0 if all are equal."""
    low, high = values.amin(-1, keepdim=True), values.amax(-1, keepdim=True)
    span = high - low
    return (values - low) / torch.where(span > 0, span, 1.0)

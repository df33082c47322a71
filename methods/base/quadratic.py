"""The regularisation methods share this quadratic penalty. They differ in their importance.

    penalty = strength / 2 * sum_i A_i (theta_i - m_i)^2  + const

Several anchors make one quadratic: sum_k F_k (theta - theta_k)^2 = A (theta - m)^2 + const with A = sum_k F_k and A m =
sum_k F_k theta_k. So the paper's objective with one penalty per task costs 2 P numbers after any number of tasks. The
quadratic is kept centred, because the expanded form A theta^2 - 2 B theta + C cancels digits.
"""

from typing import ClassVar

import torch
from torch import Tensor

from methods.base.options import Need
from methods.base.state import Stateful

AVERAGED = Need("ema", lambda own: own.ema is not None)  # what an option of `average` needs


class Quadratic(Stateful):
    """Hold strength / 2 * sum A (theta - m)^2 with A and m [..., P]. Without an anchor there is no penalty.

    signed: whether A may be below zero, though the penalty then has no minimum.
    """

    scratch: ClassVar[tuple[str, ...]] = ("_buffer",)

    def __init__(self, strength: float, signed: bool = False):
        self.strength, self.signed = strength, signed
        self.A: Tensor | None = None
        self.m: Tensor | None = None
        self._buffer: Tensor | None = None

    def set(self, importance: Tensor, anchor: Tensor) -> None:
        """Set one anchor: A = importance, m = anchor."""
        self._check(importance)
        self.A, self.m, self._buffer = importance.clone(), anchor.clone(), None

    def add(self, importance: Tensor, anchor: Tensor) -> None:
        """Add one more anchor. The sum is exact up to a constant."""
        if self.A is None:
            self.set(importance, anchor)
            return
        self._check(importance)
        total = self.A + importance
        # m moves towards the anchor. Where the anchor weighs nothing, m stays. Where nothing else weighs, m becomes the
        # anchor to the bit, because a fresh Adam turns a last bit into a whole step.
        share = torch.where(total > 0, importance / total.where(total > 0, 1.0), 0.0)
        self.A, self.m = total, torch.lerp(self.m, anchor, share.to(anchor.dtype))

    def value(self, theta: Tensor) -> Tensor | None:
        """Return the penalty [...] at theta [..., P] up to its constant. Return None while there is none."""
        if self.A is None or not self.strength:
            return None
        return self.strength / 2 * (self.A * (theta - self.m) ** 2).sum(-1)

    def add_gradient(self, theta: Tensor, grad: Tensor) -> Tensor:
        """Return grad + strength * A * (theta - m), in a buffer that is kept. So one step allocates nothing."""
        if self.A is None or not self.strength:
            return grad
        if self._buffer is None:
            self._buffer = torch.zeros_like(self.m)
        torch.sub(theta, self.m, out=self._buffer)
        return torch.addcmul(grad, self.A, self._buffer, value=self.strength, out=self._buffer)

    @property
    def steepest(self) -> float:
        """Return the largest curvature, strength * max A, or 0. SGD overshoots where lr times it is above 2."""
        return 0.0 if self.A is None else self.strength * float(self.A.max())

    def _check(self, importance: Tensor) -> None:
        if not bool(importance.isfinite().all()):
            raise FloatingPointError("an importance is not finite: the run has diverged")
        if not self.signed and bool((importance < 0).any()):
            raise ValueError(f"an importance is {float(importance.min())}: below zero the penalty has no minimum")


def average(old: Tensor | None, new: Tensor, ema: float | None, from_zero: bool) -> Tensor:
    """Return the importance after one more task: old + new, or ema * old + (1 - ema) * new.

    `old` is None in the first task. This task sets the average, or is averaged with 0 (`from_zero`).
    """
    if ema is None:
        return new if old is None else old + new
    if old is None:
        return (1 - ema) * new if from_zero else new
    return ema * old + (1 - ema) * new

"""Gradient Episodic Memory (Lopez-Paz and Ranzato, 2017, eqs. 8 to 11).

    g_k  = gradient of the mean loss on the memory of task k < t, at the present theta; the rows of G
    g~   = argmin ||g - g~||^2  subject to  g~ . g_k >= 0 for all k < t
         = g + G^T v,   v = argmin_{v >= 0} 1/2 v^T G G^T v + (G g)^T v        the dual, of t - 1 unknowns
    g~   = g, to the bit, where no g . g_k is negative

The memory of a task holds the last examples that it was trained on; the memories' forward passes are in training mode
and one at a time, so that batch statistics are those of one task, as released.

The dual is solved with `eps` on the diagonal of G G^T. `margin` favours backward transfer; the authors' code makes it
the bound v >= margin ("bound"), the paper adds it to the solution of v >= 0 ("shift"): other points.

Differs from the released code: a task's memory begins empty, so that a task shorter than it leaves no unset examples.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from benchmarks.errors import check_number, check_whole, unknown
from methods.base import Method
from methods.ring import Ring

MODES = ("bound", "shift")


@dataclass
class GEM(Method):
    """per_task: examples kept of each task. margin, margin_mode, eps: of the dual, above."""

    per_task: int
    margin: float = 0.5
    margin_mode: str = "bound"
    eps: float = 1e-3

    presets: ClassVar[dict[str, dict]] = {"paper": {"margin_mode": "shift"}, "pure": {"margin": 0.0, "eps": 0.0}}

    def __post_init__(self):
        super().__post_init__()
        check_whole("per_task", self.per_task)
        for name in ("margin", "eps"):
            check_number(name, getattr(self, name), "a finite number >= 0", lambda value: value >= 0)
        if self.margin_mode not in MODES:
            raise unknown("margin_mode", self.margin_mode, MODES)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.refuse_replicas(theta)
        self.memories = []  # of each earlier task

    def before_task(self, theta, task):
        self.memories = [task.remask(memory) for memory in self.memories]
        self.ring = Ring(self.per_task)
        return task

    def loss(self, theta, x, y, mask):
        self.ring.add(x, y, mask, group=torch.zeros_like(y))
        return super().loss(theta, x, y, mask)

    def after_backward(self, theta, grad):
        if not self.memories:
            return grad
        rows = []
        for memory in self.memories:
            variable = theta.detach().requires_grad_()
            x, y, mask = memory.take(torch.arange(len(memory), device=theta.device))
            rows += torch.autograd.grad(super().loss(variable, x, y, mask), variable)
        return self.project(grad, torch.stack(rows))

    def project(self, grad: Tensor, G: Tensor) -> Tensor:
        """g~ [P] from g [P] and the constraints' gradients G [K, P]; g itself where none is violated."""
        products = G @ grad
        if bool((products >= 0).all()):
            return grad
        gram, products = ((value.double().cpu().numpy()) for value in (G @ G.T, products))
        if not (np.isfinite(gram).all() and np.isfinite(products).all()):
            raise FloatingPointError("a gradient of GEM's memory is not finite: the run has diverged")
        v = dual(gram + self.eps * np.eye(len(gram)), products, self.margin if self.margin_mode == "bound" else 0.0)
        if self.margin_mode == "shift":
            v = v + self.margin
        return grad + torch.from_numpy(v).to(G) @ G

    def after_task(self, theta, task):
        self.memories.append(self.ring.examples())
        self.ring = None


def dual(A: np.ndarray, q: np.ndarray, bound: float) -> np.ndarray:
    """argmin_{v >= bound} 1/2 v^T A v + q^T v for positive semidefinite A [K, K] and q [K] in its range, float64.

    With A = S S^T and u = v - bound it is min_{u >= 0} ||S^T u + S^-1 (q + A bound)||. S is made of eigenvectors; those
    of eigenvalue 0 (constraints that are parallel, or 0) are left out.
    """
    values, vectors = np.linalg.eigh((A + A.T) / 2)
    kept = values > len(A) * np.finfo(A.dtype).eps * values[-1]
    root, vectors = np.sqrt(values[kept]), vectors[:, kept]
    target = vectors.T @ (q + A @ np.full(len(q), bound)) / root
    u, _ = nnls((vectors * root).T, -target)
    return u + bound

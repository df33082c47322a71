"""Gradient Episodic Memory (Lopez-Paz and Ranzato, 2017, eqs. 8 to 11).

    g_k  = gradient of the mean loss on the memory of task k < t, at the present theta; the rows of G
    g~   = argmin ||g - g~||^2  subject to  g~ . g_k >= 0 for all k < t
         = g + G^T v,   v = argmin_{v >= 0} 1/2 v^T G G^T v + (G g)^T v        the dual, of t - 1 unknowns
    g~   = g, to the bit, where no g . g_k is negative

The memory of a task holds the last examples that it was trained on; the memories' forward passes are in training mode
and one at a time, so that batch statistics are those of one task, as released.

The dual is solved with `eps` on the diagonal of G G^T, which the code first released, with the paper, did not have.
`margin` favours backward transfer; the authors' code makes it the bound v >= margin ("bound"), the paper adds it to the
solution of v >= 0 ("shift"): other points.

Hsu et al. (2018) draw the memories at random, share a budget among the tasks seen, and train on them as naive rehearsal
does (`hsu`; methods/memory/shares.py).

Differs from the released code: a task's memory begins empty, so that a task shorter than it leaves no unset examples.
From the code that made the table of Hsu et al.: that filled the memories twice after a task, as if it were two tasks.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from methods.base.errors import UserError, check_either
from methods.base.method import Method
from methods.base.options import Count, NonNegative
from methods.memory.ring import Ring
from methods.memory.shares import rehearsed, share


@dataclass
class GEM(Method):
    """per_task: examples kept of each task; or budget: examples kept in total, floor(budget / k) of each of k tasks.

    memory: the `last` examples of a task, or `random` ones, drawn at its end. rehearse: train on the memories too.
    margin, margin_mode, eps: of the dual, above. eps_relative: eps is in units of the mean of the diagonal of G G^T.
    """

    per_task: Count | None = None
    budget: Count | None = None
    memory: Literal["last", "random"] = "last"
    rehearse: bool = False
    margin: NonNegative = 0.5
    margin_mode: Literal["bound", "shift"] = "bound"
    eps: NonNegative = 1e-3
    eps_relative: bool = False

    presets: ClassVar[dict[str, dict]] = {
        "paper": {"margin_mode": "shift"},
        "pure": {"margin": 0.0, "eps": 0.0},
        "hsu": {"memory": "random", "rehearse": True},
    }

    def __post_init__(self):
        super().__post_init__()
        check_either(per_task=self.per_task, budget=self.budget)
        if self.memory == "last" and (self.rehearse or self.budget is not None):
            raise UserError(
                "memory = 'last' takes per_task and no rehearsal: give memory = 'random' with budget, rehearse"
            )

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.refuse_replicas(theta)
        self.memories = []  # of each earlier task
        self.ring = Ring(self.per_task) if self.memory == "last" else None

    def before_task(self, theta, task):
        seen = len(self.memories)
        if self.budget is not None and self.budget <= seen:
            raise UserError(f"gem: budget = {self.budget} examples for {seen + 1} tasks: at least one for each")
        self.memories = [task.remask(memory) for memory in self.memories]
        if self.rehearse and self.memories:
            return rehearsed(task, self.memories, self.budget or seen * self.per_task)
        return task

    def loss(self, theta, x, y, mask):
        if self.ring:
            self.ring.add(x, y, mask, group=torch.zeros_like(y), groups=1)
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
        eps = self.eps * (gram.trace() / len(gram) if self.eps_relative else 1.0)
        v = dual(gram + eps * np.eye(len(gram)), products, self.margin if self.margin_mode == "bound" else 0.0)
        if self.margin_mode == "shift":
            v = v + self.margin
        return grad + torch.from_numpy(v).to(G) @ G

    def after_task(self, theta, task):
        if self.ring:
            self.memories.append(self.ring.examples())
            self.ring.clear()
        else:
            (generator,) = self.generators("memory", theta, task)
            m = self.per_task or self.budget // (len(self.memories) + 1)
            self.memories = share(self.memories, task.train, m, generator)


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

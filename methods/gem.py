"""Gradient Episodic Memory (Lopez-Paz and Ranzato, 2017, eqs. 8 to 11).

    g_k  = gradient of the mean loss on the memory of task k < t, at the present theta; the rows of G
    g~   = argmin ||g - g~||^2  subject to  g~ . g_k >= 0 for all k < t
         = g + G^T v,   v = argmin_{v >= 0} 1/2 v^T G G^T v + (G g)^T v        the dual, of t - 1 unknowns
    g~   = g, to the bit, where no g . g_k is negative

The memory of a task holds the last examples that it was trained on. As in the released code, each memory has a forward
pass of its own in training mode, so that batch statistics are those of one task.

The dual is solved with `eps` on the diagonal of G G^T. The first release, which came with the paper, had no eps.
`margin` favours backward transfer. The authors' code makes it the bound v >= margin ("bound"). The paper adds it to the
solution of v >= 0 ("shift"). The two give different points.

Hsu et al. (2018) draw the memories at random and share a budget among the tasks seen. They also train on the memories,
as naive rehearsal does (`hsu`; methods/memory/shares.py).

Differs from the released code: a task's memory begins empty. So a task that is shorter than its memory leaves no unset
examples. Differs from the code behind the table of Hsu et al.: that code filled the memories twice after a task, as if
it were two tasks.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base.errors import UserError, check_either
from methods.base.method import Method
from methods.base.net import gradient
from methods.base.options import Count, Need, NonNegative
from methods.base.projection import dual
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

    needs: ClassVar[dict[str, Need]] = {
        "margin_mode": Need("a margin above 0", lambda own: own.margin > 0),
        "eps_relative": Need("an eps above 0", lambda own: own.eps > 0),
    }
    presets: ClassVar[dict[str, dict]] = {
        "paper": {"margin_mode": "shift"},
        "pure": {"margin": 0.0, "eps": 0.0},
        "hsu": {"memory": "random", "rehearse": True},
    }
    stacks: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        check_either(per_task=self.per_task, budget=self.budget)
        if self.memory == "last" and (self.rehearse or self.budget is not None):
            raise UserError(
                "memory = 'last' takes neither budget nor rehearse: leave them out, or give memory = 'random'"
            )

    def check_stream(self, n_tasks, n_classes):
        if self.budget is not None and self.budget < n_tasks:
            raise UserError(f"gem: budget = {self.budget} examples for {n_tasks} tasks: give at least one for each")

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.memories = []  # of each earlier task
        self.ring = Ring(self.per_task) if self.memory == "last" else None

    def before_task(self, theta, task):
        seen = len(self.memories)
        self.check_stream(seen + 1, 0)
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
            batch = memory.take(torch.arange(len(memory), device=theta.device))
            rows.append(gradient(super().loss, theta, *batch))
        return self.project(grad, torch.stack(rows))

    def project(self, grad: Tensor, G: Tensor) -> Tensor:
        """Return g~ [P] for g [P] and the constraints' gradients G [K, P]. If none is violated, return g itself."""
        # Rows of unit length in float64 keep a short row, and the rest of two opposite rows, from being rounded away.
        g, lengths = grad.double(), torch.linalg.vector_norm(G, dim=1, dtype=torch.float64)
        if not (lengths.isfinite().all() and g.isfinite().all()):
            raise FloatingPointError("a gradient of GEM's memory is not finite: the run has diverged")
        eps = self.eps * (float(lengths.square().mean()) if self.eps_relative else 1.0)
        kept = lengths > 0
        lengths, rows = lengths[kept], G[kept].double() / lengths[kept, None]
        if bool((rows @ g >= 0).all()):
            return grad
        bound, shift = (self.margin, 0.0) if self.margin_mode == "bound" else (0.0, self.margin)
        v = dual(rows, lengths, g, eps, bound) + shift
        return (g + (v * lengths) @ rows).to(grad.dtype)

    def after_task(self, theta, task):
        if self.ring:
            new = self.ring.empty()
            self.memories += [new] if new else []  # none after a task without a step
        else:
            (generator,) = self.generators("memory", theta, task)
            m = self.per_task or self.budget // (len(self.memories) + 1)
            self.memories = share(self.memories, task.train, m, generator)

"""Averaged Gradient Episodic Memory (Chaudhry et al., 2019, eqs. 10 and 11).

    g_ref = gradient of the mean loss on a random batch from the memories of all earlier tasks
    g~    = g                                         if g . g_ref >= 0
            g - (g . g_ref) / (g_ref . g_ref) g_ref   otherwise

As in the released code, the memory of a task holds the last examples of each of its classes. The paper draws them from
the task at random. The reference batch is drawn without replacement. A memory smaller than the batch is used whole. As
in the released code, the forward pass of the reference batch is in training mode.

Other code differs. `vdv` adds `eps` to the denominator. `mammoth` keeps as many examples of each task as a training
batch holds. It draws them at random, whatever the size of the memory.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from methods.base.method import Method
from methods.base.net import gradient
from methods.base.options import Count, NonNegative
from methods.base.projection import against
from methods.memory.ring import Ring
from methods.memory.shares import draw


@dataclass
class AGEM(Method):
    """per_class: examples kept of each class of a task; None: one batch of each task.

    batch_memory: examples in the reference batch. eps: added to g_ref . g_ref.
    """

    per_class: Count | None
    batch_memory: Count = 256
    eps: NonNegative = 0.0

    presets: ClassVar[dict[str, dict]] = {"vdv": {"eps": 1e-7}, "mammoth": {"per_class": None}}
    stacks: ClassVar[bool] = False

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.kept = None  # examples of earlier tasks
        self.batch = 0  # examples in a training batch
        self.ring = Ring(self.per_class) if self.per_class else None

    def before_task(self, theta, task):
        (self.draws,) = self.generators("agem", theta, task)
        self.kept = self.kept and task.remask(self.kept)
        self.own = task.train.y.unique()  # the ring has no places for the units of other tasks
        return task

    def loss(self, theta, x, y, mask):
        self.batch = max(self.batch, len(y))
        if self.ring:
            self.ring.add(x, y, mask, torch.searchsorted(self.own, y), len(self.own))
        return super().loss(theta, x, y, mask)

    def after_backward(self, theta, grad):
        if not self.kept:
            return grad
        chosen = torch.randperm(len(self.kept), generator=self.draws)[: self.batch_memory]
        batch = self.kept.take(chosen.to(theta.device))
        return against(grad, gradient(super().loss, theta, *batch), self.eps)

    def after_task(self, theta, task):
        if self.ring:
            new = self.ring.empty()
        else:
            (generator,) = self.generators("memory", theta, task)
            new = draw(task.train, self.batch, generator)
        self.kept, self.own = (self.kept + new).merge() if self.kept else new, None

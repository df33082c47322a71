"""Averaged Gradient Episodic Memory (Chaudhry et al., 2019, eqs. 10 and 11).

    g_ref = gradient of the mean loss on a random batch from the memories of all earlier tasks
    g~    = g                                         if g . g_ref >= 0
            g - (g . g_ref) / (g_ref . g_ref) g_ref   otherwise

The memory of a task holds the last examples of each of its classes. The reference batch is drawn without replacement,
and is the whole memory where that is smaller; its forward pass is in training mode, as released.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.errors import check_whole
from methods.base import Method
from methods.ring import Ring


@dataclass
class AGEM(Method):
    """per_class: examples kept of each class of a task. batch_memory: examples in the reference batch."""

    per_class: int
    batch_memory: int = 256

    def __post_init__(self):
        super().__post_init__()
        check_whole("per_class", self.per_class)
        check_whole("batch_memory", self.batch_memory)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.refuse_replicas(theta)
        self.kept = None  # examples of earlier tasks

    def before_task(self, theta, task):
        (self.draws,) = self.generators("agem", theta, task)
        self.kept = self.kept and task.remask(self.kept)
        self.ring = Ring(self.per_class, groups=task.train.parts[0].mask.shape[-1])
        return task

    def loss(self, theta, x, y, mask):
        self.ring.add(x, y, mask, group=y)
        return super().loss(theta, x, y, mask)

    def after_backward(self, theta, grad):
        if self.kept is None:
            return grad
        chosen = torch.randperm(len(self.kept), generator=self.draws)[: self.batch_memory]
        x, y, mask = self.kept.take(chosen.to(theta.device))
        variable = theta.detach().requires_grad_()
        (reference,) = torch.autograd.grad(super().loss(variable, x, y, mask), variable)
        return project(grad, reference)

    def after_task(self, theta, task):
        new = self.ring.examples()
        self.kept = (self.kept + new).merge() if self.kept else new
        self.ring = None


def project(grad: Tensor, reference: Tensor) -> Tensor:
    """grad [P] without its part against `reference` [P]; grad itself where they agree or the reference is 0."""
    product = grad @ reference
    if product >= 0:
        return grad
    return grad.sub(reference, alpha=float(product / (reference @ reference)))

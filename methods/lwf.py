"""Learning without Forgetting (Li and Hoiem, 2017, eqs. 2 to 4).

    L = L_k + lam * sum over old heads h of KD_h
    KD_h = 1/N sum_n - sum_{c in h} softmax_h(v_n / T)_c log softmax_h(z_n / T)_c      no factor T^2

z are the logits of the network in training, v those of the network as it was before the task, in evaluation mode, on
the same images, the new task's. In task-IL each earlier task has its head. Where tasks share units there is one old
head, of the units trained so far: in domain-IL all units, in class-IL those of the classes seen (whatever future units
L_k may use); class-IL that trains current units only keeps one head for each task.

Differs from the paper: no epochs that train the new head alone, and v is computed when it is needed, not recorded.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.errors import check_number
from methods.base import Method, cross_entropy


@dataclass
class LwF(Method):
    """lam: weight of the distillation. T: its temperature."""

    lam: float = 1.0
    T: float = 2.0

    strength: ClassVar[str] = "lam"

    def __post_init__(self):
        super().__post_init__()
        check_number("T", self.T, "a finite number > 0", lambda value: value > 0)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.heads: list[Tensor] = []  # the units of each old head
        self.teacher = None

    def before_task(self, theta, task):
        if self.heads and self.lam:
            self.teacher = deepcopy(self.net), theta.clone()  # a copy of the module: its batch statistics stay old too
        return task

    def loss(self, theta, x, y, mask):
        logits = self.net(theta, x, train=True)
        loss = cross_entropy(logits + mask, y)
        if self.teacher is None:
            return loss
        net, old = self.teacher
        with torch.no_grad():
            targets = net(old, x)
        pairs = ((logits.index_select(-1, head), targets.index_select(-1, head)) for head in self.heads)
        return loss + self.lam * sum(distillation(z, v, self.T) for z, v in pairs)

    def after_task(self, theta, task):
        self.teacher = None
        if task.own_units:
            mask = task.train.parts[0].mask
            self.heads.append((mask == 0).view(-1, mask.shape[-1]).any(0).nonzero().flatten())
        else:
            labels = torch.cat([part.y for part in task.train.parts])
            self.heads = [torch.cat([*self.heads, labels]).unique()]


def distillation(logits: Tensor, targets: Tensor, T: float) -> Tensor:
    """Cross entropy [...] of softmax(logits / T) against softmax(targets / T) over one head [..., B, C], the mean."""
    return -((targets / T).softmax(-1) * (logits / T).log_softmax(-1)).sum(-1).mean(-1)

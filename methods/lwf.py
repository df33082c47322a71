"""Learning without Forgetting (Li and Hoiem, 2017, eqs. 2 to 4).

    L = L_k + lam * sum over old heads h of KD_h
    KD_h = 1/N sum_n - sum_{c in h} softmax_h(v_n / T)_c log softmax_h(z_n / T)_c      no factor T^2

z are the logits of the network in training. v are those of the network before the task, in evaluation mode, on the same
images of the new task. In task-IL each earlier task has its head. Where tasks share units there is one old head of the
units trained so far. In domain-IL these are all units. In class-IL they are the units of the classes seen, whatever
future units L_k may use. Class-IL that trains only current units keeps one head for each task.

van de Ven and Tolias (2019) weight by the number k of tasks so far (`vdv`):

    L = 1/k L_k + (1 - 1/k) lam T^2 * mean over old heads h of KD_h

Where tasks share units, their old head has all units that the task before may use. The softmax of z is over all units
that L_k may use, and the softmax of v gives the others 0. Until May 2019 their code, and so their tables, had a mean
over c in KD_h in place of the sum (`unit_mean`; preset `vdv2018`). The mean was over the units that L_k may use,
or over those of the head. Their code of 2022 has (`vdv2022`)

    L = L_k + n lam * mean over old heads h of KD_h      n = k - 1; class-IL: n = 1

Differs from the paper: no epochs train the new head alone first. Such epochs would have to hold the other parameters
still. Adam moves them at a gradient of 0, because it has moments of the task before.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base.examples import Task
from methods.base.method import Method, cross_entropy
from methods.base.options import NonNegative, Positive
from methods.memory.distillation import by_head, distillation, kept_heads
from methods.memory.teacher import Teacher


@dataclass
class LwF(Method):
    """lam: weight of the distillation. T: its temperature. weighting: `sum` of the losses, `vdv` or `vdv2022`, above.

    unit_mean: the cross entropy of the distillation is a mean over units, not their sum.
    """

    lam: NonNegative = 1.0
    T: Positive = 2.0
    weighting: Literal["sum", "vdv", "vdv2022"] = "sum"
    unit_mean: bool = False

    strength: ClassVar[str] = "lam"
    presets: ClassVar[dict[str, dict]] = {
        "vdv": {"weighting": "vdv"},
        "vdv2018": {"weighting": "vdv", "unit_mean": True},
        "vdv2022": {"weighting": "vdv2022"},
    }

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.heads: list[Tensor] = []  # the units of each old head
        self.teacher = None

    def before_task(self, theta, task):
        if self.heads and self.lam:
            self.teacher = Teacher(self.net, theta, task.train)
        self.in_use = None if task.own_units or self.weighting == "sum" else task.units
        self.weights = self._weights(task)
        return task

    def before_batch(self, index):
        if self.teacher:
            self.teacher.expect(index)

    def loss(self, theta, x, y, mask):
        if self.teacher is None:
            return super().loss(theta, x, y, mask)
        targets = self.teacher.outputs(x)
        logits = self.net(theta, x, train=True)
        loss = cross_entropy(logits + mask, y)
        KD = [self._distil(*head) for head in by_head(logits, targets, self.heads, self.in_use)]
        new, old = self.weights
        return new * loss + old * sum(KD)

    def after_task(self, theta, task):
        self.teacher = self.in_use = None
        if self.weighting == "sum" and not task.own_units:
            self.heads = [torch.cat([*self.heads, task.train.y]).unique()]
        else:
            self.heads = kept_heads(self.heads, task)

    def _weights(self, task: Task) -> tuple[float, float]:
        """Return the factors of L_k and of the sum of KD over old heads."""
        k, n_heads = task.index + 1, max(len(self.heads), 1)
        if self.weighting == "vdv":
            return 1 / k, (1 - 1 / k) * self.lam * self.T**2 / n_heads
        if self.weighting == "vdv2022":
            n = 1 if task.scenario == "class" else k - 1
            return 1.0, n * self.lam / n_heads
        return 1.0, self.lam

    def _distil(self, z: Tensor, v: Tensor) -> Tensor:
        KD = distillation(z, v, self.T)
        return KD / z.shape[-1] if self.unit_mean else KD

"""Naive rehearsal mixes a few examples of earlier tasks into the training set (Hsu et al., 2018).

After task k the memory holds floor(budget / k) examples of each task seen, drawn at random without replacement. The
memories of earlier tasks are cut to their first examples. A later task trains on its own data and on the memory. The
memory is repeated max(1, floor(N_k / budget)) times, so that old and new are about 1:1 in an epoch
(methods/memory/shares.py).
"""

from dataclasses import dataclass
from typing import ClassVar

from methods.base.errors import UserError
from methods.base.method import Method
from methods.base.options import Count
from methods.memory.shares import rehearsed, share


@dataclass
class Rehearsal(Method):
    """budget: examples kept, in total."""

    budget: Count

    stacks: ClassVar[bool] = False

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.memories = []

    def check_stream(self, n_tasks, n_classes):
        if self.budget < n_tasks:
            short = f"budget = {self.budget} examples for {n_tasks} tasks"
            raise UserError(f"rehearsal: {short}: give at least one for each")

    def before_task(self, theta, task):
        self.check_stream(len(self.memories) + 1, 0)
        return rehearsed(task, self.memories, self.budget) if self.memories else task

    def after_task(self, theta, task):
        (generator,) = self.generators("memory", theta, task)
        self.memories = share(self.memories, task.train, self.budget // (len(self.memories) + 1), generator)

"""Naive rehearsal: a few examples of earlier tasks are mixed into the training set (Hsu et al., 2018).

After task k the memory holds floor(budget / k) examples of each task seen, drawn at random without replacement; those
kept earlier are cut to their first ones. A later task trains on its own data and the memory, the memory repeated
max(1, floor(N_k / budget)) times, so that old and new are about 1:1 in an epoch (methods/memory/shares.py).
"""

from dataclasses import dataclass

from methods.base.errors import check_whole
from methods.base.method import Method
from methods.memory.shares import rehearsed, share


@dataclass
class Rehearsal(Method):
    """budget: examples kept, in total."""

    budget: int

    def __post_init__(self):
        super().__post_init__()
        check_whole("budget", self.budget)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.refuse_replicas(theta)
        self.memory = []

    def before_task(self, theta, task):
        return rehearsed(task, self.memory, self.budget) if self.memory else task

    def after_task(self, theta, task):
        (generator,) = self.generators("memory", theta, task)
        self.memory = share(self.memory, task.train, self.budget // (len(self.memory) + 1), generator)

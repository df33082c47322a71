"""Experience replay from a reservoir (Vitter, 1985; Chaudhry et al., 2019, "ER").

    step:   loss = mean of the cross entropy over B new examples and B_m examples drawn from the memory
    memory: each example seen so far is kept with the same probability, memory / number seen

The memory is filled at the end of a task, once with each of its examples: training on several epochs does not offer an
example twice, and a task never replays itself.
"""

from dataclasses import dataclass

import torch

from benchmarks.errors import check_whole
from methods.base import Method, cross_entropy


@dataclass
class Replay(Method):
    """memory: examples kept, in total. batch_memory: examples replayed in a step (all, if the memory holds fewer)."""

    memory: int
    batch_memory: int

    def __post_init__(self):
        super().__post_init__()
        check_whole("memory", self.memory)
        check_whole("batch_memory", self.batch_memory)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.refuse_replicas(theta)
        self.kept, self.seen = None, 0

    def before_task(self, theta, task):
        (self.draws,) = self.generators("replay", theta, task)
        self.kept = self.kept and task.remask(self.kept)
        return task

    def loss(self, theta, x, y, mask):
        if self.kept is None:
            return super().loss(theta, x, y, mask)
        chosen = torch.randperm(len(self.kept), generator=self.draws)[: self.batch_memory]
        old_x, old_y, old_mask = self.kept.take(chosen)
        masks = torch.cat([mask.expand(len(y), -1), old_mask.expand(len(old_y), -1)])
        return cross_entropy(self.net(theta, torch.cat([x, old_x]), train=True) + masks, torch.cat([y, old_y]))

    def after_task(self, theta, task):
        (generator,) = self.generators("reservoir", theta, task)
        slots = list(range(len(self.kept))) if self.kept else []
        offset = len(slots)  # the new examples follow the kept ones in the pool below
        for n in range(len(task.train)):
            if len(slots) < self.memory:
                slots.append(offset + n)
            else:
                place = int(torch.randint(self.seen + n + 1, (), generator=generator))
                if place < self.memory:
                    slots[place] = offset + n
        self.seen += len(task.train)
        pool = self.kept + task.train if self.kept else task.train
        self.kept = pool.select(torch.tensor(slots))

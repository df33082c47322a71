"""Experience replay (Chaudhry et al., 2019, "ER").

    step:   loss = mean of the cross entropy over B new examples and B_m examples drawn from the memory
    memory: M of the examples that came, chosen by the buffer (methods/memory/buffers.py)

`weighting` weighs the mean over the new examples and the mean over the replayed ones, after one forward pass of all:

    joint   (B new + B_m replayed) / (B + B_m), as above;      half    1/2 new + 1/2 replayed
    vdv     1/k new + (1 - 1/k) replayed        k: tasks so far, this one included (van de Ven et al., 2022)

The memory is filled at the end of a task, once with each of its examples, in their order. So several epochs do not
offer an example twice, and a task never replays itself. With `replay_current` each step fills it with the batch that is
trained on, as in the paper. Then a task replays itself too, and a second epoch offers all examples again.

In domain-IL each task has classes of its own in the buffer. With `per_class` in place of `memory` each class has that
many places, from its task on (van de Ven et al., 2022).

Differs from the paper: the classes so far share the memory, not all to come. Differs from van de Ven's code: new and
replayed examples share a pass and its batch statistics. Each step draws its examples, theirs come in epochs.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from methods.base.errors import UserError, check_either
from methods.base.examples import Examples, Part
from methods.base.method import Method, cross_entropy
from methods.base.options import Count
from methods.memory.buffers import BUFFERS, fill


@dataclass
class Replay(Method):
    """batch_memory: examples replayed in a step (all, if the memory holds fewer).

    memory: examples kept, in total; or per_class: of each class, in a buffer that has shares. buffer: which are kept.
    weighting: of new and replayed examples, above. replay_current: whether a task replays itself.
    """

    batch_memory: Count
    memory: Count | None = None
    per_class: Count | None = None
    buffer: Literal[*BUFFERS] = "reservoir"
    weighting: Literal["joint", "half", "vdv"] = "joint"
    replay_current: bool = False

    stacks: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        check_either(memory=self.memory, per_class=self.per_class)
        if self.per_class is not None and self.buffer == "reservoir":
            raise UserError("buffer = 'reservoir' has no classes: give memory, or buffer = 'ring' or 'class_balanced'")

    def check_stream(self, n_tasks, n_classes):
        if self.memory is not None and self.buffer != "reservoir" and n_classes > self.memory:
            wanted = f"buffer {self.buffer!r} needs a place for each (raise memory, or take buffer 'reservoir')"
            raise UserError(f"replay: memory = {self.memory} for {n_classes} classes of {n_tasks} tasks: {wanted}")

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.kept: Examples | None = None
        self.places, self.seen = {}, {}  # of each group of the buffer: its places in `kept`; how many came

    def before_task(self, theta, task):
        self.k = task.index + 1
        # In domain-IL tasks share units, and the classes of each are groups of their own. Elsewhere a class may return.
        self.offset = self.k * task.train.parts[0].mask.shape[-1] if task.scenario == "domain" else 0
        groups = {*self.places, *(task.train.y.unique() + self.offset).tolist()}
        self.check_stream(self.k, len(groups))
        (self.draws,), (self.filling,) = (self.generators(role, theta, task) for role in ("replay", self.buffer))
        self.kept = self.kept and task.remask(self.kept).merge()
        return task

    def loss(self, theta, x, y, mask):
        old = self._drawn()
        if self.replay_current:  # after the draw, so that no batch is replayed beside itself
            self._fill(Examples((Part(x, torch.arange(len(y), device=y.device), y, mask),)))
        if old is None:
            return super().loss(theta, x, y, mask)
        old_x, old_y, old_mask = old
        masks = torch.cat([mask.expand(len(y), -1), old_mask])
        logits = self.net(theta, torch.cat([x, old_x]), train=True) + masks
        if self.weighting == "joint":
            return cross_entropy(logits, torch.cat([y, old_y]))
        new = 1 / 2 if self.weighting == "half" else 1 / self.k
        return new * cross_entropy(logits[: len(y)], y) + (1 - new) * cross_entropy(logits[len(y) :], old_y)

    def after_task(self, theta, task):
        if not self.replay_current:
            self._fill(task.train)
        self.kept = self.kept and self.kept.merge()  # without the room that its buffer left for more

    def _drawn(self):
        """Return pixels, units and masks to replay; None if there are none, or if they weigh nothing."""
        if self.kept and not (self.weighting == "vdv" and self.k == 1):
            return self.kept.take(torch.randperm(len(self.kept), generator=self.draws)[: self.batch_memory])

    def _fill(self, new: Examples) -> None:
        groups = new.y * 0 if self.buffer == "reservoir" else new.y + self.offset
        draws = None if self.buffer == "ring" else self.filling
        memory = self.memory or self.per_class * len({*self.places, *groups.tolist()})
        self.kept = fill(self.kept, new, groups.tolist(), self.places, self.seen, memory, draws)

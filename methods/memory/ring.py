"""The episodic memory of GEM and A-GEM holds the last examples that a task trained on, in order.

The papers see each example once. In a second epoch an example comes again, and a memory that is not yet full keeps it
twice.

Both fill it in every step, so it is written with whole-batch operations on the device. A replay buffer of the same name
(buffers.py) shares its places among classes, which come and go.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base.examples import Examples, Part
from methods.base.state import Stateful


class Ring(Stateful):
    """Keep copies of the last `size` examples of each group. A new example takes the place of the oldest."""

    def __init__(self, size: int):
        self.size = size
        self._forget()

    def _forget(self) -> None:
        self.seen: Tensor | None = None  # [groups] how many came
        self.x = self.y = self.mask = None

    def add(self, x: Tensor, y: Tensor, mask: Tensor, group: Tensor, groups: int) -> None:
        """Add pixels [B, ...], units [B] and mask [C] or [B, C] of a batch. Each example has a `group` [B] < groups."""
        if self.seen is None:
            places = self.size * groups
            self.seen = y.new_zeros(groups)
            self.x, self.y = x.new_empty(places, *x.shape[1:]), y.new_empty(places)
            self.mask = mask.new_empty(places, mask.shape[-1])
        member = F.one_hot(group, groups)
        rank = (member.cumsum(0) * member).sum(1) - 1  # how many of its own group came before it in the batch
        total = member.sum(0)
        kept = (rank >= total[group] - self.size).nonzero().flatten()  # no place is written twice
        place = (group * self.size + (self.seen[group] + rank) % self.size)[kept]
        for held, given in ((self.x, x), (self.y, y), (self.mask, mask.expand(len(y), -1))):
            held.index_copy_(0, place, given.index_select(0, kept))
        self.seen += total

    def empty(self) -> Examples:
        """Return the examples kept, and forget them."""
        kept = self.examples()
        self._forget()
        return kept

    def examples(self) -> Examples:
        """Return the examples kept. Places that were never filled are left out."""
        if self.seen is None:
            return Examples(())
        filled = torch.arange(self.size, device=self.seen.device) < self.seen[:, None]
        rows = filled.flatten().nonzero().flatten()
        return Examples((Part(self.x, rows, self.y[rows], self.mask[rows]),)).merge()

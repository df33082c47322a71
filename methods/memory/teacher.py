"""The network before the task, whose outputs on the task's examples LwF and iCaRL keep.

Both papers record these outputs before they train. So does `Teacher` where the loop says which examples a batch holds
(`Method.before_batch`): once in a task, in large batches. Where it does not, as in an Avalanche strategy, whose loader
may also change the images, the outputs are computed batch by batch; the two agree to rounding.
"""

from copy import deepcopy

import torch
from torch import Tensor

from methods.base.examples import Examples

BATCH = 1000  # examples in one pass


class Teacher:
    """A copy of the network at theta [..., P], in evaluation mode; its batch statistics stay old too."""

    def __init__(self, net, theta: Tensor, examples: Examples):
        self.net, self.theta = deepcopy(net), theta.clone()
        self.examples: Examples | None = examples  # until they are recorded
        self.index: Tensor | None = None
        self.recorded: Tensor | None = None  # logits [..., N, C] of the examples

    def expect(self, index: Tensor) -> None:
        """The next batch holds the examples at `index` [..., B]."""
        self.index = index

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        """Logits [..., B, C] of the batch x [..., B, *shape]."""
        index, self.index = self.index, None
        if index is None:
            return self.net(self.theta, x)
        if self.recorded is None:
            lead = self.theta.shape[:-1]
            passes = [self.net(self.theta, x.expand(*lead, *x.shape)) for x, _, _ in self.examples.batches(BATCH)]
            self.recorded, self.examples = torch.cat(passes, dim=-2), None
        return self.recorded.take_along_dim(index.unsqueeze(-1), dim=-2)

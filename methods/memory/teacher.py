"""The teacher is the network before the task. LwF and iCaRL keep its outputs on the task's examples, to distil them.

Both papers record these outputs before they train. `Teacher` does so once in a task, in large batches, if the loop says
which examples a batch holds (`Method.before_batch`). An Avalanche strategy does not say it, and its loader may also
change the images. Then the outputs are computed batch by batch. The two ways agree to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from methods.base.examples import Examples


class Teacher:
    """Run the network at a theta [..., P] of its own, in evaluation mode, with the old buffers (batch statistics).

    The network is a function of theta, so the module is not copied. It runs with the old buffers in place.
    """

    def __init__(self, net, theta: Tensor, examples: Examples):
        self.net, self.theta = net, theta.clone()
        places = [(m._buffers, key) for m in net.module.modules() for key, b in m._buffers.items() if b is not None]
        self.buffers = [(buffers, key, buffers[key].clone()) for buffers, key in places]
        self.examples: Examples | None = examples  # until they are recorded
        self.index: Tensor | None = None
        self.recorded: Tensor | None = None  # logits [..., N, C] of the examples

    def expect(self, index: Tensor) -> None:
        """Note that the next batch holds the examples at `index` [..., B]."""
        self.index = index

    @torch.no_grad()
    def outputs(self, x: Tensor) -> Tensor:
        """Return logits [..., B, C] of the batch x [..., B, *shape]."""
        index, self.index = self.index, None
        with self._old_buffers():
            if index is None:
                return self.net(self.theta, x)
            if self.recorded is None:
                inputs = (self.examples.spread(x, self.theta) for x, _, _ in self.examples.batches())
                passes = [self.net(self.theta, x) for x in inputs]
                self.recorded, self.examples = torch.cat(passes, dim=-2), None
        return self.recorded.take_along_dim(index.unsqueeze(-1), dim=-2)

    @contextmanager
    def _old_buffers(self) -> Iterator[None]:
        """Exchange the tensors, not their values. The graph of the batch in training may hold the new tensors."""
        new = [(buffers, key, buffers[key]) for buffers, key, _ in self.buffers]
        try:
            for buffers, key, old in self.buffers:
                buffers[key] = old
            yield
        finally:
            for buffers, key, value in new:
                buffers[key] = value

"""Per-sample squared gradients of the batch that is trained on, from the backward pass that trains on it.

    mean_n G_n^2 [P]        G_n: gradient of the task loss of example n alone

Where linear layers account for the whole gradient (persample.py), the inputs and output gradients of the
training pass itself give the squares, dropout included, for one matrix product a layer. The task loss is a mean over
B examples, so example n's gradient at an output is B times what the pass delivers. (Batch normalisation without
parameters couples the examples; what is squared is then what the batch's loss owes to each.)

Other networks, and several replicas at once, pay for a second pass in evaluation mode, of the cross entropy over the
units that the mask allows.
"""

from collections import Counter
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from methods.importance.fisher import scores
from methods.importance.layers import Uses, wide
from methods.importance.persample import add, plan_of, sums


class Squares:
    """Used around each forward pass: `with squares.watch(theta, x)`, and after its backward pass `squares.mean`."""

    def __init__(self, net):
        self.net = net
        self._total: Tensor | None = None  # kept: fresh pages for it cost time in every step

    def watch(self, theta: Tensor, x: Tensor) -> AbstractContextManager:
        """What the forward pass of a batch [..., B, *shape] is to be made within."""
        self._pass = None
        if theta.dim() == 1:
            self._plan = plan_of(self.net, theta, x)
            if len(self._plan.uses) == len(self.net.shapes):
                self._pass = _Watched(self.net, theta, len(x))
        return self._pass or nullcontext()

    def mean(self, theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """mean_n G_n^2 [..., P] of the batch at theta, which the step has not moved yet; good until the next call."""
        watched, self._pass = self._pass, None
        if watched is None or not watched.is_like(self._plan.uses):
            return _second_pass(self.net, theta, x, y, mask)
        self._total = total = torch.zeros_like(wide(theta)) if self._total is None else self._total.zero_()
        pairs = [(watched.uses[n], wide(delta)) for n, delta in watched.deltas.items()]
        add(self.net.views(total), [pairs], torch.square, scale=len(x))
        return total


class _Watched:
    """The uses in a pass of the module that trains, and their deltas by whatever backward pass comes."""

    def __init__(self, net, theta: Tensor, n_examples: int):
        places = {(view.data_ptr(), view.shape): name for name, view in net.views(theta).items()}
        self._module = net.module
        self._found = Uses(lambda p: places.get((p.data_ptr(), p.shape)), n_examples, cut=False)
        self.uses = self._found.uses
        self.deltas: dict[int, Tensor] = {}  # by the place of the use

    def __enter__(self):
        """Only the module's own forward pass is watched: the mode costs time in each function called within it."""
        module, found = self._module, self._found
        self._handles = (
            module.register_forward_pre_hook(lambda *_: found.__enter__() and None),
            module.register_forward_hook(lambda *_: found.__exit__(None, None, None), always_call=True),
        )

    def __exit__(self, *error) -> None:
        for handle in self._handles:
            handle.remove()
        deltas = self.deltas
        for n, use in enumerate(self.uses):
            # A hook that held the use, which holds the graph, would keep every step's activations.
            use.edge.node.register_prehook(lambda found, n=n, k=use.edge.output_nr: deltas.__setitem__(n, found[k]))

    def is_like(self, uses: dict[str, int]) -> bool:
        """Whether each parameter was used as often as in the pass of which the rules are known to hold."""
        return Counter(name for use in self.uses for name in use.names.values()) == Counter(uses)


def _second_pass(net, theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    if theta.dim() > 1:
        masks = mask.expand(*y.shape, -1)
        return torch.stack([_second_pass(net, *row) for row in zip(theta, x, y, masks, strict=True)])
    return sums(net, theta, x, lambda z: scores(z, y, mask, "empirical", None), torch.square) / len(x)

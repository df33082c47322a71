"""Per-sample squared gradients of the batch that is trained on, from the backward pass that trains on it.

    mean_n G_n^2 [P]        G_n: gradient of the task loss of example n alone

Where the rules of layers.py account for the whole gradient, the inputs and output gradients of the training pass itself
give the squares, for one matrix product a linear layer. They include dropout. The task loss is a mean over B examples,
so example n's gradient at an output is B times what the pass delivers. Batch normalisation without parameters couples
the examples: each example's square is then that of the gradient that reaches the parameters through it.

Other networks, and several replicas at once, pay for a second pass. It is made in evaluation mode, and its loss is the
cross entropy over the units that the mask allows.
"""

from collections import Counter
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from methods.base.net import by_replica
from methods.importance.example_gradients import add
from methods.importance.fisher import scores
from methods.importance.layers import Uses, wide
from methods.importance.persample import sums
from methods.importance.probe import plan_of


class Squares:
    """Watch each forward pass, `with squares.watch(theta, x)`. After its backward pass `add_mean` adds its squares."""

    def __init__(self, net):
        self.net = net
        # The vectors of the step before. A loop keeps them, so that their views are made once.
        self._theta: Tensor | None = None
        self._total: Tensor | None = None

    def watch(self, theta: Tensor, x: Tensor) -> AbstractContextManager:
        """Return the context in which to make the forward pass of a batch [..., B, *shape]."""
        self._pass = None
        if theta.dim() == 1:
            self._plan = plan_of(self.net, theta, x)
            if len(self._plan.uses) == len(self.net.shapes):
                if self._theta is not theta:
                    views = self.net.views(theta).items()
                    self._theta, self._places = theta, {(view.data_ptr(), view.shape): name for name, view in views}
                self._pass = _Watched(self.net.module, self._places, len(x))
        return self._pass or nullcontext()

    def add_mean(self, total: Tensor, theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> None:
        """Add mean_n G_n^2 [..., P] at theta to `total`, before the step moves theta."""
        watched, self._pass = self._pass, None
        if watched is None or not watched.is_like(self._plan.uses):
            total += _second_pass(self.net, theta, x, y, mask)
            return
        if self._total is not total:
            self._total, self._views = total, self.net.views(total)
        pairs = [(watched.uses[n], wide(delta)) for n, delta in watched.deltas.items()]
        add(self._views, [pairs], torch.square, scale=len(x))


class _Watched:
    """Record the uses in a training pass of the module, and their deltas in the backward pass that follows."""

    def __init__(self, module: nn.Module, places: dict[tuple[int, torch.Size], str], n_examples: int):
        self._module = module
        self._recorder = Uses(lambda p: places.get((p.data_ptr(), p.shape)), n_examples, cut=False)
        self.uses = self._recorder.uses
        self.deltas: dict[int, Tensor] = {}  # by the place of the use

    def __enter__(self):
        """Watch the module's own forward pass alone: the mode costs time in each function called within it."""
        module, recorder = self._module, self._recorder
        self._handles = (
            module.register_forward_pre_hook(lambda *_: recorder.__enter__() and None),
            module.register_forward_hook(lambda *_: recorder.__exit__(None, None, None), always_call=True),
        )

    def __exit__(self, *error) -> None:
        for handle in self._handles:
            handle.remove()
        deltas = self.deltas
        for n, use in enumerate(self.uses):
            # The hook must not hold the use: a use holds the graph, and so every step's activations would stay.
            use.edge.node.register_prehook(lambda grads, n=n, k=use.edge.output_nr: deltas.__setitem__(n, grads[k]))

    def is_like(self, uses: dict[str, int]) -> bool:
        """Say whether each parameter was used as often as in the pass on which the rules were probed."""
        return Counter(name for use in self.uses for name in use.names.values()) == Counter(uses)


def _second_pass(net, theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    def of_one(theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        return sums(net, theta, x, lambda z: scores(z, y, mask, "empirical"), torch.square) / len(x)

    batch = x, y, mask.expand(*y.shape, -1)
    return by_replica(of_one, theta, *(batch if theta.dim() > 1 else ([tensor] for tensor in batch)))

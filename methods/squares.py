"""Per-sample squared gradients of the batch that is trained on, from the backward pass that trains on it.

    mean_n G_n^2 [P]        G_n: gradient of the task loss of example n alone

Where linear layers account for the whole gradient (methods/persample.py), the inputs and output gradients of the
training pass itself give the squares, dropout included, for one matrix product a layer. The task loss is a mean over
B examples, so example n's gradient at an output is B times what the pass delivers. (Batch normalisation without
parameters couples the examples; what is squared is then what the batch's loss owes to each.)

Other networks, and several replicas at once, pay for a second pass in evaluation mode, of the cross entropy over the
units that the mask allows.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from methods.fisher import scores
from methods.persample import Layers, add_products, layers_suffice, sums


class Squares:
    """Used around each forward pass: `with squares.watch(theta, x)`, and after its backward pass `squares.mean`."""

    def __init__(self, net):
        self.net = net
        self._total: Tensor | None = None  # kept: fresh pages for it cost time in every step

    def watch(self, theta: Tensor, x: Tensor) -> AbstractContextManager:
        """What the forward pass of a batch [..., B, *shape] is to be made within."""
        self._deltas: dict[str, Tensor] = {}
        self._layers = None
        if theta.dim() == 1 and layers_suffice(self.net, theta, x):
            self._layers = _Watched(self.net, self._deltas)
        return self._layers or nullcontext()

    def mean(self, theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """mean_n G_n^2 [..., P] of the batch at theta, which the step has not moved yet; good until the next call."""
        layers, self._layers = self._layers, None
        if layers is None or not layers.used_once_by(len(x)):
            return _second_pass(self.net, theta, x, y, mask)
        self._total = total = torch.zeros_like(theta) if self._total is None else self._total.zero_()
        views = self.net.views(total)
        for name, delta in self._deltas.items():
            add_products(views, name, layers.calls[name][0].square(), delta.square().mul_(len(x)))
        layers.calls.clear()  # its outputs hold the hooks that hold it: memory would wait for the garbage collector
        return total


class _Watched(Layers):
    """Layers whose output gradients are kept, too, by whatever backward pass comes."""

    def __init__(self, net, deltas: dict[str, Tensor]):
        super().__init__(net)
        self._deltas = deltas

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        for name, (_, output) in self.calls.items():
            output.register_hook(lambda delta, name=name: self._deltas.__setitem__(name, delta))


def _second_pass(net, theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    if theta.dim() > 1:
        masks = mask.expand(*y.shape, -1)
        return torch.stack([_second_pass(net, *row) for row in zip(theta, x, y, masks, strict=True)])
    return sums(net, theta, x, lambda z: scores(z, y, mask, "empirical", None), torch.square) / len(x)

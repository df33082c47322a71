"""Sums over examples of a function of each example's own gradient, for the price of about one backward pass.

With cotangents S [N, C] at the logits, the gradient of example n is G_n = J_n^T S_n, J_n its Jacobian [C, P]. What is
returned is sum_n f(G_n) [P] with f the square or the absolute value, taken example by example.

A linear layer with inputs a [N, I] and output gradients delta [N, O] has G_n = delta_n a_n^T, and f of a product is
the product of the f's, so the sum over examples is one matrix product: f(delta)^T f(a). A network whose trainable
parameters are all used in such layers, once for each example, takes this path; any other goes example by example
through vmap. Both are exact.
"""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vjp, vmap

CHUNK = 32  # examples at a time on the vmap path: it holds one gradient [P] for each
PROBE = 4  # examples on which a network's layers are compared with autograd, once
_by_layers_alone: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def sums(net, theta: Tensor, x: Tensor, cotangents: Callable[[Tensor], Sequence[Tensor]], f: Callable) -> Tensor:
    """sum_k sum_n f(J_n^T S^k_n) [P] for theta [P], inputs [N, ...] and cotangents(logits) = [S^k [N, C], ...]."""
    if layers_suffice(net, theta, x):
        total = _by_layers(net, theta, x, cotangents, f)
        if total is not None:
            return total
    with torch.no_grad():
        seeds = cotangents(net(theta, x))
    return sum(_by_examples(net, theta, x, seed, f) for seed in seeds)


def layers_suffice(net, theta: Tensor, x: Tensor) -> bool:
    """Whether the linear layers account for the whole gradient: parameters can be tied, bare, or used functionally."""
    if net.module not in _by_layers_alone:
        some = x[:PROBE]
        total = _by_layers(net, theta, some, lambda z: [torch.ones_like(z)], lambda value: value)
        if total is not None:
            variable = theta.detach().requires_grad_()
            with torch.enable_grad():
                (truth,) = torch.autograd.grad(net(variable, some).sum(), variable)
            _by_layers_alone[net.module] = bool((total - truth).norm() <= 1e-3 * truth.norm())
        else:
            _by_layers_alone[net.module] = False
    return _by_layers_alone[net.module]


def _by_layers(net, theta, x, cotangents, f) -> Tensor | None:
    """The sums by one matrix product for each linear layer; None where a layer is not used once for each example."""
    with Layers(net) as layers, torch.enable_grad():
        logits = net(theta.detach().requires_grad_(), x)
    if not layers.used_once_by(len(x)):
        return None
    total = torch.zeros_like(theta)
    views = net.views(total)
    inputs = {name: f(a) for name, (a, _) in layers.calls.items()}
    outputs = [output for _, output in layers.calls.values()]
    seeds = cotangents(logits.detach())
    for k, seed in enumerate(seeds):
        deltas = torch.autograd.grad(logits, outputs, seed, retain_graph=k + 1 < len(seeds), allow_unused=True)
        for name, delta in zip(layers.calls, deltas, strict=True):
            if delta is not None:  # None: computed, but not part of these logits
                add_products(views, name, inputs[name], f(delta))
    return total


class Layers:
    """The linear layers of a net in the forward passes that are made within it: their inputs and their outputs."""

    def __init__(self, net):
        self._layers = {name: module for name, module in net.module.named_modules() if type(module) is nn.Linear}

    def __enter__(self):
        self.calls: dict[str, tuple[Tensor, Tensor]] = {}  # of those that take gradient: inputs, outputs
        self._again = False
        self._handles = [layer.register_forward_hook(self._keep(name)) for name, layer in self._layers.items()]
        return self

    def _keep(self, name: str) -> Callable:
        def hook(module, inputs, output):
            self._again |= name in self.calls
            if output.requires_grad:
                self.calls[name] = inputs[0].detach(), output
            return output.clone()  # what follows may work in place

        return hook

    def __exit__(self, *error) -> None:
        for handle in self._handles:
            handle.remove()

    def used_once_by(self, n_examples: int) -> bool:
        """Whether there were any, none was called twice, and each input has one row [I] for each example."""
        rows = all(a.dim() == 2 and len(a) == n_examples for a, _ in self.calls.values())
        return bool(self.calls) and rows and not self._again


def add_products(views: dict[str, Tensor], name: str, inputs: Tensor, deltas: Tensor) -> None:
    """Add sum_n deltas_n inputs_n^T, of [N, O] and [N, I], at the parameters of the linear layer `name`."""
    if f"{name}.weight" in views:
        views[f"{name}.weight"].addmm_(deltas.T, inputs)
    if f"{name}.bias" in views:
        views[f"{name}.bias"].add_(deltas.sum(0))


def _by_examples(net, theta, x, seed, f) -> Tensor:
    def gradient(x, seed):
        _, pull = vjp(lambda theta: net(theta, x[None])[0], theta)
        return pull(seed)[0]

    chunks = zip(x.split(CHUNK), seed.split(CHUNK), strict=True)
    return sum(f(vmap(gradient)(some_x, some_seed)).sum(0) for some_x, some_seed in chunks)

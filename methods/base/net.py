"""A network as a function of one vector: logits = net(theta, x).

theta [..., P] holds every trainable parameter once, in the order of `named_parameters()`; tied parameters appear once
and their gradient is the sum over their uses. `[P]` is one network, `[R, P]` is R replicas, and this is the only file
that looks at the difference.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from methods.base.errors import UserError


class Net:
    """A module seen as a function of its trainable parameters; its buffers stay with the module."""

    def __init__(self, module: nn.Module):
        self.module = module
        self._modules = list(module.modules())
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not parameters:
            raise ValueError("the network has no trainable parameter: nothing can be learnt")
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self.sizes = [p.numel() for p in parameters.values()]
        self.n_parameters = sum(self.sizes)  # P
        # Where the modules keep them, tied ones in several places: (modules' dictionary, key, index of the parameter).
        index = {id(p): n for n, p in enumerate(parameters.values())}
        held = [(m._parameters, key, p) for m in self._modules for key, p in m._parameters.items()]
        self._places = [(own, key, index[id(p)]) for own, key, p in held if id(p) in index]

    def vector(self) -> Tensor:
        """The module's own parameters as theta [P]."""
        parameters = dict(self.module.named_parameters())
        return torch.cat([parameters[name].detach().flatten() for name in self.shapes])

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Parameter tensors [..., *shape] by name, as views of theta [..., P]."""
        lead = theta.shape[:-1]
        pieces = theta.split(self.sizes, dim=-1)  # one split, not slices: its backward is one concatenation
        named = zip(pieces, self.shapes.items(), strict=True)
        return {name: piece.view(*lead, *shape) for piece, (name, shape) in named}

    def __call__(self, theta: Tensor, x: Tensor, train: bool = False) -> Tensor:
        """Logits [..., N, C] for theta [..., P], inputs [..., N, *shape]; `train` turns dropout and batch norm on."""
        return self._run(self._one, theta, x, train)

    def call(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        """Logits [N, C] in evaluation mode, the parameters given by name as `views` names them."""
        with self._mode(train=False):
            return self._with(parameters, x)

    def features(self, theta: Tensor, x: Tensor) -> Tensor:
        """Penultimate features [..., N, D'] in evaluation mode: what the module's `head` is given."""
        self.last_layer(theta, x)
        return self._run(self._head_input, theta, x, train=False)

    def last_layer(self, theta: Tensor, x: Tensor) -> nn.Module:
        """The layer whose output is the logits: the module's `head`."""
        if not isinstance(getattr(self.module, "head", None), nn.Module):
            name = type(self.module).__name__
            raise UserError(f"{name} has no `head`: features are the input of a layer of that name, the network's last")
        return self.module.head

    def _run(self, function: Callable, theta: Tensor, x: Tensor, train: bool) -> Tensor:
        with self._mode(train):
            if theta.dim() == 1:
                return function(theta, x)
            return torch.vmap(function, randomness="different")(theta, x)

    @contextmanager
    def _mode(self, train: bool) -> Iterator[None]:
        others = [module for module in self._modules if module.training != train]
        for module in others:
            module.training = train
        try:
            yield
        finally:
            for module in others:
                module.training = not train

    def _one(self, theta: Tensor, x: Tensor) -> Tensor:
        return self._with(self.views(theta), x)

    def _with(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        """What torch.func.functional_call does; it looks every name up in each call, a tenth of a small net's step."""
        given = [parameters[name] for name in self.shapes]
        own = [places[key] for places, key, _ in self._places]
        try:
            for places, key, n in self._places:
                places[key] = given[n]
            return self.module(x)
        finally:
            for (places, key, _), p in zip(self._places, own, strict=True):
                places[key] = p

    def _head_input(self, theta: Tensor, x: Tensor) -> Tensor:
        given = []
        hook = self.module.head.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
        try:
            self._one(theta, x)
        finally:
            hook.remove()
        if len(given) != 1:
            raise UserError(f"the network uses its `head` {len(given)} times: features need it used once")
        return given[0]


def by_replica(function: Callable[..., Tensor], theta: Tensor, *others: Sequence) -> Tensor:
    """The stack of function(theta[r], other[r], ...) over r for theta [R, P]; function(theta, other[0]) for [P]."""
    if theta.dim() == 1:
        return function(theta, *(other[0] for other in others))
    return torch.stack([function(*row) for row in zip(theta, *others, strict=True)])

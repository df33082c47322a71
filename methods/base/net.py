"""A network is a function of one vector: logits = net(theta, x).

theta [..., P] holds every trainable parameter once, in the order of `named_parameters()`. A tied parameter appears
once, and its gradient is the sum over its uses. `[P]` is one network and `[R, P]` is R replicas.

The outputs of a forward pass at theta depend on theta alone. So a backward pass sees the same parameters and modes as
the forward pass did, also where it repeats a part of it (torch.utils.checkpoint). A module whose outputs depend on
something else is refused.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.autograd.graph import get_gradient_edge

from methods.base.errors import UserError


class Net:
    """Present a module as a function of its trainable parameters. Its buffers stay with the module.

    `head` names the module's last layer, as in `named_modules()`. Without it `last_layer` looks for the layer.
    """

    def __init__(self, module: nn.Module, head: str | None = None):
        self.module = module
        self._modules = list(module.modules())
        parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        _check(module, parameters, head)
        self.shapes = {name: p.shape for name, p in parameters.items()}
        self.sizes = [p.numel() for p in parameters.values()]
        self.n_parameters = sum(self.sizes)  # P
        # The modules keep them in places (module's dictionary, key, index of the parameter). Tied ones have several.
        index = {id(p): n for n, p in enumerate(parameters.values())}
        held = [(m._parameters, key, p) for m in self._modules for key, p in m._parameters.items()]
        self._places = [(own, key, index[id(p)]) for own, key, p in held if id(p) in index]
        self._head = module.get_submodule(head) if head is not None else getattr(module, "head", None)
        self.points: WeakValueDictionary[int, Point] = WeakValueDictionary()  # by the id of their variables
        self._unchecked = 2  # A value that the first pass keeps shows in the second.

    def vector(self) -> Tensor:
        """Return the module's own parameters as theta [P]."""
        parameters = dict(self.module.named_parameters())
        return torch.cat([parameters[name].detach().flatten() for name in self.shapes])

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the parameters [..., *shape] by name, as views of theta [..., P]."""
        if point := self.points.get(id(theta)):
            return point.views
        lead = theta.shape[:-1]
        if theta.shape[-1] != self.n_parameters:
            raise UserError(f"theta {list(theta.shape)} is not [..., {self.n_parameters}], the network's parameters")
        pieces = theta.split(self.sizes, dim=-1)  # One split, not slices: its backward pass is one concatenation.
        named = zip(pieces, self.shapes.items(), strict=True)
        return {name: piece.view(lead + shape) for piece, (name, shape) in named}

    def __call__(self, theta: Tensor, x: Tensor, train: bool = False) -> Tensor:
        """Return logits [..., N, C] for theta [..., P] and inputs [..., N, *shape].

        `train` turns on dropout and the statistics of the batch.
        """
        axis = theta.dim() - 1
        if not train and x.shape[axis] == 1 and torch.is_grad_enabled():
            # In torch 2.12 and 2.13 the gradient of batch norm can be wrong for one image, so it goes in twice.
            return self(theta, torch.cat([x, x], axis)).narrow(axis, 0, 1)
        z = self._run(lambda theta, x: self._pass(self.views(theta), x, train), theta, x)
        self._check_once(z, theta, x)
        return z

    def call(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        """Return logits [N, C] in evaluation mode. The parameters have the names that `views` gives them."""
        return self._pass(parameters, x, train=False)

    def check(self, z: Tensor, given: list[Tensor]) -> None:
        """Refuse outputs z of a forward pass if autograd's graph leads from them to a tensor that was not given."""
        own = {id(p): name for name, p in self.module.named_parameters()}
        for leaf in _leaves(z, given) if z.requires_grad else ():
            what = own.get(id(leaf), "a tensor that the module keeps")
            raise UserError(
                f"the outputs depend on {what}, but not through theta: compute what depends on a parameter from the"
                " module's own attribute, in each forward pass"
            )

    def features(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the features [..., N, D'], which are the inputs of the last layer, in evaluation mode."""
        return self.with_features(theta, x)[1]

    def with_features(self, theta: Tensor, x: Tensor, train: bool = False) -> tuple[Tensor, Tensor]:
        """Return the logits and the features of one pass."""
        layer = self.last_layer(theta, x)
        z, features = self._run(lambda theta, x: self._with_input_of(layer, theta, x, train), theta, x)
        self._check_once(z, theta, x)
        return z, features

    def last_layer(self, theta: Tensor, x: Tensor) -> nn.Module:
        """Return the layer whose output is the logits. It is the named one, `head`, or the one that a pass shows."""
        if self._head is None:
            one = theta.dim() == 1
            self._head = self._find_head(theta if one else theta[0], x if one else x[0])
        return self._head

    def n_outputs(self, theta: Tensor, x: Tensor) -> int:
        """Return C. The pass takes one example of x [N, *shape] twice, because batch norm of the batch needs two."""
        with torch.no_grad():
            return self(theta, torch.cat([x[:1], x[:1]])).shape[-1]

    def _run(self, function: Callable, theta: Tensor, x: Tensor) -> Tensor:
        return function(theta, x) if theta.dim() == 1 else torch.vmap(function, randomness="different")(theta, x)

    def _pass(self, parameters: dict[str, Tensor], x: Tensor, train: bool) -> Tensor:
        given = [parameters[name] for name in self.shapes]
        with self._at(given, train):
            z = self.module(x)
        if not isinstance(z, Tensor):
            raise UserError(f"the network returned a {type(z).__name__}: it must return one tensor, the logits [N, C]")
        if z.requires_grad:
            z.grad_fn.register_prehook(lambda _: self._during_backward(given, train))
        return z

    @contextmanager
    def _at(self, given: list[Tensor], train: bool) -> Iterator[None]:
        """Put these parameters into the module, and the module into this mode.

        torch.func.functional_call does the same. It looks up every name in each call, which takes a tenth of a small
        net's step.
        """
        own = [places[key] for places, key, _ in self._places]
        others = [module for module in self._modules if module.training != train]
        try:
            for places, key, n in self._places:
                places[key] = given[n]
            for module in others:
                module.training = train
            yield
        finally:
            for module in others:
                module.training = not train
            for (places, key, _), p in zip(self._places, own, strict=True):
                places[key] = p

    def _during_backward(self, given: list[Tensor], train: bool) -> None:
        """Hold parameters and mode in place until the backward pass ends. That pass calls this at the outputs.

        If the backward pass fails, torch drops the callback and the stack. The dropped stack puts everything back.
        """
        stack = ExitStack()
        stack.enter_context(self._at(given, train))
        Variable._execution_engine.queue_callback(stack.close)

    def _find_head(self, theta: Tensor, x: Tensor) -> nn.Module:
        outputs: list[tuple[nn.Module, object, int]] = []  # in the order in which layers end, inner ones first

        def keep(layer: nn.Module, _, z: object) -> None:
            if isinstance(z, Tensor) and next(layer.parameters(), None) is not None:
                outputs.append((layer, z, z._version))

        handles = [layer.register_forward_hook(keep) for layer in self._modules[1:] or self._modules]
        try:
            with torch.no_grad():
                logits = self._pass(self.views(theta), x, train=False)
        finally:
            for handle in handles:
                handle.remove()
        for layer, z, version in outputs:
            if z is logits and version == z._version:  # A later layer may have overwritten them in place.
                return layer
        raise UserError(
            f"no layer of {type(self.module).__name__} gives the logits: call the last layer `head`, or name it in"
            " Net(module, head=...)"
        )

    def _check_once(self, z: Tensor, theta: Tensor, x: Tensor) -> None:
        if self._unchecked and z.requires_grad:
            self._unchecked -= 1
            self.check(z, [theta, x])

    def _with_input_of(self, layer: nn.Module, theta: Tensor, x: Tensor, train: bool) -> tuple[Tensor, Tensor]:
        inputs = []
        handle = layer.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
        try:
            z = self._pass(self.views(theta), x, train)
        finally:
            handle.remove()
        if len(inputs) != 1:
            raise UserError(f"the network uses its last layer {len(inputs)} times: features need it used once")
        return z, inputs[0]


class Point:
    """Take gradients at a theta [..., P]. A loss is computed at `variable`, which shares the memory of theta.

    Where the net is one network, theta is cut into its parameters once, and `gradient` puts their gradients together
    in memory that is kept. Autograd's own split takes fresh memory for that in each step.
    """

    def __init__(self, net, theta: Tensor):
        self.variable = theta.detach().requires_grad_()
        self._kept, self._into = torch.empty_like(theta), []
        if theta.dim() == 1 and isinstance(net, Net):
            # Autograd would refuse these views once theta has moved. It does not if they are detached.
            views = [view.detach() for view in net.views(theta).values()]
            self.views = dict(zip(net.shapes, _Cut.apply(self.variable, views, self._into), strict=True))
            net.points[id(self.variable)] = self

    def gradient(self, loss: Tensor) -> Tensor:
        """Return the gradient [..., P] of a loss [...]. The next call overwrites it."""
        self._into.append(self._kept)
        try:
            return torch.autograd.grad(loss if loss.dim() == 0 else loss.sum(), self.variable)[0]
        finally:
            self._into.clear()


class _Cut(torch.autograd.Function):
    """Cut theta into parameters. The backward pass concatenates: into the one tensor of `into`, if there is one."""

    @staticmethod
    def forward(ctx, theta: Tensor, views: list[Tensor], into: list[Tensor]) -> tuple[Tensor, ...]:
        ctx.into = into
        return tuple(views)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        out = ctx.into[0] if ctx.into else None  # None: a gradient that a loss itself takes, to use it
        return torch.cat([piece.flatten() for piece in gradients], out=out), None, None


def by_replica(function: Callable[..., Tensor], theta: Tensor, *others: Sequence) -> Tensor:
    """Call function(theta, other[0], ...) for theta [P]. For [R, P], stack function(theta[r], other[r], ...)."""
    if theta.dim() == 1:
        return function(theta, *(other[0] for other in others))
    return torch.stack([function(*row) for row in zip(theta, *others, strict=True)])


def gradient(loss: Callable[..., Tensor], theta: Tensor, *batch: Tensor) -> Tensor:
    """Return the gradient [P] of loss(theta, *batch) at theta."""
    variable = theta.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(loss(variable, *batch), variable)[0]


def _leaves(z: Tensor, given: list[Tensor]) -> Iterator[Tensor]:
    """Yield the leaves of autograd's graph that z depends on by ways around the tensors given."""
    known = [get_gradient_edge(tensor).node for tensor in given if tensor.requires_grad]
    seen, open_nodes = set(known), [z.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if "CheckpointFunction" in node.name():
            raise UserError("gradient checkpointing hides theta here: call `checkpoint` with use_reentrant=False")
        if hasattr(node, "variable"):
            yield node.variable
        open_nodes += [before for before, _ in node.next_functions]


def _check(module: nn.Module, parameters: dict[str, nn.Parameter], head: str | None) -> None:
    """Refuse a module that cannot be a function of one vector."""
    if not parameters:
        raise UserError("the network has no trainable parameter: set requires_grad on what is to be learnt")
    dtypes = {p.dtype: name for name, p in parameters.items()}
    if len(dtypes) > 1:
        named = " and ".join(f"{name} is {dtype}" for dtype, name in dtypes.items())
        raise UserError(f"the parameters must have one dtype, but {named}: convert the module, as with module.float()")
    for dtype, name in dtypes.items():
        if not dtype.is_floating_point:
            raise UserError(f"parameter {name} is {dtype}: parameters must be real, so keep its two parts as two")
    for name, layer in module.named_modules():
        if getattr(layer, "max_norm", None) is not None:
            raise UserError(f"layer {name} has max_norm, which changes theta in the forward pass: leave max_norm out")
    if head is not None and head not in dict(module.named_modules()):
        raise UserError(f"the network has no layer {head!r}: give a name from named_modules()")

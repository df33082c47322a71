"""Gradients of single examples at a layer's parameters, in closed form.

A layer has inputs a_n and, from the backward pass, gradients delta_n at its outputs. The gradient of example n alone is

    linear        G_n = sum_l delta_nl a_nl^T          l: positions; one for [N, I], L for [N, L, I]
    convolution   G_n = sum_l delta_nl a_nl^T          a_nl: the window of the input under output position l, by group
    norm          G_n = sum_l delta_nl * x_nl          x: the normalised input, with the statistics of evaluation
    embedding     G_n[v] = sum of delta_nl over the positions l that hold v

and the bias's is sum_l delta_nl. Row n of a layer's inputs must belong to example n. Nothing in this file can tell;
probe.py probes it.
"""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

BLOCK = 2**21  # bytes of single examples' gradients that are formed at a time: more would fall out of the caches


def wide(values: Tensor) -> Tensor:
    """Return the values in float32 or better: squares underflow in half precision. Whole numbers stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32)) if values.is_floating_point() else values


class Use:
    """Hold one use of a layer's weight, or bias, or both, on inputs a [N, ...].

    A subclass has `weight(delta, a)` and `bias(delta, a)`: the gradients [n, *shape] of n examples with these delta, a.
    """

    def __init__(self, inputs: Tensor, weight: Tensor | None, bias: Tensor | None = None):
        self.arguments = {role: p for role, p in (("weight", weight), ("bias", bias)) if p is not None}
        self.inputs = inputs.detach()
        self.names: dict[str, str] = {}  # role -> name of the parameter that is the argument; set by Uses
        self.edge: GradientEdge | None = None  # where a backward pass gives the delta; set by Uses

    @property
    def single(self) -> bool:
        """Say whether inputs and weight meet at one position alone. Then G_n = delta_n a_n^T, of [N, O] and [N, I]."""
        return False

    def numbers(self, role: str) -> int:
        """Return about how many numbers are in use while the gradient of one example is formed."""
        return self.inputs[0].numel() + self.arguments[role].numel()

    def gradients(self, role: str, delta: Tensor) -> Iterator[Tensor]:
        """Yield the examples' gradients [n, *shape] at the argument `role`, for some examples at a time."""
        some = max(1, BLOCK // (self.numbers(role) * delta.element_size()))
        for some_delta, a in zip(delta.split(some), self.inputs.split(some), strict=True):
            yield getattr(self, role)(some_delta, wide(a))

    def total(self, role: str, deltas: list[Tensor], f: Callable) -> Tensor:
        """Return sum_k sum_n f(G^k_n) [*shape] of the argument `role`, for the deltas of several backward passes."""
        return sum(f(G).sum(0) for delta in deltas for G in self.gradients(role, delta))


class Linear(Use):
    """Its inputs are [N, ..., I]."""

    @property
    def single(self):
        return self.inputs.dim() == 2

    def weight(self, delta: Tensor, a: Tensor) -> Tensor:
        """Return [N, O, I]."""
        return _positions(delta).transpose(1, 2) @ _positions(a)

    def bias(self, delta: Tensor, a: Tensor) -> Tensor:
        """Return [N, O]."""
        return _positions(delta).sum(1)


def _positions(values: Tensor) -> Tensor:
    """Return [N, ..., D] as [N, L, D]."""
    return values.reshape(len(values), -1, values.shape[-1])


class Convolution(Use):
    """Its inputs are [N, I, ...], over any number of axes. They already hold what a padding mode adds."""

    def __init__(self, inputs, weight, bias, stride, padding, dilation, groups):
        super().__init__(inputs, weight, bias)
        self.shape, self.groups = weight.shape, groups
        self.kernel = weight.shape[2:]
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def numbers(self, role):
        return math.prod(self.kernel) * self.inputs[0].numel() + self.arguments[role].numel()

    def _by_axis(self, option) -> list[int]:
        """Return an option's value for each axis."""
        values = (option,) if isinstance(option, int) else tuple(option)
        return list(values * (len(self.kernel) // len(values)))

    def windows(self, a: Tensor) -> Tensor:
        """Return the inputs under each output position [N, groups, I / groups * kernel, L]."""
        axes, strides, dilations = len(self.kernel), self._by_axis(self.stride), self._by_axis(self.dilation)
        spans = [dilation * (k - 1) for dilation, k in zip(dilations, self.kernel, strict=True)]
        if self.padding == "same":
            sides = [(span // 2, span - span // 2) for span in spans]
        else:
            sides = [(p, p) for p in self._by_axis(0 if self.padding == "valid" else self.padding)]
        if any(map(any, sides)):
            a = F.pad(a, [p for side in reversed(sides) for p in side])  # F.pad wants the last axis first.
        for axis in range(axes):
            a = a.unfold(2 + axis, spans[axis] + 1, strides[axis])[..., :: dilations[axis]]
        a = a.permute(0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
        return a.reshape(len(a), self.groups, math.prod(a.shape[1 : 2 + axes]) // self.groups, -1)

    def total(self, role, deltas, f):
        """Return sum_k sum_n f(G^k_n) [*shape]. All k share the windows and one matrix product."""
        if role == "bias" or len(deltas) == 1:
            return super().total(role, deltas, f)
        total, K = 0, len(deltas)
        numbers = self.numbers(role) + (K - 1) * self.arguments[role].numel()
        some = max(1, BLOCK // (numbers * deltas[0].element_size()))
        for a, *chunks in zip(self.inputs.split(some), *(delta.split(some) for delta in deltas), strict=True):
            windows = self.windows(wide(a))
            chunks = [delta.reshape(len(a), self.groups, -1, windows.shape[-1]) for delta in chunks]
            G = torch.cat(chunks, 2) @ windows.transpose(2, 3)
            total += f(G).view(len(a), self.groups, K, -1).sum((0, 2))
        return total.view(self.shape)

    def weight(self, delta: Tensor, a: Tensor) -> Tensor:
        """Return [N, O, I / groups, *kernel]."""
        windows = self.windows(a)
        delta = delta.reshape(len(delta), self.groups, -1, windows.shape[-1])
        return (delta @ windows.transpose(2, 3)).view(len(delta), *self.shape)

    def bias(self, delta: Tensor, a: Tensor) -> Tensor:
        """Return [N, O]."""
        return delta.flatten(2).sum(2)


class Norm(Use):
    """Its outputs are weight * x + bias with x = normalise(inputs). The parameters have the axes `axes` of x."""

    def __init__(self, inputs, weight, bias, normalise: Callable, axes: range):
        super().__init__(inputs, weight, bias)
        self.normalise, self.others = normalise, [axis for axis in range(1, inputs.dim()) if axis not in axes]

    def total(self, role, deltas, f):
        """Return sum_k sum_n f(G^k_n) [*shape]. The inputs are normalised once."""
        x = 1 if role == "bias" else self.normalise(wide(self.inputs))
        return sum(f(self.bias(delta * x, self.inputs)).sum(0) for delta in deltas)

    def weight(self, delta: Tensor, a: Tensor) -> Tensor:
        """Return [N, *shape]."""
        return self.bias(delta * self.normalise(a), a)

    def bias(self, delta: Tensor, a: Tensor) -> Tensor:
        """Return [N, *shape]."""
        return delta.sum(self.others) if self.others else delta


class Embedding(Use):
    """Its inputs are whole numbers [N, ...], rows of the weight [V, D]. The row `padding` takes no gradient."""

    def __init__(self, inputs, weight, padding: int | None):
        super().__init__(inputs, weight)
        self.V, self.D = weight.shape
        self.padding = padding

    def _rows(self, delta: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return, for each position, where its row lies in [N V], and its gradient."""
        delta, v = delta.reshape(len(v), -1, self.D), v.reshape(len(v), -1)
        if self.padding is not None:
            delta = delta * (v != self.padding % self.V)[..., None]
        first = self.V * torch.arange(len(v), device=v.device)
        return (first[:, None] + v).flatten(), delta.flatten(0, 1)

    def weight(self, delta: Tensor, a: Tensor) -> Tensor:
        """Return [N, V, D]."""
        rows, delta = self._rows(delta, a)
        return delta.new_zeros(len(a) * self.V, self.D).index_add_(0, rows, delta).view(-1, self.V, self.D)

    def total(self, role, deltas, f):
        """Return sum_k sum_n f(G^k_n) [V, D]. It never forms the rows that an example does not hold."""
        return sum(self._total(delta, f) for delta in deltas)

    def _total(self, delta: Tensor, f: Callable) -> Tensor:
        rows, delta = self._rows(delta, self.inputs)
        held, place = rows.unique(return_inverse=True)
        gradients = delta.new_zeros(len(held), self.D).index_add_(0, place, delta)
        return delta.new_zeros(self.V, self.D).index_add_(0, held % self.V, f(gradients))


# A rule takes the arguments of a function of torch, under torch's names. It returns the Use, or None if the closed form
# does not hold for these arguments.


def _linear(input, weight, bias=None):
    return Linear(input, weight, bias) if input.dim() > 1 else None


def _convolution(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if input.dim() < weight.dim():  # There is one example, without its axis.
        return None
    return Convolution(input, weight, bias, stride, padding, dilation, groups)


def _batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if training:  # The examples share their statistics.
        return None
    mean, var = wide(running_mean), wide(running_var)
    return Norm(input, weight, bias, lambda a: F.batch_norm(a, mean, var, eps=eps), range(1, 2))


def _group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    return Norm(input, weight, bias, lambda a: F.group_norm(a, num_groups, eps=eps), range(1, 2))


def _layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    axes = range(input.dim() - len(normalized_shape), input.dim())
    return Norm(input, weight, bias, lambda a: F.layer_norm(a, normalized_shape, eps=eps), axes)


def _embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    return None if scale_grad_by_freq or max_norm is not None else Embedding(input, weight, padding_idx)


RULES = {
    F.linear: _linear,
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.conv3d: _convolution,
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
    F.layer_norm: _layer_norm,
    F.embedding: _embedding,
}


class Uses(TorchFunctionMode):
    """Record the uses of parameters that have a rule, in the forward passes of N examples that are made within it.

    find(tensor) gives the name of a parameter, or None. `cut` gives copies of the parameters to each layer with a rule.
    Then the outputs depend on the parameters themselves only through uses without a rule.
    """

    def __init__(self, find: Callable[[Tensor], str | None], n_examples: int, cut: bool):
        super().__init__()
        self._find, self._n_examples, self._cut = find, n_examples, cut
        self.uses: list[Use] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function not in RULES:
            return function(*args, **kwargs)
        use = RULES[function](*args, **kwargs)
        if use is None or len(use.inputs) != self._n_examples:
            return function(*args, **kwargs)
        use.names = {role: name for role, p in use.arguments.items() if (name := self._find(p)) is not None}
        if not use.names:
            return function(*args, **kwargs)
        if self._cut:
            copies = {id(use.arguments[role]): use.arguments[role].detach().requires_grad_() for role in use.names}
            args = [copies.get(id(value), value) for value in args]
            kwargs = {key: copies.get(id(value), value) for key, value in kwargs.items()}
        outputs = function(*args, **kwargs)
        if outputs.requires_grad:
            use.edge = get_gradient_edge(outputs)  # The edge of now: a later layer may overwrite the outputs.
            self.uses.append(use)
        return outputs

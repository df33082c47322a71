"""The two ways to the gradients of single examples, G_n = J_n^T S_n: by a layer's rule, and example by example.

`forward`, `backward` and `add` take the parameters of layers that have a rule (layers.py). `by_examples` and
`add_examples` take any parameter. Both add sum_n f(G_n) to a vector. The probe compares the two on a few examples, and
persample.py takes what the probe found to serve.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

import torch
from torch import Tensor
from torch.func import vjp, vmap

from methods.importance.layers import Use, Uses, wide

BUDGET = {"cpu": 2**26, "cuda": 2**30}  # bytes in use at a time, by estimate; a CPU is slower with more
TOGETHER = 4  # backward passes whose deltas are held at a time, so that they share what a layer does with its inputs
Named = dict[str, Tensor]


def within_budget(size: int, device: torch.device) -> int:
    """Return how many things of `size` bytes may be in use at a time."""
    return max(1, BUDGET.get(device.type, BUDGET["cuda"]) // size)


def accumulator(theta: Tensor) -> Tensor:
    """Return zeros [P] in float32 or better."""
    return torch.zeros_like(wide(theta))


def forward(net, parameters: Named, x: Tensor, names: Iterable[str]) -> tuple[Tensor, list[Use], Named]:
    """Return outputs [N, C], the uses of `names` that have a rule, and leaves.

    The outputs depend on the leaves only by uses without a rule.
    """
    leaves = {name: parameters[name].detach().requires_grad_() for name in names}
    places = {id(leaf): name for name, leaf in leaves.items()}
    with torch.enable_grad(), Uses(lambda p: places.get(id(p)), len(x), cut=True) as recorder:
        z = net.call(parameters | leaves, x)
    return z, recorder.uses, leaves


def backward(z: Tensor, uses: list[Use], leaves: Named, cotangents: list[Tensor]) -> tuple[Iterable, set[str]]:
    """Return each cotangent's pairs of a use and its delta, and the leaves for which the rules do not account."""
    if not (cotangents and z.requires_grad):
        return (), set()

    def gradients(k, inputs):
        more = k + 1 < len(cotangents)
        return torch.autograd.grad(z, inputs, cotangents[k], retain_graph=more, allow_unused=True)

    def pairs(deltas):
        return [(use, wide(delta)) for use, delta in zip(uses, deltas, strict=True) if delta is not None]

    edges = [use.edge for use in uses]
    first = gradients(0, [*edges, *leaves.values()])
    astray = {name for name, gradient in zip(leaves, first[len(edges) :], strict=True) if gradient is not None}
    later = (pairs(gradients(k, edges)) for k in range(1, len(cotangents)))
    return chain([pairs(first[: len(edges)])], later), astray


def add(views: Named, rounds: Iterable[list[tuple[Use, Tensor]]], f: Callable, scale: float = 1) -> None:
    """Add scale * sum_k sum_n f(G_n) to the views of parameters, given each round's uses and their deltas."""
    outer: dict[Use, Tensor] = {}  # sum_k f(delta)
    rounds = iter(rounds)
    while some := list(islice(rounds, TOGETHER)):
        once: dict[tuple[Use, str], list[Tensor]] = {}  # the deltas of parameters that are used once, by round
        for pairs in some:
            often = Counter(name for use, _ in pairs for name in use.names.values())
            repeated: Named = {}
            for use, delta in pairs:
                if use.single and all(often[name] == 1 for name in use.names.values()):
                    outer[use] = outer[use].add_(f(delta)) if use in outer else f(delta)
                    continue
                for role, name in use.names.items():
                    if often[name] > 1:
                        repeated[name] = repeated.get(name, 0) + torch.cat(list(use.gradients(role, delta)))
                    elif name in views:
                        once.setdefault((use, role), []).append(delta)
            for name in repeated.keys() & views.keys():
                views[name].add_(f(repeated[name]).sum(0), alpha=scale)
        for (use, role), deltas in once.items():
            views[use.names[role]].add_(use.total(role, deltas, f), alpha=scale)
    for use, deltas in outer.items():
        for role, name in use.names.items():
            if name not in views:
                continue
            if role == "weight":
                views[name].addmm_(deltas.T, f(wide(use.inputs)), alpha=scale)
            else:
                views[name].add_(deltas.sum(0), alpha=scale)


def add_examples(views: Named, chunks: Iterable[Named], f: Callable) -> None:
    """Add sum_n f(G_n) to the views of parameters, given the G_n [n, *shape] of some examples at a time."""
    for gradients in chunks:
        for name, G in gradients.items():
            views[name] += f(wide(G)).sum(0)


def by_examples(
    net, parameters: Named, x: Tensor, cotangent: Tensor, names: list[str], held: int, by_vmap: bool
) -> Iterator[Named]:
    """Yield the gradients J_n^T S_n [n, *shape] of the parameters `names`, for some examples at a time.

    held: how many bytes a forward pass keeps for each example. Without vmap the examples go one at a time.
    """
    size = held + 3 * sum(parameters[name].numel() * parameters[name].element_size() for name in names)
    wanted = {name: parameters[name] for name in names}

    def gradient(x, cotangent):
        _, pull = vjp(lambda some: net.call(parameters | some, x[None])[0], wanted)
        return pull(cotangent)[0]

    chunk = within_budget(size, x.device)
    for some_x, some_cotangent in zip(x.split(chunk), cotangent.split(chunk), strict=True):
        if by_vmap:
            yield vmap(gradient)(some_x, some_cotangent)
        else:
            rows = [alone(net, parameters, row, S, names)[1] for row, S in zip(some_x, some_cotangent, strict=True)]
            yield {name: torch.stack([row[name] for row in rows]) for name in names}


def alone(net, parameters: Named, x: Tensor, cotangent: Tensor, names: list[str]) -> tuple[Tensor, Named]:
    """Return outputs [C] and gradients J^T S of one example [...], by autograd."""
    leaves = {name: parameters[name].detach().requires_grad_() for name in names}
    given = parameters | leaves
    with torch.enable_grad():
        z = net.call(given, torch.stack([x, x]))[0]
    net.check(z, list(given.values()))
    if z.requires_grad:
        gradients = torch.autograd.grad(z, list(leaves.values()), cotangent, allow_unused=True)
    else:
        gradients = [None] * len(leaves)
    pairs = zip(leaves.items(), gradients, strict=True)
    return z.detach(), {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs}

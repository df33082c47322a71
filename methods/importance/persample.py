"""Sums over examples of a function of each example's own gradient, for the price of about one backward pass.

With cotangents S [N, C] at the outputs, the gradient of example n is G_n = J_n^T S_n, J_n its Jacobian [C, P]. What is
returned is sum_n f(G_n) [P] with f the square or the absolute value, taken example by example.

Layers with a closed form (layers.py) get their G_n from their inputs and from a backward pass to their outputs.
Where inputs and weight meet at a single position, as in a linear layer on [N, I], G_n = delta_n a_n^T is never formed:
f of a product is the product of the f's, and the sum is one matrix product, f(delta)^T f(a), for all cotangents at
once. A parameter that is used several times has its G_n summed over the uses first.

Every other parameter goes example by example through vmap, or one at a time where vmap cannot. Which parameters have
to is found anew in each pass (what is used outside the rules is in its graph), and once for a net by comparing a few
examples with a backward pass for each: a layer may see examples along another axis, or several rows of one. A net whose
output for an example depends on its batch has no gradients of examples, and is refused.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.func import vjp, vmap

from methods.base.errors import UserError
from methods.importance.layers import Use, Uses, wide

BUDGET = {"cpu": 2**26, "cuda": 2**30}  # bytes in use at a time, by estimate; on a CPU more are slower
PASS = 256  # examples in a pass on a CPU, at most, for the same reason
PROBE = 4  # examples on which the rules are compared with autograd
Cotangents = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Plan:
    """What a probe found of a net: how often each parameter that the rules serve is used; bytes held of an example."""

    uses: dict[str, int]
    held: int


_plans: WeakKeyDictionary = WeakKeyDictionary()


def mean(net, theta: Tensor, examples, cotangents: Callable[..., Sequence[Tensor]], f: Callable) -> Tensor:
    """1/N sum_n sum_k f(J_n^T S^k_n) [P] over examples; cotangents(outputs, y, mask) = [S^k [n, C], ...]."""
    total = accumulator(theta)
    for x, y, mask in passes(net, theta, examples):
        sums(net, theta, x, lambda z, y=y, mask=mask: cotangents(z, y, mask), f, total)
    return total.div_(len(examples))


def mean_gradients(net, theta: Tensor, examples, cotangents: Callable[..., Sequence[Tensor]]) -> Tensor:
    """1/N sum_n J_n^T S^k_n [K, P], the mean of the gradients for each of K cotangents; arguments as of `mean`."""
    totals = None
    for x, y, mask in passes(net, theta, examples):
        variable = theta.detach().requires_grad_()
        with torch.enable_grad():
            z = net(variable, x)
        seeds = cotangents(z.detach(), y, mask)
        totals = torch.stack([accumulator(theta)] * len(seeds)) if totals is None else totals
        for k, seed in enumerate(seeds):
            totals[k] += torch.autograd.grad(z, variable, seed.to(z.dtype), retain_graph=k + 1 < len(seeds))[0]
    return totals.div_(len(examples))


def passes(net, theta: Tensor, examples) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The examples in batches (x, y, mask) of a size that keeps a pass within the budget."""
    some, _, _ = examples.take(torch.arange(min(PROBE, len(examples)), device=theta.device))
    # What is kept for the backward pass, and as much again in outputs, in their gradients, and in what is made of them.
    size = within_budget(4 * plan_of(net, theta, some).held, theta.device)
    return examples.batches(min(size, PASS) if theta.device.type == "cpu" else size)


def within_budget(size: int, device: torch.device) -> int:
    """How many things of `size` bytes are in use at a time."""
    return max(1, BUDGET.get(device.type, BUDGET["cuda"]) // size)


def accumulator(theta: Tensor) -> Tensor:
    """Zeros [P] in float32 or better."""
    return torch.zeros_like(wide(theta))


def sums(net, theta: Tensor, x: Tensor, cotangents: Cotangents, f: Callable, total: Tensor | None = None) -> Tensor:
    """sum_k sum_n f(J_n^T S^k_n) [P] for theta [P], inputs [N, ...] and cotangents(outputs) = [S^k [N, C], ...].

    It is added to `total`, where one is given.
    """
    total = accumulator(theta) if total is None else total
    views, parameters, plan = net.views(total), net.views(theta.detach()), plan_of(net, theta, x)
    z, uses, leaves = _forward(net, parameters, x, plan.uses)
    seeds = [seed.to(z.dtype) for seed in cotangents(z.detach())]
    rounds, astray = _backward(z, uses, leaves, seeds)
    served = leaves.keys() - astray
    add({name: views[name] for name in served}, rounds, f)
    others = [name for name in views if name not in served]
    for seed in seeds if others else ():
        for gradients in by_examples(net, parameters, x, seed, others, plan.held):
            for name, G in gradients.items():
                views[name] += f(wide(G)).sum(0)
    return total


def _forward(net, parameters: dict[str, Tensor], x: Tensor, names) -> tuple[Tensor, list[Use], dict[str, Tensor]]:
    """Outputs [N, C], the uses of `names` that have a rule, and leaves, on which the outputs depend by other uses."""
    leaves = {name: parameters[name].detach().requires_grad_() for name in names}
    places = {id(leaf): name for name, leaf in leaves.items()}
    with torch.enable_grad(), Uses(lambda p: places.get(id(p)), len(x), cut=True) as found:
        z = net.call(parameters | leaves, x)
    return z, found.uses, leaves


def _backward(z: Tensor, uses: list[Use], leaves: dict[str, Tensor], seeds: list[Tensor]) -> tuple[Iterable, set[str]]:
    """For each seed the pairs of a use and its delta, and the leaves for which the rules do not account."""
    if not (seeds and z.requires_grad):
        return (), set()

    def gradients(seed, inputs):
        return torch.autograd.grad(z, inputs, seed, retain_graph=seed is not seeds[-1], allow_unused=True)

    def pairs(deltas):
        return [(use, wide(delta)) for use, delta in zip(uses, deltas, strict=True) if delta is not None]

    edges = [use.edge for use in uses]
    first = gradients(seeds[0], [*edges, *leaves.values()])
    astray = {name for name, found in zip(leaves, first[len(edges) :], strict=True) if found is not None}
    later = (pairs(gradients(seed, edges)) for seed in seeds[1:])
    return chain([pairs(first[: len(edges)])], later), astray


def add(views: dict[str, Tensor], rounds: Iterable[list[tuple[Use, Tensor]]], f: Callable, scale: float = 1) -> None:
    """Add scale * sum_k sum_n f(G_n) to the views of parameters, given each round's uses and their deltas."""
    outer: dict[Use, Tensor] = {}  # sum_k f(delta)
    for pairs in rounds:
        often = Counter(name for use, _ in pairs for name in use.names.values())
        repeated: dict[str, Tensor] = {}
        for use, delta in pairs:
            if use.single and all(often[name] == 1 for name in use.names.values()):
                outer[use] = outer[use].add_(f(delta)) if use in outer else f(delta)
                continue
            for role, name in use.names.items():
                if often[name] > 1:
                    repeated[name] = repeated.get(name, 0) + torch.cat(list(use.gradients(role, delta)))
                elif name in views:
                    views[name].add_(use.total(role, delta, f), alpha=scale)
        for name in repeated.keys() & views.keys():
            views[name].add_(f(repeated[name]).sum(0), alpha=scale)
    for use, deltas in outer.items():
        deltas = deltas.mul_(scale) if scale != 1 else deltas
        for role, name in use.names.items():
            if name not in views:
                continue
            if role == "weight":
                views[name].addmm_(deltas.T, f(wide(use.inputs)))
            else:
                views[name].add_(deltas.sum(0))


def by_examples(
    net, parameters: dict[str, Tensor], x: Tensor, seed: Tensor, names: list[str], held: int
) -> Iterator[dict[str, Tensor]]:
    """The gradients J_n^T S_n [n, *shape] of the parameters `names`, some examples at a time."""
    size = held + 3 * sum(parameters[name].numel() * parameters[name].element_size() for name in names)
    chunk = within_budget(size, x.device)

    def gradient(x, seed):
        _, pull = vjp(lambda some: net.call(parameters | some, x[None])[0], {name: parameters[name] for name in names})
        return pull(seed)[0]

    for some_x, some_seed in zip(x.split(chunk), seed.split(chunk), strict=True):
        try:
            yield vmap(gradient)(some_x, some_seed)
        except RuntimeError:  # a function without a rule for vmap, or whose course depends on the numbers
            single = [_alone(net, parameters, row[None], s, names)[1] for row, s in zip(some_x, some_seed, strict=True)]
            yield {name: torch.stack([gradients[name] for gradients in single]) for name in names}


def _alone(net, parameters: dict[str, Tensor], x: Tensor, seed: Tensor, names) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs [C] and gradients J^T S of one example [1, ...], by autograd."""
    leaves = {name: parameters[name].detach().requires_grad_() for name in names}
    with torch.enable_grad():
        z = net.call(parameters | leaves, x)[0]
    if z.requires_grad:
        found = torch.autograd.grad(z, list(leaves.values()), seed, allow_unused=True)
    else:
        found = [None] * len(leaves)
    pairs = zip(leaves.items(), found, strict=True)
    return z.detach(), {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs}


def plan_of(net, theta: Tensor, x: Tensor) -> Plan:
    """The plan for inputs like these."""
    plans = _plans.setdefault(net, {})
    key = (x.shape[1:], x.dtype, min(len(x), PROBE), theta.dtype, theta.device)
    if key not in plans:
        plans[key] = _probe(net, theta, x[:PROBE])
    return plans[key]


def _probe(net, theta: Tensor, x: Tensor) -> Plan:
    """The plan, from sum_n |J_n^T S_n| of a few examples by the rules and by one backward pass for each.

    At parameters that are not zero: a weight of zero hides whatever lies before it.
    """
    tolerance = 1e-3 if torch.finfo(theta.dtype).bits >= 32 else 0.1
    theta = theta.detach() + 0.01 * torch.arange(len(theta), device=theta.device).cos().to(theta.dtype)
    parameters, names = net.views(theta), list(net.shapes)
    saved: dict[int, int] = {}  # bytes that autograd keeps for the backward pass beside the parameters, by place

    def keep(values: Tensor) -> Tensor:
        if values.untyped_storage().data_ptr() != theta.untyped_storage().data_ptr():
            saved[values.data_ptr()] = values.numel() * values.element_size()
        return values

    with saved_tensors_hooks(keep, lambda values: values):
        z, uses, leaves = _forward(net, parameters, x, names)
    if z.dim() != 2 or len(z) != len(x):
        raise UserError(f"outputs of shape {tuple(z.shape)} for {len(x)} examples: the network must give [N, C]")
    seed = torch.arange(z.numel(), device=z.device).cos().to(z.dtype).view_as(z)
    rounds, astray = _backward(z, uses, leaves, [seed])
    found, truth = accumulator(theta), accumulator(theta)
    add(net.views(found), rounds, torch.abs)
    for n in range(len(x)):
        alone, gradients = _alone(net, parameters, x[n : n + 1], seed[n], names)
        if bool((alone - z[n]).abs().max() > tolerance * z.abs().max()):
            raise UserError("the network's output for an example depends on the others of its batch: no Fisher, no MAS")
        for name, view in net.views(truth).items():
            view += wide(gradients[name]).abs()
    pairs = zip(names, net.views(found).values(), net.views(truth).values(), strict=True)
    close = {name for name, a, b in pairs if (a - b).norm() <= tolerance * (b.norm() + 1e-3 * truth.norm())}
    often = Counter(name for use in uses for name in use.names.values())
    formed = 3 * found.element_size() * sum(net.shapes[name].numel() for name in often if often[name] > 1)
    held = max(1, sum(saved.values()) // len(x) + formed)
    return Plan({name: often[name] for name in names if name in close - astray}, held)

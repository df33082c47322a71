"""Sums over examples of a function of each example's own gradient, for the price of about one backward pass.

With cotangents S [N, C] at the outputs, the gradient of example n is G_n = J_n^T S_n, where J_n is its Jacobian [C, P].
`sums` returns sum_n f(G_n) [P]. Here f is the square or the absolute value, taken example by example.

A layer with a closed form (layers.py) gets its G_n from its inputs and from a backward pass to its outputs. Where
inputs and weight meet at a single position, as in a linear layer on [N, I], G_n = delta_n a_n^T is never formed: f of a
product is the product of the f's, so the sum is one matrix product f(delta)^T f(a), for all cotangents at once. If a
parameter is used several times, its G_n is summed over the uses first.

Every other parameter goes example by example, through vmap where vmap can serve the network. A probe decides this once
for a network. It compares a few examples with one backward pass for each, because a layer may see examples along
another axis, or several rows of one example. Each pass checks again that the rules account for every use of a
parameter. A network is refused if its output for an example depends on the others of the batch: its examples have no
gradients of their own.

A batch of one example is given twice. In torch 2.12 and 2.13 the gradient of batch norm can be wrong for one.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.func import vjp, vmap
from torch.nn.functional import pad
from torch.nn.modules.batchnorm import _BatchNorm

from methods.base.errors import UserError
from methods.importance.layers import Use, Uses, wide

BUDGET = {"cpu": 2**26, "cuda": 2**30}  # bytes in use at a time, by estimate; a CPU is slower with more
PASS = 256  # the most examples in a pass on a CPU, for the same reason
TOGETHER = 4  # backward passes whose deltas are held at a time, so that they share what a layer does with its inputs
PROBE = 4  # examples on which the probe compares the rules with autograd
MIXED = "the network's output for an example depends on the others of its batch: no Fisher, no MAS"
CotangentsAt = Callable[[Tensor], Sequence[Tensor]]
Named = dict[str, Tensor]


@dataclass(frozen=True)
class Plan:
    """Keep what the probe has learnt of a network.

    `uses` says how often each parameter that the rules serve is used. `held` is how many bytes a forward pass keeps for
    each example. `vmap` says whether vmap can take single examples; if not, they go one at a time; None is not asked.
    """

    uses: dict[str, int]
    held: int
    vmap: bool | None


_plans: WeakKeyDictionary = WeakKeyDictionary()


def mean(net, theta: Tensor, examples, cotangents_at: Callable[..., Sequence[Tensor]], f: Callable) -> Tensor:
    """Return 1/N sum_n sum_k f(J_n^T S^k_n) [P] over examples; cotangents_at(outputs, y, mask) = [S^k [n, C], ...]."""
    total = accumulator(theta)
    for x, y, mask in passes(net, theta, examples):
        sums(net, theta, x, lambda z, y=y, mask=mask: cotangents_at(z, y, mask), f, total)
    return total.div_(len(examples))


def mean_gradients(net, theta: Tensor, examples, cotangents_at: Callable[..., Sequence[Tensor]]) -> Tensor:
    """Return 1/N sum_n J_n^T S^k_n [K, P], the mean gradient for each of K cotangents. Arguments are as of `mean`."""
    totals = None
    for x, y, mask in passes(net, theta, examples):
        variable = theta.detach().requires_grad_()
        with torch.enable_grad():
            z = net(variable, x)
        cotangents = cotangents_at(z.detach(), y, mask)
        totals = torch.stack([accumulator(theta)] * len(cotangents)) if totals is None else totals
        for k, cotangent in enumerate(cotangents):
            more = k + 1 < len(cotangents)
            totals[k] += torch.autograd.grad(z, variable, cotangent.to(z.dtype), retain_graph=more)[0]
    return totals.div_(len(examples))


def passes(net, theta: Tensor, examples) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the examples in batches (x, y, mask) of a size that keeps a pass within the budget."""
    some, _, _ = examples.take(torch.arange(min(PROBE, len(examples)), device=theta.device))
    # What is kept for the backward pass stands for the deltas of a round, too, and TOGETHER rounds are held.
    size = within_budget(TOGETHER * plan_of(net, theta, some).held, theta.device)
    return examples.batches(min(size, PASS) if theta.device.type == "cpu" else size)


def within_budget(size: int, device: torch.device) -> int:
    """Return how many things of `size` bytes may be in use at a time."""
    return max(1, BUDGET.get(device.type, BUDGET["cuda"]) // size)


def accumulator(theta: Tensor) -> Tensor:
    """Return zeros [P] in float32 or better."""
    return torch.zeros_like(wide(theta))


def sums(
    net, theta: Tensor, x: Tensor, cotangents_at: CotangentsAt, f: Callable, total: Tensor | None = None
) -> Tensor:
    """Return sum_k sum_n f(J_n^T S^k_n) [P] at theta [P], for inputs x [N, ...].

    cotangents_at(outputs) gives [S^k [N, C], ...]. If `total` is given, the sum is added to it.
    """
    total = accumulator(theta) if total is None else total
    if len(x) == 1:  # The second copy has cotangents of 0, and f(0) = 0.
        two = torch.cat([x, x])
        return sums(net, theta, two, lambda z: [pad(S, (0, 0, 0, 1)) for S in cotangents_at(z[:1])], f, total)
    views, parameters, plan = net.views(total), net.views(theta.detach()), plan_of(net, theta, x)
    z, uses, leaves = _forward(net, parameters, x, plan.uses)
    cotangents = [cotangent.to(z.dtype) for cotangent in cotangents_at(z.detach())]
    rounds, astray = _backward(z, uses, leaves, cotangents)
    served = leaves.keys() - astray
    add({name: views[name] for name in served}, rounds, f)
    others = [name for name in views if name not in served]
    if others:
        plan = plan_of(net, theta, x, by_examples=True)
    for cotangent in cotangents if others else ():
        add_examples(views, by_examples(net, parameters, x, cotangent, others, plan), f)
    return total


def _forward(net, parameters: Named, x: Tensor, names: Iterable[str]) -> tuple[Tensor, list[Use], Named]:
    """Return outputs [N, C], the uses of `names` that have a rule, and leaves.

    The outputs depend on the leaves only by uses without a rule.
    """
    leaves = {name: parameters[name].detach().requires_grad_() for name in names}
    places = {id(leaf): name for name, leaf in leaves.items()}
    with torch.enable_grad(), Uses(lambda p: places.get(id(p)), len(x), cut=True) as recorder:
        z = net.call(parameters | leaves, x)
    return z, recorder.uses, leaves


def _backward(z: Tensor, uses: list[Use], leaves: Named, cotangents: list[Tensor]) -> tuple[Iterable, set[str]]:
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
        deltas = deltas.mul_(scale) if scale != 1 else deltas
        for role, name in use.names.items():
            if name not in views:
                continue
            if role == "weight":
                views[name].addmm_(deltas.T, f(wide(use.inputs)))
            else:
                views[name].add_(deltas.sum(0))


def add_examples(views: Named, chunks: Iterable[Named], f: Callable) -> None:
    """Add sum_n f(G_n) to the views of parameters, given the G_n [n, *shape] of some examples at a time."""
    for gradients in chunks:
        for name, G in gradients.items():
            views[name] += f(wide(G)).sum(0)


def by_examples(net, parameters: Named, x: Tensor, cotangent: Tensor, names: list[str], plan: Plan) -> Iterator[Named]:
    """Yield the gradients J_n^T S_n [n, *shape] of the parameters `names`, for some examples at a time."""
    size = plan.held + 3 * sum(parameters[name].numel() * parameters[name].element_size() for name in names)
    wanted = {name: parameters[name] for name in names}

    def gradient(x, cotangent):
        _, pull = vjp(lambda some: net.call(parameters | some, x[None])[0], wanted)
        return pull(cotangent)[0]

    chunk = within_budget(size, x.device)
    for some_x, some_cotangent in zip(x.split(chunk), cotangent.split(chunk), strict=True):
        if plan.vmap:
            yield vmap(gradient)(some_x, some_cotangent)
        else:
            rows = [_alone(net, parameters, row, S, names)[1] for row, S in zip(some_x, some_cotangent, strict=True)]
            yield {name: torch.stack([row[name] for row in rows]) for name in names}


def _alone(net, parameters: Named, x: Tensor, cotangent: Tensor, names: list[str]) -> tuple[Tensor, Named]:
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


def plan_of(net, theta: Tensor, x: Tensor, by_examples: bool = False) -> Plan:
    """Return the plan for inputs like these. Only `by_examples` asks for vmap: its first use in a process takes 1 s."""
    plans = _plans.setdefault(net, {})
    x = x[:PROBE] if len(x) > 1 else torch.cat([x, x])
    key = (x.shape, x.dtype, theta.dtype, theta.device)
    if key not in plans or (by_examples and plans[key].vmap is None):
        plans[key] = _probe(net, theta, x, by_examples)
    return plans[key]


def _probe(net, theta: Tensor, x: Tensor, ask_vmap: bool) -> Plan:
    """Make the plan: compare sum_n |J_n^T S_n| of a few examples by the rules, by vmap, and by a pass for each.

    The parameters are moved away from theta, because a weight of 0 hides whatever lies before it.
    """
    if any(isinstance(layer, _BatchNorm) and layer.running_mean is None for layer in net.module.modules()):
        raise UserError(f"batch norm without running statistics: {MIXED}; set track_running_stats=True")
    tolerance = 1e-3 if torch.finfo(theta.dtype).bits >= 32 else 0.1
    theta = theta.detach() + 0.01 * torch.arange(len(theta), device=theta.device).cos().to(theta.dtype)
    parameters, names, version = net.views(theta), list(net.shapes), theta._version
    saved: dict[int, int] = {}  # bytes that autograd keeps for the backward pass beside the parameters, by place

    def keep(values: Tensor) -> Tensor:
        if values.untyped_storage().data_ptr() != theta.untyped_storage().data_ptr():
            saved[values.data_ptr()] = values.numel() * values.element_size()
        return values

    with saved_tensors_hooks(keep, lambda values: values):
        z, uses, leaves = _forward(net, parameters, x, names)
    if theta._version != version:
        raise UserError("the network's forward pass changes its parameters in place: let it work on copies of them")
    if z.dim() != 2 or len(z) != len(x) or not z.is_floating_point():
        what = f"{z.dtype} outputs of shape {tuple(z.shape)} for {len(x)} examples"
        raise UserError(f"{what}: the network must give real numbers [N, C]")
    cotangent = torch.arange(z.numel(), device=z.device).cos().to(z.dtype).view_as(z)
    truth = _one_by_one(net, theta, x, z.detach(), cotangent, tolerance)
    least = 1e-3 * truth.norm()

    def agreeing(gradients: Tensor) -> set[str]:
        pairs = zip(names, net.views(gradients).values(), net.views(truth).values(), strict=True)
        return {name for name, a, b in pairs if (a - b).norm() <= tolerance * (b.norm() + least)}

    rounds, astray = _backward(z, uses, leaves, [cotangent])
    by_rules = accumulator(theta)
    add(net.views(by_rules), rounds, torch.abs)
    often = Counter(name for use in uses for name in use.names.values())
    formed = 3 * by_rules.element_size() * sum(net.shapes[name].numel() for name in often if often[name] > 1)
    held = max(1, sum(saved.values()) // len(x) + formed)
    agreed = agreeing(by_rules) - astray
    served = {name: often[name] for name in names if name in agreed}
    if not ask_vmap and len(served) == len(names):
        return Plan(served, held, vmap=None)
    by_vmap = _by_vmap(net, theta, x, cotangent, Plan({}, held, vmap=True))
    return Plan(served, held, vmap=by_vmap is not None and len(agreeing(by_vmap)) == len(names))


def _one_by_one(net, theta: Tensor, x: Tensor, z: Tensor, cotangent: Tensor, tolerance: float) -> Tensor:
    """Return sum_n |J_n^T S_n| [P] by a backward pass for each example. Refuse outputs unlike those of the batch, z."""
    total = accumulator(theta)
    for n in range(len(x)):
        alone, gradients = _alone(net, net.views(theta), x[n], cotangent[n], list(net.shapes))
        if bool((alone - z[n]).abs().max() > tolerance * z.abs().max()):
            raise UserError(MIXED)
        add_examples(net.views(total), [{name: G[None] for name, G in gradients.items()}], torch.abs)
    return total


def _by_vmap(net, theta: Tensor, x: Tensor, cotangent: Tensor, plan: Plan) -> Tensor | None:
    """Return sum_n |J_n^T S_n| [P] by vmap; None if it has no rule for a function, or if numbers decide the course."""
    total = accumulator(theta)
    chunks = by_examples(net, net.views(theta), x, cotangent, list(net.shapes), plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A real pass warns of what vmap does slowly.
        try:
            add_examples(net.views(total), chunks, torch.abs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # The network itself works: it has just given the same gradients one by one.
            return None
    return total

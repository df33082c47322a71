"""The probe decides once for a network which gradients of single examples have a rule, and whether vmap gives the rest.

It compares a few examples with one backward pass for each, because a layer may see examples along another axis, or
several rows of one example. A network is refused if its output for an example depends on the others of the batch: its
examples have no gradients of their own.
"""

import warnings
from collections import Counter
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm

from methods.base.errors import UserError
from methods.importance.example_gradients import accumulator, add, add_examples, alone, backward, by_examples, forward

PROBE = 4  # examples on which the probe compares the rules with autograd
MIXED = "the network's output for an example depends on the others of its batch: no Fisher, no MAS"


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
        z, uses, leaves = forward(net, parameters, x, names)
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

    rounds, astray = backward(z, uses, leaves, [cotangent])
    by_rules = accumulator(theta)
    add(net.views(by_rules), rounds, torch.abs)
    often = Counter(name for use in uses for name in use.names.values())
    formed = 3 * by_rules.element_size() * sum(net.shapes[name].numel() for name in often if often[name] > 1)
    held = max(1, sum(saved.values()) // len(x) + formed)
    agreed = agreeing(by_rules) - astray
    served = {name: often[name] for name in names if name in agreed}
    if not ask_vmap and len(served) == len(names):
        return Plan(served, held, vmap=None)
    by_vmap = _by_vmap(net, theta, x, cotangent, held)
    return Plan(served, held, vmap=by_vmap is not None and len(agreeing(by_vmap)) == len(names))


def _one_by_one(net, theta: Tensor, x: Tensor, z: Tensor, cotangent: Tensor, tolerance: float) -> Tensor:
    """Return sum_n |J_n^T S_n| [P] by a backward pass for each example. Refuse outputs unlike those of the batch, z."""
    total = accumulator(theta)
    for n in range(len(x)):
        z_n, gradients = alone(net, net.views(theta), x[n], cotangent[n], list(net.shapes))
        if bool((z_n - z[n]).abs().max() > tolerance * z.abs().max()):
            raise UserError(MIXED)
        add_examples(net.views(total), [{name: G[None] for name, G in gradients.items()}], torch.abs)
    return total


def _by_vmap(net, theta: Tensor, x: Tensor, cotangent: Tensor, held: int) -> Tensor | None:
    """Return sum_n |J_n^T S_n| [P] by vmap; None if vmap lacks a rule, or if values decide what is computed."""
    total = accumulator(theta)
    chunks = by_examples(net, net.views(theta), x, cotangent, list(net.shapes), held, by_vmap=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A real pass warns of what vmap does slowly.
        try:
            add_examples(net.views(total), chunks, torch.abs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # The network itself works: it has just given the same gradients one by one.
            return None
    return total

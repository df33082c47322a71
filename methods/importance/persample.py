"""Sums over examples of a function of each example's own gradient, for the price of about one backward pass.

With cotangents S [N, C] at the outputs, the gradient of example n is G_n = J_n^T S_n, where J_n is its Jacobian [C, P].
`sums` returns sum_n f(G_n) [P]. Here f is the square or the absolute value, taken example by example.

A layer with a closed form (layers.py) gets its G_n from its inputs and from a backward pass to its outputs. Where
inputs and weight meet at a single position, as in a linear layer on [N, I], G_n = delta_n a_n^T is never formed: f of a
product is the product of the f's, so the sum is one matrix product f(delta)^T f(a), for all cotangents at once. If a
parameter is used several times, its G_n is summed over the uses first.

Every other parameter goes example by example, through vmap where vmap can serve the network. A probe decides this once
for a network (probe.py). Each pass checks again that the rules account for every use of a parameter.

A batch of one example is given twice. In torch 2.12 and 2.13 the gradient of batch norm can be wrong for one.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from methods.importance.example_gradients import (
    TOGETHER,
    accumulator,
    add,
    add_examples,
    backward,
    by_examples,
    forward,
    within_budget,
)
from methods.importance.probe import PROBE, plan_of

PASS = 256  # the most examples in a pass on a CPU; a CPU is slower with more
CotangentsAt = Callable[[Tensor], Sequence[Tensor]]


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
    z, uses, leaves = forward(net, parameters, x, plan.uses)
    cotangents = [cotangent.to(z.dtype) for cotangent in cotangents_at(z.detach())]
    rounds, astray = backward(z, uses, leaves, cotangents)
    served = leaves.keys() - astray
    add({name: views[name] for name in served}, rounds, f)
    others = [name for name in views if name not in served]
    if others:
        plan = plan_of(net, theta, x, by_examples=True)
    for cotangent in cotangents if others else ():
        add_examples(views, by_examples(net, parameters, x, cotangent, others, plan.held, plan.vmap), f)
    return total

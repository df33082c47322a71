"""RWalk chooses exemplars of a class in one of four ways (Chaudhry et al., 2018, section 4.3).

    uniform          every example is as likely
    plane_distance   q(x) ~ 1 / |phi(x) . w_y|      near the class's plane; w_y: its weights, without the bias
    entropy          q(x) ~ H(p(.|x))               the network is unsure
    mof              mean of features: greedy, the mean of phi over those chosen is nearest to the mean over all

phi are the inputs of the last layer in evaluation mode. This layer is linear. phi are taken as they are; iCaRL scales
them to unit length first. The first three ways are distributions and are drawn from without replacement. None returns
an example twice.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from methods.base.errors import UserError
from methods.base.examples import Examples
from methods.memory.herding import herd

SAMPLERS = ("uniform", "plane_distance", "entropy", "mof")
PASS = 256  # examples in one forward pass; changes memory only


def exemplars(examples: Examples, choose: Callable[[Examples], Tensor]) -> dict[int, Examples]:
    """Return a few examples of each unit, with pixels of their own: those at the places that `choose` gives."""
    chosen = {}
    for unit in examples.y.unique().tolist():
        members = examples.select((examples.y == unit).nonzero().flatten())
        chosen[unit] = members.select(choose(members))
    return chosen


def choose(net, theta: Tensor, examples, sampler: str, m: int, generator: torch.Generator) -> Tensor:
    """Return the places [min(m, N)] of distinct examples among the N examples of one class."""
    if sampler == "uniform":
        return torch.randperm(len(examples), generator=generator)[:m].to(theta.device)
    features, planes, entropies = observe(net, theta, examples)
    if sampler == "mof":
        return herd(features, features.mean(0), m)
    weights = entropies if sampler == "entropy" else 1 / ((features * planes).sum(-1).abs() + 1e-12)
    return draw_weighted(weights, m, generator)


@torch.no_grad()
def observe(net, theta: Tensor, examples) -> tuple[Tensor, Tensor, Tensor]:
    """Return phi [N, D], the weights w_y [N, D] of each example's own unit, and the entropy [N] over allowed units.

    One pass gives all three. The weights are those of the pass: a layer may compute them from other parameters.
    """
    layer, seen = last_linear(net, theta, examples), []
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0], module.weight)))
    features, planes, entropies = [], [], []
    try:
        for x, y, mask in examples.batches(PASS):
            log_p = (net(theta, x) + mask).log_softmax(-1)
            phi, weight = seen.pop()
            features.append(phi)
            planes.append(weight[y])
            entropies.append(-(log_p.exp() * log_p).sum(-1))
    finally:
        handle.remove()
    return torch.cat(features), torch.cat(planes), torch.cat(entropies)


def draw_weighted(weights: Tensor, m: int, generator: torch.Generator) -> Tensor:
    """Return places [min(m, N)], drawn without replacement with chances proportional to weights [N] >= 0.

    The smallest E / weight win, with E exponential (Efraimidis and Spirakis, 2006). Weights of 0 come last, at random.
    """
    device, weights = weights.device, weights.double().cpu()
    waits = torch.empty_like(weights).exponential_(generator=generator).log() - weights.clamp(min=1e-300).log()
    return waits.argsort()[:m].to(device)


def last_linear(net, theta: Tensor, examples) -> nn.Linear:
    """Return the layer whose output is the logits. Refuse a network whose last layer is not linear."""
    layer = net.last_layer(theta, examples.take(torch.arange(1, device=theta.device))[0])
    if not isinstance(layer, nn.Linear):
        name = type(layer).__name__
        raise UserError(f"the network's last layer is a {name}, not linear: choose exemplars with sampler=uniform")
    return layer

"""iCaRL a second time, one example after the other, from algorithms 1 to 5 of the paper."""

from copy import deepcopy
from math import ceil, floor

from torch import Tensor, nn

from tests.support.slow import listed, loop


def icarl(
    module, stream, train, seed, K, released=False, T=1.0, draw=None
) -> tuple[Tensor, dict[int, list], nn.Module]:
    """Parameters after a whole run, the exemplars of each unit in order, and the trained module.

    draw: the places of a unit's exemplars, from its task and the number of its examples, instead of herding.
    """
    teachers, kept = [], {}

    def loss(module, batch):
        total, old = 0, list(kept)
        for x, y, allowed in batch:
            g = module(x[None])[0].sigmoid()
            q = (teachers[-1](x[None])[0] / T).sigmoid().detach() if teachers else None
            units = range(len(g)) if released else allowed
            terms = [bce(g[u], q[u] if u in old else float(u == y)) for u in units]
            total = total + sum(terms) / (len(terms) if released else 1)
        return total / len(batch)

    def data(task):
        return listed(task.train) + [(x, unit, listed(task.train)[0][2]) for unit in kept for x in kept[unit]]

    def after_task(task):
        examples = listed(task.train)
        new = sorted({y for _, y, _ in examples})
        m = (ceil if released else floor)(K / (len(kept) + len(new)))
        for unit in kept:
            kept[unit] = kept[unit][:m]
        for unit in new:
            xs = [x for x, y, _ in examples if y == unit]
            kept[unit] = [xs[n] for n in draw(task, len(xs))[:m]] if draw else herded(module, xs, m, released)
        teachers.append(deepcopy(module))

    return loop(module, stream, train, seed, data=data, loss=loss, after_task=after_task), kept, module


def bce(g, q):
    """- q log g - (1 - q) log(1 - g)."""
    return -q * g.log() - (1 - q) * (1 - g).log()


def phi(module, x) -> Tensor:
    """The features [D] of one input, divided by their norm."""
    f = module.body(x[None])[0].detach()
    return f / f.square().sum().sqrt() if f.any() else f


def herded(module, xs, m, released) -> list:
    """Algorithm 4: each time the input that brings the mean of those picked nearest to the mean of all."""
    mean = sum(phi(module, x) for x in xs) / len(xs)
    mean = mean if released else mean / mean.norm()
    picked = []
    while len(picked) < min(m, len(xs)):
        best = None
        for n in range(len(xs)):
            if n not in picked:
                here = sum(phi(module, xs[i]) for i in [*picked, n]) / (len(picked) + 1)
                gap = float((mean - here).norm())
                best = min(best or (gap, n), (gap, n))
        picked.append(best[1])
    return [xs[n] for n in picked]


def nearest(module, kept, x, flips) -> int:
    """Algorithm 1: the unit whose mean of exemplars, and of their mirror images, is nearest."""
    gaps = {}
    for unit, xs in kept.items():
        vectors = [phi(module, each) for each in xs] + [phi(module, each.flip(-1)) for each in xs if flips]
        mean = sum(vectors) / len(vectors)
        gaps[unit] = float((phi(module, x) - mean / mean.norm()).norm())
    return min(gaps, key=lambda unit: (gaps[unit], unit))

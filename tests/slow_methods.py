"""Whole runs of the second implementation (slow.py), one function for each method."""

import torch
from slow import (
    copy,
    distance,
    fisher,
    grouped,
    listed,
    loop,
    mas_importance,
    parameters,
    squared_means,
)
from torch import Tensor

from benchmarks.rng import generator


def naive(module, stream, train, seed) -> Tensor:
    """Fine-tuning."""
    return loop(module, stream, train, seed)


def l2(module, stream, train, seed, lam, per_task=False) -> Tensor:
    """lam / 2 ||theta - star||^2, summed over all earlier tasks or at the last alone."""
    params, stars = parameters(module), []
    ones = {name: torch.ones_like(p) for name, p in params.items()}

    def penalty():
        return sum(lam / 2 * distance(params, ones, star) for star in (stars if per_task else stars[-1:]))

    return loop(module, stream, train, seed, penalty=penalty, after_task=lambda task: stars.append(copy(params)))


def ewc(module, stream, train, seed, lam, **options) -> Tensor:
    """Kirkpatrick et al., eq. 3: sum over earlier tasks l of lam / 2 sum_i F^l_i (theta_i - theta^l_i)^2."""
    params, terms = parameters(module), []

    def penalty():
        return sum(lam / 2 * distance(params, F, star) for F, star in terms)

    def after_task(task):
        terms.append((_fisher(module, task, seed, **options), copy(params)))

    return loop(module, stream, train, seed, penalty=penalty, after_task=after_task)


def online_ewc(module, stream, train, seed, lam, gamma=1.0, **options) -> Tensor:
    """Schwarz et al., section 4: lam / 2 sum_i gamma F~_{k-1,i} (theta_i - star_i)^2, F~_k = gamma F~_{k-1} + F_k."""
    params, fishers, stars = parameters(module), [], []

    def penalty():
        K = len(fishers)
        weights = [gamma ** (K - 1 - k) for k in range(K)]
        return sum(lam / 2 * gamma * w * distance(params, F, stars[-1]) for w, F in zip(weights, fishers, strict=True))

    def after_task(task):
        fishers.append(_fisher(module, task, seed, **options))
        stars.append(copy(params))

    return loop(module, stream, train, seed, penalty=penalty, after_task=after_task)


def _fisher(module, task, seed, fisher_estimator="exact", fisher_batch=128):
    if fisher_estimator == "batched":
        return squared_means(module, grouped(listed(task.train), fisher_batch, generator(seed, "fisher", task.index)))
    return fisher(module, listed(task.train), fisher_estimator)


def mas(module, stream, train, seed, lam, per_sample=True, unit_mean=False, batch=128) -> Tensor:
    """Aljundi et al.: lam sum_i Omega_i (theta_i - star_i)^2, Omega the sum over earlier tasks."""
    params, omegas, stars = parameters(module), [], []

    def penalty():
        return sum(lam * distance(params, omega, stars[-1]) for omega in omegas)

    def after_task(task):
        size = 1 if per_sample else batch
        groups = grouped(listed(task.train), size, generator(seed, "mas", task.index))
        omegas.append(mas_importance(module, groups, unit_mean))
        stars.append(copy(params))

    return loop(module, stream, train, seed, penalty=penalty, after_task=after_task)


def si(module, stream, train, seed, c, xi=0.1, clamp="cumulative") -> Tensor:
    """Zenke et al., eqs. 3 to 5, with the cut at zero that `clamp` names."""
    params = parameters(module)
    zero = {name: torch.zeros_like(p) for name, p in params.items()}
    start, omega, w, begun = copy(params), copy(zero), copy(zero), []

    def penalty():
        return c * distance(params, omega, start) if begun else 0

    def after_step(old, grads):
        for name, p in params.items():
            w[name] = w[name] - grads[name] * (p.detach() - old[name])

    def after_task(task):
        for name, p in params.items():
            added = w[name] / ((p.detach() - start[name]) ** 2 + xi)
            added = added.clamp(min=0) if clamp == "increment" else added
            omega[name] = omega[name] + added
            omega[name] = omega[name].clamp(min=0) if clamp == "cumulative" else omega[name]
        start.update(copy(params))
        w.update(copy(zero))
        begun.append(task)

    return loop(module, stream, train, seed, penalty=penalty, after_step=after_step, after_task=after_task)


def rehearsal(module, stream, train, seed, budget) -> Tensor:
    """Hsu et al.: the memory, repeated until it is as large as the task's data, is trained on with them."""
    memory = []

    def data(task):
        new = listed(task.train)
        old = [_under(example, new, stream) for kept in memory for example in kept]
        return old * max(1, len(new) // budget) + new

    def after_task(task):
        new = listed(task.train)
        share = budget // (len(memory) + 1)
        order = torch.randperm(len(new), generator=generator(seed, "memory", task.index)).tolist()
        memory[:] = [kept[:share] for kept in memory] + [[new[n] for n in order[:share]]]

    return loop(module, stream, train, seed, data=data, after_task=after_task)


def replay(module, stream, train, seed, memory, batch_memory) -> Tensor:
    """Chaudhry et al. with Vitter's algorithm R, the memory filled at the end of each task."""
    kept, draws, seen = [], {}, 0

    def drawn(task):
        if not kept:
            return []
        draw = draws.setdefault(task.index, generator(seed, "replay", task.index))
        places = torch.randperm(len(kept), generator=draw).tolist()[:batch_memory]
        return [_under(kept[place], listed(task.train), stream) for place in places]

    def after_task(task):
        nonlocal seen
        draw = generator(seed, "reservoir", task.index)
        for example in listed(task.train):
            seen += 1
            if len(kept) < memory:
                kept.append(example)
            elif (place := int(torch.randint(seen, (), generator=draw))) < memory:
                kept[place] = example

    return loop(module, stream, train, seed, replay=drawn, after_task=after_task)


def _under(example, new, stream):
    """An old example with the units that it is trained with beside the `new` ones."""
    x, y, units = example
    return x, y, new[0][2] if stream.scenario == "class" else units

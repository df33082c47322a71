"""Whole runs of the second implementation (slow.py), one function for each method."""

from copy import deepcopy
from itertools import combinations

import torch
from torch import Tensor

from methods.base.rng import generator
from tests.support.slow import copy, distance, fisher, flat, gradients, listed, loop, mean_loss, parameters


def naive(module, stream, train, seed) -> Tensor:
    """Fine-tuning."""
    return loop(module, stream, train, seed)


def ewcpp(module, stream, train, seed, lam, alpha=0.9, interval=10, released=False) -> Tensor:
    """Chaudhry et al., 2018: the running Fisher from the list of every batch's squares, one example at a time."""
    params, fishers, stars, squares = parameters(module), [], [], []

    def penalty():
        if not stars:
            return 0
        star, F = stars[-1]
        return (lam / 2) * distance(params, _joint_min_max(F) if released else F, star)

    def project(grads, batch):
        squares.append({n: g**2 for n, g in grads.items()} if released else fisher(module, batch, "empirical"))
        if len(squares) == interval:
            _close_interval(fishers, squares, alpha, released)
        return grads

    def after_task(task):
        _close_interval(fishers, squares, alpha, released)
        stars.append((copy(params), fishers[-1]))

    return loop(module, stream, train, seed, penalty=penalty, project=project, after_task=after_task)


def _close_interval(fishers, squares, alpha, from_zero=False):
    """F^t = alpha F_batch + (1 - alpha) F^(t-1), F_batch the mean over the interval."""
    if squares:
        new = {name: sum(each[name] for each in squares) / len(squares) for name in squares[0]}
        old = fishers[-1] if fishers else {name: 0 * value if from_zero else value for name, value in new.items()}
        fishers.append({name: alpha * new[name] + (1 - alpha) * old[name] for name in new})
        squares.clear()


def _joint_min_max(named):
    low, high = flat(named).min(), flat(named).max()
    return {name: (value - low) / (high - low) for name, value in named.items()}


def rwalk(module, stream, train, seed, lam, alpha=0.9, interval=10, eps=1e-3, sampler=None, per_class=10) -> Tensor:
    """Chaudhry et al., 2018, section 4: lam (F^ + S^), the path integral cut at zero over each interval."""
    params = parameters(module)
    window, fishers, scores, squares, steps, stars, memory = copy(params), [], [], [], [], [], []
    s = {name: torch.zeros_like(p) for name, p in params.items()}

    def penalty():
        if not stars:
            return 0
        star, F, S = stars[-1]
        return lam * distance(params, {name: F[name] + S[name] for name in params}, star)

    def close():
        if not steps:
            return
        for name, p in params.items():
            w = sum(step[name] for step in steps).clamp(min=0)
            F = fishers[-1][name] if fishers else 0
            s[name] = s[name] + w / (0.5 * F * (p.detach() - window[name]) ** 2 + eps)
        window.update(copy(params))
        steps.clear()
        _close_interval(fishers, squares, alpha)

    def project(grads, batch):
        squares.append(fisher(module, batch, "empirical"))
        return grads

    def after_step(old, grads):
        steps.append({name: -grads[name] * (p.detach() - old[name]) for name, p in params.items()})
        if len(steps) == interval:
            close()

    def data(task):
        new = listed(task.train)
        return [under(example, new, stream) for example in memory] + new

    def after_task(task):
        close()
        new = listed(task.train)
        for unit in sorted({y for _, y, _ in new}) if sampler == "mof" else []:
            members = [example for example in new if example[1] == unit]
            features = [module.body(x[None])[0].detach() for x, _, _ in members]
            memory.extend(members[place] for place in herded(features, per_class))
        last = {name: (scores[-1][name] + s[name]) / 2 for name in s} if scores else dict(s)
        scores.append(last)
        s.update({name: torch.zeros_like(p) for name, p in params.items()})
        stars.append((copy(params), _joint_min_max(fishers[-1]), _joint_min_max(last)))

    hooks = {"data": data, "penalty": penalty, "project": project, "after_step": after_step, "after_task": after_task}
    return loop(module, stream, train, seed, **hooks)


def herded(features, m) -> list[int]:
    """At each step every example that is left is tried; the one whose mean with those chosen is nearest stays."""
    chosen, mean = [], sum(features) / len(features)
    for _ in range(min(m, len(features))):
        left = [n for n in range(len(features)) if n not in chosen]
        trials = {n: sum(features[k] for k in [*chosen, n]) / (len(chosen) + 1) for n in left}
        chosen.append(min(left, key=lambda n: float((trials[n] - mean).norm())))
    return chosen


def gem(module, stream, train, seed, per_task=None, budget=None, margin=0.5, margin_mode="bound", **options) -> Tensor:
    """Lopez-Paz and Ranzato: the dual by trying every set of active bounds; v >= margin, or margin added to v >= 0.

    Hsu et al.: memories drawn at random, cut to equal shares of a budget, and trained on.
    """
    params, memories, trail = parameters(module), [], []
    hsu = options.get("hsu", False)

    def project(grads, batch):
        trail.extend(batch)
        if not memories:
            return grads
        home = listed(stream.tasks[len(memories)].train)
        kept = [[under(example, home, stream) for example in memory] for memory in memories]
        G = torch.stack([flat(gradients(mean_loss(module, memory), params)) for memory in kept])
        g = flat(grads)
        if bool((G @ g >= 0).all()):
            return grads
        mean = sum(float(row @ row) for row in G) / len(G)
        eps = options.get("eps", 1e-3) * (mean if options.get("eps_relative") else 1)
        A = G @ G.T + eps * torch.eye(len(G), dtype=G.dtype)
        v = bounded(A, G @ g, margin if margin_mode == "bound" else 0.0)
        v = v + margin if margin_mode == "shift" else v
        return _named(g + v @ G, params)

    def data(task):
        new = listed(task.train)
        size = budget or per_task * len(memories)
        return _repeated(memories, size, new, stream) + new if hsu or options.get("rehearse") else new

    def after_task(task):
        if hsu or options.get("memory") == "random":
            memories[:] = _shared(memories, task, per_task or budget // (task.index + 1), seed)
        else:
            memories.append(trail[-per_task:])
        trail.clear()

    return loop(module, stream, train, seed, data=data, project=project, after_task=after_task)


def _shared(memories, task, m, seed):
    """The first m of every memory, and m random ones of a new task."""
    new = listed(task.train)
    order = torch.randperm(len(new), generator=generator(seed, "memory", task.index)).tolist()
    return [kept[:m] for kept in memories] + [[new[n] for n in order[:m]]]


def _repeated(memories, size, new, stream):
    """All memories under the units of the new task, as often as they go into its data, at least once."""
    old = [under(example, new, stream) for kept in memories for example in kept]
    return old * max(1, len(new) // size) if old else old


def bounded(A: Tensor, q: Tensor, bound: float) -> Tensor:
    """argmin_{v >= bound} 1/2 v.A v + q.v: of all sets of free unknowns, the one that meets the KKT conditions."""
    K = len(q)
    for size in range(K + 1):
        for free in map(list, combinations(range(K), size)):
            v = torch.full_like(q, bound)
            held = [k for k in range(K) if k not in free]
            if free:
                v[free] = torch.linalg.solve(A[free][:, free], -q[free] - A[free][:, held] @ v[held])
            if bool((v >= bound).all()) and bool(((A @ v + q)[held] >= 0).all()):
                return v
    raise AssertionError("no set of bounds meets the KKT conditions")


def agem(module, stream, train, seed, per_class=1, batch_memory=256, eps=0.0, vdv=False, mammoth=False) -> Tensor:
    """Chaudhry et al.: a ring for each class of a task; one reference gradient, removed where it is opposed.

    mammoth: a random batch of each task instead of rings.
    """
    eps = 1e-7 if vdv else eps
    params, memory, rings, draws = parameters(module), [], {}, {}

    def project(grads, batch):
        for example in batch:
            ring, place = rings.setdefault(example[1], ([], [0]))
            ring[place[0] % per_class : place[0] % per_class + 1] = [example]
            place[0] += 1
        if not memory:
            return grads
        task = draws["task"]
        draw = draws.setdefault(task, generator(seed, "agem", task))
        places = torch.randperm(len(memory), generator=draw).tolist()[:batch_memory]
        home = listed(stream.tasks[task].train)
        r = flat(gradients(mean_loss(module, [under(memory[n], home, stream) for n in places]), params))
        g = flat(grads)
        return _named(g - (g @ r) / (r @ r + eps) * r, params) if g @ r < 0 else grads

    def after_task(task):
        if mammoth:
            memory.extend(_shared([], task, train.batch, seed)[0])
        for unit in sorted(rings) if not mammoth else []:
            memory.extend(rings[unit][0])
        rings.clear()
        draws["task"] = task.index + 1

    return loop(module, stream, train, seed, project=project, after_task=after_task)


def _named(vector, params):
    pieces = vector.split([p.numel() for p in params.values()])
    return {name: piece.view(p.shape) for (name, p), piece in zip(params.items(), pieces, strict=True)}


def lwf(module, stream, train, seed, lam=1.0, T=2.0, vdv=False, vdv2022=False, unit_mean=False) -> Tensor:
    """Li and Hoiem: tasks with units of their own have a term for each old head; otherwise one for those known.

    van de Ven and Tolias: task k weighs 1 / k, the mean over the heads T^2 (1 - 1 / k), with the new units among z.
    Van de Ven et al. (2022): 1 and k - 1, in class-IL 1 and 1.
    """
    teachers, heads, own = [], [], stream.tasks[0].own_units

    def loss(module, batch):
        return mean_loss(module, batch) / (len(teachers) + 1 if vdv else 1)

    def distil(batch):
        total = 0
        for x, _, allowed in batch if teachers else []:
            for units in heads:
                target = (teachers[-1](x[None])[0][units].detach() / T).exp()
                target = target / target.sum()
                span = units if own or not (vdv or vdv2022) else allowed
                log_q = (module(x[None])[0][span] / T).log_softmax(0)
                terms = [target[n] * log_q[span.index(unit)] for n, unit in enumerate(units)]
                total = total - sum(terms) / len(batch) / (len(span) if unit_mean else 1)
        if vdv and heads:
            total = T**2 * (1 - 1 / (len(teachers) + 1)) * total / len(heads)
        if vdv2022 and heads:
            total = (1 if stream.scenario == "class" else len(teachers)) * total / len(heads)
        return lam * total

    def after_task(task):
        teachers.append(deepcopy(module))
        units = listed(task.train)[0][2]
        heads[:] = [*heads, units] if own else [units]

    return loop(module, stream, train, seed, loss=loss, distil=distil, after_task=after_task)


def rehearsal(module, stream, train, seed, budget) -> Tensor:
    """Hsu et al.: the memory, repeated until it is as large as the task's data, is trained on with them."""
    memory = []

    def data(task):
        new = listed(task.train)
        return _repeated(memory, budget, new, stream) + new

    def after_task(task):
        memory[:] = _shared(memory, task, budget // (task.index + 1), seed)

    return loop(module, stream, train, seed, data=data, after_task=after_task)


def under(example, new, stream):
    """An old example with the units that it is trained with beside the `new` ones."""
    x, y, units = example
    return x, y, new[0][2] if stream.scenario == "class" else units

"""Whole runs of the regularisation methods a second time (slow.py), with every option that other code's presets use."""

import torch
from torch import Tensor

from methods.base.rng import generator
from tests.support.slow import (
    copy,
    distance,
    fisher,
    flat,
    gradients,
    grouped,
    listed,
    log_p,
    loop,
    mas_importance,
    parameters,
    squared_means,
)


def l2(module, stream, train, seed, lam, per_task=False) -> Tensor:
    """lam / 2 ||theta - star||^2, summed over all earlier tasks or at the last alone."""
    params, stars = parameters(module), []
    ones = {name: torch.ones_like(p) for name, p in params.items()}

    def penalty():
        return sum(lam / 2 * distance(params, ones, star) for star in (stars if per_task else stars[-1:]))

    return loop(module, stream, train, seed, penalty=penalty, after_task=lambda task: stars.append(copy(params)))


def ewc(module, stream, train, seed, lam, **options) -> Tensor:
    """Kirkpatrick et al., eq. 3: sum over earlier tasks l of lam_l / 2 sum_i F^l_i (theta_i - theta^l_i)^2."""
    params, terms = parameters(module), []
    weights = lam if isinstance(lam, list) else [lam] * len(stream.tasks)

    def penalty():
        return sum(w / 2 * distance(params, F, star) for w, (F, star) in zip(weights, terms, strict=False))

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


def facil_ewc(module, stream, train, seed, lam, fisher_batch) -> Tensor:
    """lam / 2 sum_i F_i (theta_i - star_i)^2 with F <- F / 2 + F_k / 2 from F = 0 on; of batches, argmax labels."""
    params = parameters(module)
    F, stars = {name: torch.zeros_like(p) for name, p in params.items()}, []

    def penalty():
        return lam / 2 * distance(params, F, stars[-1]) if stars else 0

    def after_task(task):
        new = _fisher(module, task, seed, "batched_argmax", fisher_batch)
        F.update({name: F[name] / 2 + new[name] / 2 for name in F})
        stars.append(copy(params))

    return loop(module, stream, train, seed, penalty=penalty, after_task=after_task)


def _fisher(module, task, seed, fisher_estimator="exact", fisher_batch=128, n_samples=None):
    examples, draws = listed(task.train), generator(seed, "fisher", task.index)
    if n_samples is not None and n_samples < len(examples):
        examples = [examples[n] for n in torch.randperm(len(examples), generator=draws).tolist()[:n_samples]]
    if fisher_estimator == "batched_argmax":
        examples = [(x, units[int(log_p(module, x, units).argmax())], units) for x, _, units in examples]
    if fisher_estimator.startswith("batched"):
        return squared_means(module, grouped(examples, fisher_batch, draws))
    return fisher(module, examples, fisher_estimator)


def mas(
    module,
    stream,
    train,
    seed,
    lam,
    per_sample=True,
    unit_mean=False,
    batch=128,
    norm="squared",
    ema=None,
    from_zero=False,
) -> Tensor:
    """Aljundi et al.: lam sum_i Omega_i (theta_i - star_i)^2, Omega the sum or an average over earlier tasks."""
    params, omegas, stars = parameters(module), [], []

    def penalty():
        weights = _weights(len(omegas), ema, from_zero)
        return sum(lam * w * distance(params, omega, stars[-1]) for w, omega in zip(weights, omegas, strict=True))

    def after_task(task):
        size = 1 if per_sample else batch
        groups = grouped(listed(task.train), size, generator(seed, "mas", task.index))
        omegas.append(mas_importance(module, groups, unit_mean, norm))
        stars.append(copy(params))

    return loop(module, stream, train, seed, penalty=penalty, after_task=after_task)


def _weights(K, ema, from_zero) -> list[float]:
    """What each of K tasks counts: 1 in a sum; otherwise the newest 1 - ema, those before it ever less."""
    if ema is None:
        return [1.0] * K
    weights = [(1 - ema) * ema ** (K - 1 - k) for k in range(K)]
    return weights if from_zero or not K else [ema ** (K - 1), *weights[1:]]


def si(
    module,
    stream,
    train,
    seed,
    c,
    xi=0.1,
    clamp="cumulative",
    grad="task",
    upper_clip=float("inf"),
    from_zero=False,
) -> Tensor:
    """Zenke et al., eqs. 3 to 5, with the cut at zero that `clamp` names and the gradient that `grad` names."""
    params = parameters(module)
    zero = {name: torch.zeros_like(p) for name, p in params.items()}
    start, omega, w, begun = copy(zero if from_zero else params), copy(zero), copy(zero), []

    def penalty():
        cut = {name: value.clamp(max=upper_clip) for name, value in omega.items()}
        return c * distance(params, cut, start) if begun else 0

    def after_step(old, grads):
        for name, p in params.items():
            g = grads[name] if grad == "task" else p.grad
            w[name] = w[name] - g * (p.detach() - old[name])

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


def released_rwalk(module, stream, train, seed, lam, alpha=0.9, interval=10, eps=1e-3) -> Tensor:
    """RWalk as the authors' repository computes it, from lists of every step's squares and path integrals."""
    params = parameters(module)
    zero = {name: torch.zeros_like(p) for name, p in params.items()}
    window, F, s, scores, squares, works, importance, star = copy(params), copy(zero), copy(zero), [], [], [], {}, {}

    def penalty():
        return lam * distance(params, importance, star) if star else 0

    def project(grads, batch):
        if (len(squares) + 1) % interval == 0:
            for name, p in params.items():
                w = torch.relu(sum((work[name] for work in works), zero[name]))
                s[name] = s[name] + w / (eps + F[name] * (p.detach() - window[name]) ** 2)
                F[name] = (1 - alpha) * F[name] + alpha / interval * sum((each[name] for each in squares), zero[name])
            works.clear()
            window.update(copy(params))
        squares.append({name: g**2 for name, g in grads.items()})
        return grads

    def after_step(old, grads):
        works.append({name: -grads[name] * (p.detach() - old[name]) for name, p in params.items()})

    def after_task(task):
        scores.append(copy(s))
        # S_1 = s_1, S_k = 3/2 S_{k-1} + 1/2 s_k
        shares = [1.5 ** (len(scores) - 1)] + [0.5 * 1.5 ** (len(scores) - 1 - k) for k in range(1, len(scores))]
        for name in params:
            S = {n: sum(share * each[n] for share, each in zip(shares, scores, strict=True)) for n in params}
            scaled = [(one[name] - flat(one).min()) / (flat(one).max() - flat(one).min() + 1e-32) for one in (F, S)]
            importance[name] = scaled[0] + scaled[1]
        s.update(copy(zero))
        window.update(copy(params))
        star.update(copy(params))
        works.clear()
        squares.clear()

    hooks = {"penalty": penalty, "project": project, "after_step": after_step, "after_task": after_task}
    return loop(module, stream, train, seed, **hooks)


def scp(module, stream, train, seed, lam, ema=0.5, from_zero=False, slices=None) -> Tensor:
    """Kolouri et al.: lam sum_i Gamma_i (theta_i - star_i)^2, with all one-hot slices of the units in use, or drawn."""
    params, gammas, stars = parameters(module), [], []

    def penalty():
        weights = _weights(len(gammas), ema, from_zero)
        return sum(lam * w * distance(params, gamma, stars[-1]) for w, gamma in zip(weights, gammas, strict=True))

    def after_task(task):
        examples = listed(task.train)
        units = examples[0][2]
        xis = torch.eye(len(units), dtype=torch.float64)
        if slices is not None:
            draws = generator(seed, "scp", task.index)
            xis = torch.randn(slices, len(units), generator=draws, dtype=torch.float64)
        new = {name: torch.zeros_like(p) for name, p in params.items()}
        for xi in xis:
            mean = sum(module(x[None])[0][units] @ xi / xi.norm() for x, _, _ in examples) / len(examples)
            for name, g in gradients(mean, params).items():
                new[name] += g**2 / len(xis)
        gammas.append(new)
        stars.append(copy(params))

    return loop(module, stream, train, seed, penalty=penalty, after_task=after_task)

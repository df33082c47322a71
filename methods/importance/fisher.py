"""Diagonals of the Fisher information, every estimator under its own name.

    s_n(y) = d log p_theta(y | x_n) / d theta        p: the likelihood, over the units that the mask allows

    exact               F_i = 1/N sum_n E_y s_n,i(y)^2, y ~ p(.|x_n)   the Fisher itself; needs no labels
    sample              1/(N r) sum_n sum_r s_n,i(y_r)^2, y_r drawn    unbiased for `exact`; r: `draws`
    empirical           1/N sum_n s_n,i(y_n)^2, true labels            vanishes as the fit becomes perfect
    argmax              1/N sum_n s_n,i(y)^2, y the predicted unit     biased down
    p_weighted          1/N sum_n p(y_n|x_n) s_n,i(y_n)^2              one term of the exact sum
    unweighted_classes  1/N sum_n sum_y s_n,i(y)^2                     every unit as if it were certain
    batched             mean over batches b of (mean_n s_n,i(y_n))^2   not the Fisher; what many libraries compute
    batched_rescaled    mean over b of N_b (mean_n s_n,i(y_n))^2       N_b: size of b; `empirical` if the mean is 0
    batched_argmax      `batched` with the predicted units as labels   what FACIL computes

All are taken in evaluation mode at theta, on the examples given. They are sums over single examples (persample.py), so
the batch size changes nothing except in the estimators that are named for it. The exact expectation costs one backward
pass for each factor of the Fisher at the outputs (likelihoods.py): one fewer than there are units for a softmax. A
softmax of one unit has the Fisher 0, since p = 1. The full matrix, and other matrices that are called a Fisher, are in
methods/importance/curvature.py.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor

from methods.base.errors import UserError
from methods.base.examples import Examples, Part
from methods.base.net import by_replica, gradient
from methods.base.options import Count, Need, checked
from methods.importance import likelihoods
from methods.importance.example_gradients import accumulator
from methods.importance.likelihoods import CATEGORICAL, Categorical, Likelihood
from methods.importance.persample import mean

OF_UNITS = ("argmax", "p_weighted", "unweighted_classes", "batched_argmax")  # for a categorical likelihood alone
OF_LABELS = ("empirical", "p_weighted", "batched", "batched_rescaled")
ESTIMATORS = ("exact", "sample", *OF_LABELS, "argmax", "unweighted_classes", "batched_argmax")
BATCHED = Need("a batched estimator, as fisher = 'batched'", lambda own: own.fisher.startswith("batched"))
Data = Examples | tuple[Tensor, Tensor | None] | Iterable


def diagonal(
    net,
    theta: Tensor,
    examples: Data,
    estimator: str = "exact",
    generators: list[torch.Generator] | None = None,
    n_samples: int | None = None,
    batch: int = 128,
    draws: int = 1,
    likelihood: str | Likelihood = "categorical",
) -> Tensor:
    """Return the Fisher diagonal [..., P] at theta [..., P].

    `examples` are tensors (x, y), or batches (x, y) as a DataLoader gives them, or Examples. y may be None, or left out
    of the batches, if the estimator needs no labels. `generators` has one for each replica (one for [P]): `sample`
    draws its labels from it, and `n_samples` draws its subset, uniformly and without replacement. The batched
    estimators draw their batches from it; without one they take the examples in order. `batch` is the size of these
    batches. `draws` is how many labels `sample` draws for each example.
    """
    for name, value, kind in (
        ("fisher", estimator, Literal[*ESTIMATORS]),
        ("n_samples", n_samples, Count | None),
        ("fisher_batch", batch, Count),
        ("draws", draws, Count),
    ):
        checked(name, value, kind)
    p = likelihoods.of(likelihood)
    if estimator in OF_UNITS and not isinstance(p, Categorical):
        raise UserError(f"{estimator} is about units of a softmax: for {p} take exact, sample or empirical")
    examples = as_examples(examples, estimator, theta.device)
    replicas = 1 if theta.dim() == 1 else len(theta)
    if generators and (isinstance(generators, torch.Generator) or len(generators) != replicas):
        raise UserError(f"generators must be a list, one for each replica: {replicas}")
    subset = n_samples is not None and n_samples < len(examples)
    if not generators and (subset or estimator == "sample"):
        raise UserError(f"{'n_samples' if subset else 'sample'} draws at random: give `generators`")

    def of_one(theta: Tensor, some: Examples, generator: torch.Generator | None) -> Tensor:
        if subset:
            chosen = torch.randperm(len(examples), generator=generator)[:n_samples]
            some = some.select(chosen.to(theta.device))
        if estimator.startswith("batched"):
            return _squared_batch_means(net, theta, some, estimator, generator, batch, p)
        return mean(
            net, theta, some, lambda z, y, mask: scores(z, y, mask, estimator, generator, draws, p), torch.square
        )

    return by_replica(of_one, theta, examples.of_each(replicas), generators or [None] * replicas)


def as_examples(examples: Data, estimator: str, device: torch.device) -> Examples:
    """Return Examples. Tensors (x, y), and batches of them, may use all outputs. Refuse an empty set."""
    if not isinstance(examples, Examples):
        x, y = _tensors(examples)
        if y is not None and len(y) != len(x):
            raise UserError(f"every input needs one label, or none has any: got {len(x)} inputs and {len(y)} labels")
        if y is None and estimator in OF_LABELS:
            raise UserError(f"{estimator} is about the true labels: give them, or take exact or sample")
        n = torch.arange(len(x))
        examples = Examples((Part(x, n, n if y is None else y, torch.zeros(1)),)).to(device)
    if len(examples) == 0:
        raise UserError("there is no Fisher of no examples: give at least one")
    return examples


def _tensors(data: tuple | Iterable) -> tuple[Tensor, Tensor | None]:
    """Return (x, y) as it is, or put together from batches whose first two entries are x and y."""
    if isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor):
        x, y = data
        _refuse_others([x] if y is None else data)
        if isinstance(data, list) and y is not None and x.dim() > 1 and (x.shape, x.dtype) == (y.shape, y.dtype):
            raise UserError("a list of two such tensors may be two batches: give (x, y), or batches as [(x,), (x,)]")
        return x, y
    batches = list(data)
    if not batches:
        raise UserError("there is no Fisher of no examples: the loader gave no batch")
    if not all(isinstance(batch, tuple | list) and batch for batch in batches):
        kind = type(batches[0]).__name__
        raise UserError(f"a batch must be a tuple of inputs and labels, (x, y) or (x,), got {kind}")
    xs, ys = [batch[0] for batch in batches], [batch[1] for batch in batches if len(batch) > 1]
    if ys and len(ys) < len(xs):
        raise UserError(f"every batch needs labels, or none has any: {len(xs) - len(ys)} of {len(xs)} have none")
    _refuse_others(xs + ys)
    return torch.cat(xs), torch.cat(ys) if ys else None


def _refuse_others(values: Iterable) -> None:
    for value in values:
        if not isinstance(value, Tensor):
            raise UserError(f"inputs and labels must be tensors, got {type(value).__name__}")


def scores(
    z: Tensor,
    y: Tensor,
    mask: Tensor,
    estimator: str,
    generator: torch.Generator | None = None,
    draws: int = 1,
    likelihood: Likelihood = CATEGORICAL,
) -> list[Tensor]:
    """Return cotangents [N, C] at the outputs z. The estimator sums the squares of their gradients."""
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    likelihood.check(z, y if estimator in OF_LABELS else None, mask)
    if estimator == "exact":
        return likelihood.factors(z, mask)
    if estimator == "sample":
        drawn = (likelihood.draw(z, mask, generator) for _ in range(draws))
        return [likelihood.score(z, y, mask) / draws**0.5 for y in drawn]
    if estimator == "argmax":
        y = (z + mask).argmax(-1)
    if estimator == "unweighted_classes":
        allowed = (mask == 0).expand(z.shape)
        units = allowed.any(0).nonzero()
        return [likelihood.score(z, c.expand(len(z)), mask) * allowed[:, c] for c in units]
    score = likelihood.score(z, y, mask)
    if estimator == "p_weighted":
        score = score * (likelihood.log_p(z, y, mask) / 2).exp()[:, None]
    return [score]


def _squared_batch_means(net, theta, examples, estimator: str, generator, batch: int, p: Likelihood) -> Tensor:
    predicted, rescaled = estimator == "batched_argmax", estimator == "batched_rescaled"

    def mean_loss(theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        z = net(theta, x)
        p.check(z, None if predicted else y, mask)
        loss = -p.log_p(z, (z + mask).argmax(-1) if predicted else y, mask).mean()
        return loss * len(x) ** 0.5 if rescaled else loss  # The square makes it N_b.

    return mean_over_batches(torch.square, mean_loss, theta, examples, batch, generator)


def mean_over_batches(f: Callable, loss: Callable, theta: Tensor, examples, batch: int, generator) -> Tensor:
    """Return the mean over shuffled batches of f(gradient of the batch's mean loss) [P]."""
    total, n_batches = accumulator(theta), 0
    for x, y, mask in examples.batches(batch, generator):
        total += f(gradient(loss, theta, x, y, mask).to(total.dtype))
        n_batches += 1
    return total / n_batches


def of_task(method, theta: Tensor, task) -> Tensor:
    """Return the diagonal [..., P] on a task's training data, by the estimator that the method's options name."""
    if method.overrides("loss") and method.likelihood is None:
        raise UserError(f"{type(method).__name__} has a loss of its own, without a likelihood: it has no Fisher")
    generators, likelihood = method.generators("fisher", theta, task), method.likelihood or CATEGORICAL
    options = {"n_samples": method.n_samples, "batch": method.fisher_batch, "likelihood": likelihood}
    return diagonal(method.net, theta, task.train, method.fisher, generators, **options)

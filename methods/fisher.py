"""Diagonals of the Fisher information, every estimator under its own name.

    s_n(y) = d log p_theta(y | x_n) / d theta,   p = softmax over the units that the mask allows

    exact             F_i = 1/N sum_n sum_y p(y|x_n) s_n,i(y)^2       the Fisher itself; needs no labels
    sample            1/N sum_n s_n,i(y)^2, y drawn from p(.|x_n)     unbiased for `exact`
    empirical         1/N sum_n s_n,i(y_n)^2, true labels             vanishes as the fit becomes perfect
    argmax            1/N sum_n s_n,i(y)^2, y the predicted unit      biased down
    p_weighted        1/N sum_n p(y_n|x_n) s_n,i(y_n)^2               one term of the exact sum
    batched           mean over batches of (mean_n s_n,i(y_n))^2      not the Fisher; what many libraries compute
    batched_rescaled  batch size times `batched`                      unbiased for `empirical` only where the mean is 0

All are taken in evaluation mode at theta, on the examples given; per-example sums, so the batch size changes nothing
except in the two that are named for it. The exact sum costs one backward pass for each unit that is allowed: with
S_y = sqrt(p_y) (e_y - p), sum_y S_y S_y^T = diag p - p p^T.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.errors import check_whole, unknown
from methods.persample import mean

ESTIMATORS = ("exact", "sample", "empirical", "argmax", "p_weighted", "batched", "batched_rescaled")


def diagonal(
    net,
    theta: Tensor,
    examples,
    estimator: str = "exact",
    generators: list[torch.Generator] | None = None,
    n_samples: int | None = None,
    batch: int = 128,
) -> Tensor:
    """The Fisher diagonal [..., P] at theta [..., P] on `examples`.

    generators: one for each replica (one for [P]); `sample` draws its labels, the batched estimators their batches
    and `n_samples` its subset (uniform, without replacement) from it. batch: the size that the batched estimators are
    about.
    """
    if theta.dim() > 1:
        rows = [
            diagonal(net, row, examples, estimator, generators and [generators[r]], n_samples, batch)
            for r, row in enumerate(theta)
        ]
        return torch.stack(rows)
    generator = generators[0] if generators else None
    if n_samples is not None and n_samples < len(examples):
        chosen = torch.randperm(len(examples), generator=generator)[:n_samples]
        examples = examples.select(chosen.to(theta.device))
    if estimator.startswith("batched"):
        scale = batch if estimator == "batched_rescaled" else 1
        return scale * _squared_batch_means(net, theta, examples, batch, generator)
    return mean(net, theta, examples, lambda z, y, mask: scores(z, y, mask, estimator, generator), torch.square)


def scores(logits: Tensor, y: Tensor, mask: Tensor, estimator: str, generator: torch.Generator | None) -> list[Tensor]:
    """Cotangents [N, C] at the logits whose squared gradients the estimator sums."""
    p = (logits + mask).softmax(-1)
    if estimator == "exact":
        allowed = (mask == 0).view(-1, mask.shape[-1]).any(0).nonzero().flatten()
        return [p[:, [c]].sqrt() * (_one_hot(c, p) - p) for c in allowed]
    if estimator == "sample":
        y = torch.multinomial(p.cpu(), 1, generator=generator).flatten().to(p.device)
    elif estimator == "argmax":
        y = p.argmax(-1)
    score = torch.nn.functional.one_hot(y, p.shape[-1]) - p
    return [p.gather(-1, y[:, None]).sqrt() * score if estimator == "p_weighted" else score]


def _one_hot(c: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like[0]).index_fill(0, c, 1.0)


def _squared_batch_means(net, theta: Tensor, examples, batch: int, generator: torch.Generator | None) -> Tensor:
    def mean_loss(theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(net(theta, x) + mask, y)

    return mean_over_batches(torch.square, mean_loss, theta, examples, batch, generator)


def mean_over_batches(f: Callable, loss: Callable, theta: Tensor, examples, batch: int, generator) -> Tensor:
    """Mean over shuffled batches of f(gradient of the batch's mean loss) [P]."""
    total, count = torch.zeros_like(theta), 0
    for x, y, mask in examples.batches(batch, generator):
        variable = theta.detach().requires_grad_()
        with torch.enable_grad():
            total += f(torch.autograd.grad(loss(variable, x, y, mask), variable)[0])
        count += 1
    return total / count


def of_task(method, theta: Tensor, task) -> Tensor:
    """The diagonal [..., P] on a task's training data, by the estimator that the method's options name."""
    generators = method.generators("fisher", theta, task)
    return diagonal(method.net, theta, task.train, method.fisher, generators, method.n_samples, method.fisher_batch)


def check(estimator: str, n_samples: int | None, batch: int) -> None:
    """Refuse options that `diagonal` cannot serve."""
    if estimator not in ESTIMATORS:
        raise unknown("fisher", estimator, ESTIMATORS)
    if n_samples is not None:
        check_whole("n_samples", n_samples)
    check_whole("fisher_batch", batch)

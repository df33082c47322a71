"""Matrices that are called the Fisher: the variance of the score, and the curvature of the mean loss.

    L = -1/N sum_n log p(y_n | z_n)                      z_n = f(x_n; theta) outputs [C], J_n = d z_n / d theta [C, P]

    full          F = 1/N sum_n J_n^T F_n J_n  [P, P]    F_n = E_y[score score^T], the Fisher at z_n
    gauss_newton  diagonal of 1/N sum_n J_n^T H_n J_n    H_n: Hessian of -log p(y_n | z) by z at z_n
    hessian       diagonal of d^2 L / d theta^2          the former + 1/N sum_n sum_c (d -log p / d z_nc) d^2 z_nc
    mean_score    1/N sum_n d log p(y_n | z_n) / d theta = -dL / d theta, which vanishes at an optimum

For the likelihoods here H_n = F_n whatever the label. So the Gauss-Newton diagonal is that of the exact Fisher. The
Hessian's diagonal is the same where the outputs are linear in every single weight, as in softmax regression and in
networks of ReLU layers. Elsewhere its entries can be negative, and `hessian_diagonal` returns them so. To use it as an
importance, clamp it at 0 and say what fraction that was.
"""

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from methods.base.errors import UserError, unknown
from methods.importance import likelihoods
from methods.importance.example_gradients import accumulator, by_examples, within_budget
from methods.importance.fisher import Data, as_examples, scores
from methods.importance.layers import wide
from methods.importance.likelihoods import Likelihood
from methods.importance.persample import mean, mean_gradients, passes
from methods.importance.probe import plan_of

FULL = 10_000  # the most parameters of a full matrix
Said = str | Likelihood


def full(net, theta: Tensor, examples: Data, estimator: str = "exact", likelihood: Said = "categorical") -> Tensor:
    """Return the Fisher matrix [P, P] at theta [P]: `exact`, or `empirical`, which takes the true labels.

    The other arguments are those of `diagonal`.
    """
    if estimator not in ("exact", "empirical"):
        raise unknown("estimator of the full Fisher", estimator, ("exact", "empirical"))
    P, p = len(theta), likelihoods.of(likelihood)
    if P > FULL:
        size = accumulator(theta[:1]).element_size() * P**2 / 2**30
        raise UserError(f"the full Fisher of {P} parameters takes {size:.1f} GiB: it is for at most {FULL}")
    F = accumulator(theta).new_zeros(P, P)
    examples = as_examples(examples, estimator, theta.device)
    parameters = net.views(theta)
    for x, y, mask in passes(net, theta, examples):
        with torch.no_grad():
            seeds = scores(net(theta, x), y, mask, estimator, likelihood=p)
        plan = plan_of(net, theta, x, by_examples=True)
        for seed in seeds:
            for gradients in by_examples(
                net, parameters, x, seed.to(theta.dtype), list(parameters), plan.held, plan.vmap
            ):
                G = wide(torch.cat([G.flatten(1) for G in gradients.values()], dim=1))
                F.addmm_(G.T, G)
    return F / len(examples)


def gauss_newton_diagonal(net, theta: Tensor, examples: Data, likelihood: Said = "categorical") -> Tensor:
    """Return the Gauss-Newton diagonal [P] of the mean loss."""
    p = likelihoods.of(likelihood)

    def cotangents(z: Tensor, y: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        z = wide(z).requires_grad_()
        p.check(z, y, mask)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(-p.log_p(z, y, mask).sum(), z, create_graph=True)
            rows = [torch.autograd.grad(column.sum(), z, retain_graph=True)[0] for column in gradient.unbind(1)]
        values, vectors = torch.linalg.eigh(torch.stack(rows, 1))  # H_n = sum_k values_k v_k v_k^T
        return (vectors * values.clamp(min=0).sqrt()[:, None]).unbind(2)

    return mean(net, theta, as_examples(examples, "empirical", theta.device), cotangents, torch.square)


def hessian_diagonal(net, theta: Tensor, examples: Data, likelihood: Said = "categorical") -> Tensor:
    """Return the Hessian's diagonal [P] of the mean loss. It takes P products with unit vectors: keep nets small."""
    p, examples = likelihoods.of(likelihood), as_examples(examples, "empirical", theta.device)
    diagonal, units = accumulator(theta), torch.arange(len(theta), device=theta.device)
    for x, y, mask in passes(net, theta, examples):
        plan = plan_of(net, theta, x, by_examples=True)
        if not plan.vmap:
            raise UserError(
                "torch.func cannot differentiate this network: it has no Hessian here; take gauss_newton_diagonal"
            )
        with torch.no_grad():
            p.check(net(theta, x), y, mask)

        def loss(theta: Tensor, x=x, y=y, mask=mask) -> Tensor:
            return -p.log_p(net(theta, x), y, mask).sum()

        _, product = vjp(grad(loss), theta)
        size = 2 * len(x) * plan.held + 16 * len(theta)
        for some in units.split(within_budget(size, theta.device)):
            (rows,) = vmap(product)(torch.nn.functional.one_hot(some, len(theta)).to(theta.dtype))
            diagonal[some] += rows.gather(1, some[:, None]).flatten()
    return diagonal / len(examples)


def mean_score(net, theta: Tensor, examples: Data, likelihood: Said = "categorical") -> Tensor:
    """Return the mean over examples of their labels' scores [P]."""
    p, examples = likelihoods.of(likelihood), as_examples(examples, "empirical", theta.device)
    return mean_gradients(net, theta, examples, lambda z, y, mask: scores(z, y, mask, "empirical", likelihood=p))[0]

"""Likelihoods: what outputs z [N, C] of a network say of labels y. Only the outputs that the mask allows (0) take part.

    categorical   log p = log softmax(z)_y                             Fisher at z: diag p - p p^T,  p = softmax(z)
    bernoulli     log p = sum_c y_c log p_c + (1 - y_c) log(1 - p_c)   diag p (1 - p),  p = sigmoid(z)
    gaussian      log p = -sum_c (y_c - z_c)^2 / (2 variance) + const  I / variance

Each has four functions. `log_p` [N] is the above. `score` [N, C] is its derivative by z. `factors` are S_1, S_2, ...
[N, C] with sum_k S_k S_k^T = E_y[score score^T], the Fisher at z. `draw` draws labels, from one uniform number for each
example (and output), so that a seed draws the same labels whatever the size of a pass.

The categorical factors are the columns of the Cholesky factor of diag p - p p^T (Tanabe and Sagae, 1992), one fewer
than there are units; so there is none for one unit, where p = 1. With q_j = sum_{i >= j} p_i:

    S_j = sqrt(p_j q_{j+1} / q_j) (e_j - p_{>j} / q_{j+1})     p_{>j}: p with zeros up to j
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base.errors import UserError, unknown
from methods.base.examples import OFF
from methods.base.options import Positive, check_options


@dataclass(frozen=True)
class Categorical:
    """Labels are units [N], of any integer type."""

    def check(self, z: Tensor, y: Tensor | None, mask: Tensor) -> None:
        """Refuse masks or labels that make no sense. y is None if no labels are needed."""
        _check_mask(mask)
        allowed = _allowed(z, mask)
        if not bool(allowed.any(-1).all()):
            raise UserError("the mask allows no unit for an example: allow at least one")
        if y is None:
            return
        if y.is_floating_point() or y.is_complex() or y.shape != z.shape[:1]:
            raise UserError(
                f"labels must be one whole number for each example, got {y.dtype} of shape {tuple(y.shape)}"
            )
        y = y.long()
        inside = (y >= 0) & (y < z.shape[-1])
        inside[inside.clone()] = allowed[inside].gather(-1, y[inside, None]).flatten()
        if not bool(inside.all()):
            raise UserError(f"label {int(y[~inside][0])} is not among the units that the mask allows")

    def log_p(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return log p [N]."""
        return -F.cross_entropy(z + mask, y.long(), reduction="none")

    def score(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return e_y - p."""
        return F.one_hot(y.long(), z.shape[-1]) - (z + mask).softmax(-1)

    def factors(self, z: Tensor, mask: Tensor) -> list[Tensor]:
        """Return S_j for all units but the last."""
        p, tiny = (z + mask).softmax(-1), torch.finfo(z.dtype).tiny
        q = p.flip(-1).cumsum(-1).flip(-1)
        factors = []
        for j in _allowed(z, mask).any(0).nonzero().flatten().tolist()[:-1]:
            S, rest = torch.zeros_like(p), q[:, j + 1].sqrt()
            S[:, j] = rest
            S[:, j + 1 :] = -p[:, j + 1 :] / rest.clamp(min=tiny)[:, None]
            factors.append(S * (p[:, j] / q[:, j].clamp(min=tiny)).sqrt()[:, None])
        return factors

    def draw(self, z: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Draw units [N]."""
        cumulative = (z + mask).double().softmax(-1).cumsum(-1)
        level = uniform((len(z), 1), z, generator) * cumulative[:, -1:]
        return (cumulative[:, :-1] <= level).sum(-1)


@dataclass(frozen=True)
class Bernoulli:
    """Labels are 0 or 1 for each output [N, C], or units [N]: the named unit is 1 and the others are 0."""

    def check(self, z: Tensor, y: Tensor | None, mask: Tensor) -> None:
        """Refuse masks or labels that make no sense. y is None if no labels are needed."""
        if y is not None and y.dim() == 1:
            if z.shape[-1] == 1:
                raise UserError(f"labels of one output must be 0 or 1, of shape {tuple(z.shape)}, got {tuple(y.shape)}")
            return CATEGORICAL.check(z, y, mask)
        _check_mask(mask)
        if y is not None and (y.shape != z.shape or bool(((y != 0) & (y != 1)).any())):
            raise UserError(
                f"labels must be 0 or 1 for each of the outputs, of shape {tuple(z.shape)}, or one unit each"
            )

    def log_p(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return log p [N]."""
        losses = F.binary_cross_entropy_with_logits(z, self._of_outputs(z, y), reduction="none")
        return -(losses * _allowed(z, mask)).sum(-1)

    def score(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return y - p."""
        return (self._of_outputs(z, y) - z.sigmoid()) * _allowed(z, mask)

    def factors(self, z: Tensor, mask: Tensor) -> list[Tensor]:
        """Return sqrt(p_c (1 - p_c)) e_c."""
        return _columns((z.sigmoid() * (-z).sigmoid()).sqrt(), mask)

    def draw(self, z: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Draw labels [N, C]."""
        return (uniform(z.shape, z, generator) < z.sigmoid()).to(z.dtype)

    def _of_outputs(self, z: Tensor, y: Tensor) -> Tensor:
        """Return labels [N, C]."""
        return (F.one_hot(y.long(), z.shape[-1]) if y.dim() == 1 else y).to(z.dtype)


@dataclass(frozen=True)
class Gaussian:
    """Labels are numbers [N, C]. With variance C / 2 the mean of -log p is torch's `mse_loss`."""

    variance: Positive = 1.0

    def __post_init__(self):
        check_options(self)

    def check(self, z: Tensor, y: Tensor | None, mask: Tensor) -> None:
        """Refuse masks or labels that make no sense. y is None if no labels are needed."""
        _check_mask(mask)
        if y is not None and (y.shape != z.shape or not bool(y.isfinite().all())):
            raise UserError(f"labels must be finite numbers like the outputs, of shape {tuple(z.shape)}")

    def log_p(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return log p [N] without its constant."""
        return -((y - z).square() * _allowed(z, mask)).sum(-1) / (2 * self.variance)

    def score(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return (y - z) / variance."""
        return (y - z) * _allowed(z, mask) / self.variance

    def factors(self, z: Tensor, mask: Tensor) -> list[Tensor]:
        """Return e_c / sqrt(variance)."""
        return _columns(torch.full_like(z, self.variance**-0.5), mask)

    def draw(self, z: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Draw labels [N, C]."""
        normal = torch.special.ndtri(uniform(z.shape, z, generator).clamp(min=2**-54))
        return z + self.variance**0.5 * normal.to(z.dtype)


Likelihood = Categorical | Bernoulli | Gaussian
CATEGORICAL = Categorical()
LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "categorical": Categorical,
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
}


def of(likelihood: str | Likelihood) -> Likelihood:
    """Return the likelihood of this name, or the one given. Any other loss has no Fisher and is refused."""
    if isinstance(likelihood, Likelihood):
        return likelihood
    if likelihood not in LIKELIHOODS:
        raise unknown("likelihood", likelihood, LIKELIHOODS)
    return LIKELIHOODS[likelihood]()


def uniform(shape, like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw numbers from [0, 1) on the CPU. They are the same however many are drawn at a time."""
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(like.device)


def _check_mask(mask: Tensor) -> None:
    """Refuse a mask, such as one of True and False, that does not rule a unit out where it is added to the logits."""
    odd = (mask != 0) & (mask > OFF / 2)
    if bool(odd.any()):
        raise UserError(f"a mask is 0 where a unit is allowed and -1e9 elsewhere, got {mask[odd][0].item()}")


def _allowed(z: Tensor, mask: Tensor) -> Tensor:
    """Say which outputs [N, C] each example may use."""
    return (mask == 0).expand(z.shape)


def _columns(scale: Tensor, mask: Tensor) -> list[Tensor]:
    """Return a factor scale_c e_c [N, C] for each output c that any example may use."""
    allowed = _allowed(scale, mask)
    scale = scale * allowed
    return [torch.zeros_like(scale).index_copy_(1, c, scale[:, c]) for c in allowed.any(0).nonzero()]

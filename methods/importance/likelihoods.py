"""Likelihoods: what outputs z [N, C] of a network say of labels y. Only the outputs that the mask allows (0) take part.

    categorical   log p = log softmax(z)_y                             Fisher at z: diag p - p p^T,  p = softmax(z)
    bernoulli     log p = sum_c y_c log p_c + (1 - y_c) log(1 - p_c)   diag p (1 - p),  p = sigmoid(z)
    gaussian      log p = -sum_c (y_c - z_c)^2 / (2 variance) + const  I / variance

Each gives `log_p` [N], its derivative by z, the `score` [N, C], `factors` S_1, S_2, ... [N, C] of the Fisher at z, that
is sum_k S_k S_k^T = E_y[score score^T], and labels that are drawn: from one uniform number for each example (and
output), so that a seed draws the same labels whatever the size of a pass.

The categorical factors are the columns of the Cholesky factor of diag p - p p^T (Tanabe and Sagae, 1992), one fewer
than there are units. With q_j = sum_{i >= j} p_i:

    S_j = sqrt(p_j q_{j+1} / q_j) (e_j - p_{>j} / q_{j+1})     p_{>j}: p with zeros up to j
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base.errors import UserError, check_number, unknown


@dataclass(frozen=True)
class Categorical:
    """Labels are units [N]."""

    def check(self, z: Tensor, y: Tensor | None, mask: Tensor) -> None:
        """Refuse outputs or labels (None: not needed) that make no sense."""
        allowed = _allowed(z, mask)
        if bool((allowed.sum(-1) < 2).any()):
            raise UserError("a softmax over fewer than two units has no Fisher: allow two, or give another likelihood")
        if y is None:
            return
        if y.is_floating_point() or y.shape != z.shape[:1]:
            raise UserError(
                f"labels must be one whole number for each example, got {y.dtype} of shape {tuple(y.shape)}"
            )
        inside = (y >= 0) & (y < z.shape[-1])
        inside[inside.clone()] = allowed[inside].gather(-1, y[inside, None]).flatten()
        if not bool(inside.all()):
            raise UserError(f"label {int(y[~inside][0])} is not among the units that the mask allows")

    def log_p(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """[N]."""
        return -F.cross_entropy(z + mask, y, reduction="none")

    def score(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """e_y - p."""
        return F.one_hot(y, z.shape[-1]) - (z + mask).softmax(-1)

    def factors(self, z: Tensor, mask: Tensor) -> list[Tensor]:
        """S_j for all units but the last."""
        p, tiny = (z + mask).softmax(-1), torch.finfo(z.dtype).tiny
        q = p.flip(-1).cumsum(-1).flip(-1)
        found = []
        for j in _allowed(z, mask).any(0).nonzero().flatten().tolist()[:-1]:
            S, rest = torch.zeros_like(p), q[:, j + 1].sqrt()
            S[:, j] = rest
            S[:, j + 1 :] = -p[:, j + 1 :] / rest.clamp(min=tiny)[:, None]
            found.append(S * (p[:, j] / q[:, j].clamp(min=tiny)).sqrt()[:, None])
        return found

    def draw(self, z: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """[N]."""
        cumulative = (z + mask).double().softmax(-1).cumsum(-1)
        level = uniform((len(z), 1), z, generator) * cumulative[:, -1:]
        return (cumulative[:, :-1] <= level).sum(-1)


@dataclass(frozen=True)
class Bernoulli:
    """Labels are 0 or 1 for each output [N, C], or units [N], of which that one is 1."""

    def check(self, z: Tensor, y: Tensor | None, mask: Tensor) -> None:
        """Refuse labels that make no sense."""
        if y is not None and y.dim() == 1:
            return CATEGORICAL.check(z, y, mask)
        if y is not None and (y.shape != z.shape or bool(((y != 0) & (y != 1)).any())):
            raise UserError(
                f"labels must be 0 or 1 for each of the outputs, of shape {tuple(z.shape)}, or one unit each"
            )

    def log_p(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """[N]."""
        return -(F.binary_cross_entropy_with_logits(z, self._each(z, y), reduction="none") * _allowed(z, mask)).sum(-1)

    def score(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """y - p."""
        return (self._each(z, y) - z.sigmoid()) * _allowed(z, mask)

    def factors(self, z: Tensor, mask: Tensor) -> list[Tensor]:
        """sqrt(p_c (1 - p_c)) e_c."""
        return _columns((z.sigmoid() * (-z).sigmoid()).sqrt(), mask)

    def draw(self, z: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """[N, C]."""
        return (uniform(z.shape, z, generator) < z.sigmoid()).to(z.dtype)

    def _each(self, z: Tensor, y: Tensor) -> Tensor:
        return (F.one_hot(y, z.shape[-1]) if y.dim() == 1 else y).to(z.dtype)


@dataclass(frozen=True)
class Gaussian:
    """Labels are numbers [N, C]. The loss `mse_loss`, a mean over examples and outputs, is that of variance C / 2."""

    variance: float = 1.0

    def __post_init__(self):
        check_number("variance", self.variance, "a finite number > 0", lambda value: value > 0)

    def check(self, z: Tensor, y: Tensor | None, mask: Tensor) -> None:
        """Refuse labels that make no sense."""
        if y is not None and (y.shape != z.shape or not bool(y.isfinite().all())):
            raise UserError(f"labels must be finite numbers like the outputs, of shape {tuple(z.shape)}")

    def log_p(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """[N], without the constant."""
        return -((y - z).square() * _allowed(z, mask)).sum(-1) / (2 * self.variance)

    def score(self, z: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """(y - z) / variance."""
        return (y - z) * _allowed(z, mask) / self.variance

    def factors(self, z: Tensor, mask: Tensor) -> list[Tensor]:
        """e_c / sqrt(variance)."""
        return _columns(torch.full_like(z, self.variance**-0.5), mask)

    def draw(self, z: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """[N, C]."""
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
    """The likelihood that is named, or given; a loss that is none of them has no Fisher."""
    if isinstance(likelihood, Likelihood):
        return likelihood
    if likelihood not in LIKELIHOODS:
        raise unknown("likelihood", likelihood, LIKELIHOODS)
    return LIKELIHOODS[likelihood]()


def uniform(shape, like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers from [0, 1) of a CPU generator, the same however many are drawn at a time."""
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(like.device)


def _allowed(z: Tensor, mask: Tensor) -> Tensor:
    """[N, C]."""
    return (mask == 0).expand(z.shape)


def _columns(scale: Tensor, mask: Tensor) -> list[Tensor]:
    """scale_c e_c [N, C] for each output c that any example may use."""
    allowed = _allowed(scale, mask)
    scale = scale * allowed
    return [torch.zeros_like(scale).index_copy_(1, c, scale[:, c]) for c in allowed.any(0).nonzero()]

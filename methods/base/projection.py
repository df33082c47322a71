"""Projections of a gradient onto half-spaces: onto several for GEM, and onto one for A-GEM.

GEM     argmin_z ||g - z||^2  subject to  G z >= 0      solved in its dual, of one unknown for each row of G
A-GEM   g - (g . g_ref) / (g_ref . g_ref + eps) g_ref   where g . g_ref < 0
"""

import math

import torch
from scipy.optimize import nnls
from torch import Tensor

SAFE = 1e-20  # between this and its inverse, no sum of products loses digits to the range of float32
TOLERANCE = 1e-6  # relative to the length of g: float32 keeps no more of it


def against(grad: Tensor, reference: Tensor, eps: float = 0.0) -> Tensor:
    """Return grad [P] without its part against `reference` [P]. If they agree or it is 0, return grad itself."""
    product, square = grad @ reference, reference @ reference
    in_range = all(SAFE < abs(float(value)) < 1 / SAFE for value in (product, square))
    if not in_range or torch.finfo(grad.dtype).bits < 32:
        scale = _to_one(reference)
        reference, eps = reference * scale, eps * scale**2
        product, square = grad @ reference, reference @ reference
    return grad if product >= 0 else grad.sub(reference, alpha=float(product / (square + eps)))


def _to_one(reference: Tensor) -> float:
    """Return the power of two that takes the largest component to about 1. Multiplying by it rounds nothing."""
    largest = float(torch.stack(torch.aminmax(reference)).abs().max())  # vector_norm(ord=inf) takes 20 times as long
    if not math.isfinite(largest):
        raise FloatingPointError("the gradient of A-GEM's memory is not finite: the run has diverged")
    return 2.0 ** -min(max(math.frexp(largest)[1], -125), 125)


def dual(rows: Tensor, lengths: Tensor, g: Tensor, eps: float, bound: float) -> Tensor:
    """Return v [K] = argmin_{v >= bound} 1/2 v^T (G G^T + eps I) v + (G g)^T v, where G = lengths [K] * rows [K, P].

    The rows have unit length, in float64. With w = c (v - bound) this is least squares:

        min_{w >= 0} || M (w / c + bound) + (g, 0) ||      M = (G^T, sqrt(eps) I), c: the lengths of its columns

    G^T = Q R leaves K + K equations. G G^T is never formed, because it squares the condition.
    """
    Q, R = torch.linalg.qr(rows.T)
    c = (lengths.square() + eps).sqrt()
    M = torch.cat([R * (lengths / c), torch.diag(eps**0.5 / c)])
    target = torch.cat([Q.T @ g, torch.zeros_like(c)]) + M @ (c * bound)
    w, _ = nnls(M.cpu().numpy(), -target.cpu().numpy())
    v = torch.from_numpy(w).to(c) / c + bound
    missed = float((rows @ (g + (v * lengths) @ rows) + eps * v / lengths).min())  # the gradient by v: never negative
    if missed < -TOLERANCE * float(g.norm()):
        raise FloatingPointError(f"GEM's projection misses a constraint by {-missed:.1e}: its memories are opposed")
    return v

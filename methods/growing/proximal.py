"""Proximal steps: the minimum of 1/2 ||w - v||^2 + t r(w) over w, in closed form for penalties r that have a corner.

    r(w) = sum_i |w_i|       w_i = sign(v_i) max(|v_i| - t, 0)
    r(w) = ||w||_2           w   = v max(1 - t / ||v||_2, 0)

The step for a l1 + b l2 of one group is the first, then the second: prox_{b l2}(prox_{a l1}(v)).
"""

import torch
from torch import Tensor


def soft_threshold(v: Tensor, t: float) -> Tensor:
    """Return the step [...] for the sum of absolute values."""
    return v - v.clamp(-t, t)


def group_shrink(v: Tensor, t: float) -> Tensor:
    """Return the step [G, n] for the sum of the norms of G groups, which are the rows."""
    norm = v.norm(dim=1, keepdim=True)
    return v * torch.where(norm > t, 1 - t / norm.where(norm > t, 1.0), 0.0)

"""Herding (Welling, 2009) picks a few examples whose mean stays close to the mean of all, for iCaRL and RWalk."""

import torch
from torch import Tensor


def herd(features: Tensor, mean: Tensor, m: int) -> Tensor:
    """Return the indices of min(m, N) rows of features [N, D], best first (Rebuffi et al., 2017, algorithm 4).

    p_j = argmin_x || mean - (phi(x) + sum_{i<j} phi(p_i)) / j ||        over the rows not picked yet

    The rows picked do not depend on m: the first m' of m are those of m'. Among equals the lowest row is picked.
    """
    total = torch.zeros_like(mean)
    picked = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    order = torch.zeros(min(m, len(features)), dtype=torch.int64, device=features.device)
    for j in range(1, len(order) + 1):
        distance = (mean - (features + total) / j).norm(dim=-1)
        row = distance.masked_fill(picked, torch.inf).argmin()
        picked[row] = True
        total = total + features[row]
        order[j - 1] = row
    return order

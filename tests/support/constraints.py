"""Gradients and constraints for the projections of GEM and A-GEM."""

import torch

from methods.gem import GEM

PURE = GEM(per_task=1, margin=0.0, eps=0.0)


def case(seed, n_constraints=4, n=30):
    """A gradient that opposes some of its constraints, and those."""
    draws = torch.Generator().manual_seed(seed)
    G = torch.randn(n_constraints, n, dtype=torch.float64, generator=draws)
    G[1:] += 0.7 * G[0]
    return torch.randn(n, dtype=torch.float64, generator=draws) - 0.5 * G.mean(0), G

"""Gradients and constraints for the projections of GEM and A-GEM."""

from itertools import combinations

import torch

from methods.base.projection import dual
from methods.gem import GEM

PURE = GEM(per_task=1, margin=0.0, eps=0.0)


def case(seed, n_constraints=4, n=30):
    """A gradient that opposes some of its constraints, which agree with each other, and those."""
    draws = torch.Generator().manual_seed(seed)
    G = torch.randn(n_constraints, n, dtype=torch.float64, generator=draws)
    G[1:] += 0.7 * G[0]
    return torch.randn(n, dtype=torch.float64, generator=draws) - 0.5 * G.mean(0), G


def opposed(seed, n_constraints=4, n=30, apart=0.5):
    """A gradient and constraints of which every second opposes the others, but for a part `apart`."""
    draws = torch.Generator().manual_seed(100 + seed)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(n_constraints)[:n_constraints, None]
    shared, own = (torch.randn(k, n, dtype=torch.float64, generator=draws) for k in (1, n_constraints))
    G = signs * shared + apart * own
    return torch.randn(n, dtype=torch.float64, generator=draws) - 0.3 * (G[0] + own.mean(0)), G


def solved(g, G, eps, bound):
    """The dual's solution v [K] for constraints of any length."""
    lengths = G.norm(dim=1)
    return dual(G / lengths[:, None], lengths, g, eps, bound)


def nearest(g, G):
    """The point of the cone G z >= 0 nearest to g: of all sets of constraints met with equality, the nearest that fits.

    By orthonormal bases of the rows themselves, without their products.
    """
    rows, found = G / G.norm(dim=1, keepdim=True), []
    for size in range(len(G) + 1):
        for held in combinations(range(len(G)), size):
            basis, _ = torch.linalg.qr(rows[list(held)].T)
            z = g - basis @ (basis.T @ g)
            if float((rows @ z).min()) >= -1e-10 * float(g.norm()):
                found.append(z)
    return min(found, key=lambda z: float((z - g).norm()))

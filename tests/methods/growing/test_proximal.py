"""The proximal steps are the minima that they are said to be: by a search in float64."""

import pytest
import torch

from methods.growing.proximal import group_shrink, soft_threshold

V = torch.tensor([[0.3, -0.2, 1.0], [0.05, 0.0, -0.04], [-2.0, 0.1, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)


GRID = torch.linspace(-3, 3, 600_001, dtype=torch.float64)


@pytest.mark.parametrize("t", [0.0, 0.07, 0.25, 3.0])
def test_soft_threshold(t):
    for v, found in zip(V.flatten(), soft_threshold(V, t).flatten(), strict=True):
        expected = GRID[((GRID - v) ** 2 / 2 + t * GRID.abs()).argmin()]
        assert abs(float(found - expected)) <= 1e-5
    assert soft_threshold(torch.tensor([0.1, -0.1, 0.1 + 2**-10]), 0.1).count_nonzero() == 1  # zeros are exact


@pytest.mark.parametrize("t", [0.0, 0.05, 0.25, 3.0])
def test_group_shrink(t):
    """At a minimum that is not 0, w - v + t w / ||w|| = 0; at 0, ||v|| <= t."""
    for v, w in zip(V, group_shrink(V, t), strict=True):
        if bool((w == 0).all()):
            assert float(v.norm()) <= t or bool((v == 0).all())
        else:
            torch.testing.assert_close(w - v + t * w / w.norm(), torch.zeros_like(w), rtol=0, atol=1e-12)


def test_sparse_group_is_one_after_the_other():
    """prox of a l1 + b l2: subgradient conditions of the sum, where no number is 0."""
    a, b = 0.1, 0.2
    (w,) = group_shrink(soft_threshold(V[:1], a), b)
    torch.testing.assert_close(w - V[0] + a * w.sign() + b * w / w.norm(), torch.zeros_like(w), rtol=0, atol=1e-12)

"""Likelihoods against torch's distributions and against sums over all labels, in float64."""

import pytest
import torch

from methods.base.errors import UserError
from methods.base.examples import OFF
from methods.importance import likelihoods
from tests.support.labels import VARIANCE, log_p, support

N, C = 6, 4
MASKS = {
    "all": torch.zeros(C),
    "of tensors": torch.zeros(1),
    "some": torch.tensor([0, OFF, 0, 0]),
    "last off": torch.tensor([0, 0, 0, OFF]),
    "by example": torch.tensor([[0, 0, OFF, 0], [OFF, 0, 0, OFF]])[torch.arange(N) % 2],
}
MASK = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
NAME = pytest.mark.parametrize("name", ["categorical", "bernoulli", "gaussian"])


def outputs(scale=1.0):
    return scale * torch.randn(N, C, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def make(name):
    return likelihoods.Gaussian(VARIANCE) if name == "gaussian" else likelihoods.of(name)


def units_of(mask, n):
    return (mask.expand(N, C)[n] == 0).nonzero().flatten().tolist()


def labels(name, mask, pick=0):
    """One label of the support of each example."""
    z = outputs()
    supports = [support(name, z[n], units_of(mask, n)) for n in range(N)]
    return torch.stack([each[(pick + n) % len(each)][0] for n, each in enumerate(supports)])


@MASK
@NAME
def test_score_is_the_derivative_of_log_p(name, mask):
    p, z = make(name), outputs().requires_grad_()
    for pick in range(4):
        y = labels(name, mask, pick)
        theirs = torch.stack([log_p(name, z[n], y[n], units_of(mask, n)) for n in range(N)])
        (expected,) = torch.autograd.grad(theirs.sum(), z)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(p.score(z.detach(), y, mask), expected)
        (own,) = torch.autograd.grad(p.log_p(z, y, mask).sum(), z)
        torch.testing.assert_close(own, expected)
        if name != "gaussian":
            torch.testing.assert_close(p.log_p(z, y, mask), theirs)


@MASK
@NAME
def test_factors_are_those_of_the_variance_of_the_score(name, mask):
    p, z = make(name), outputs(2.0)
    factors = p.factors(z, mask)
    found = sum(S[:, :, None] * S[:, None] for S in factors)
    for n in range(N):
        expected = torch.zeros(C, C, dtype=z.dtype)
        for y, weight in support(name, z[n], units_of(mask, n)):
            score = p.score(z[n : n + 1], y[None], mask.expand(N, C)[n])[0]
            expected += weight * torch.outer(score, score)
        torch.testing.assert_close(found[n], expected, rtol=1e-12, atol=1e-15)
    union = len({unit for n in range(N) for unit in units_of(mask, n)})
    assert len(factors) == (union - 1 if name == "categorical" else union)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factors_of_a_softmax_that_is_certain(dtype):
    """Whichever unit it is certain of: 1 - p is not formed from p, nor is 0 / 0."""
    for unit in range(C):
        for gap in (20.0, 80.0, 300.0):
            z = torch.zeros(1, C, dtype=dtype)
            z[0, unit] = gap
            variance = sum(S.square() for S in likelihoods.CATEGORICAL.factors(z, torch.zeros(C)))[0]
            p = z.double().softmax(-1)[0]
            others = torch.arange(C) != unit
            expected = torch.where(others, p * (1 - p), p[others].sum())
            torch.testing.assert_close(variance.double(), expected, rtol=1e-5, atol=1e-37)


def test_two_units_have_one_factor():
    two = torch.full((C,), OFF)
    two[[1, 3]] = 0
    z = outputs()
    (S,) = likelihoods.CATEGORICAL.factors(z, two)
    p = z[:, [1, 3]].softmax(1)
    torch.testing.assert_close(S[:, [1, 3]], p.prod(1).sqrt()[:, None] * torch.tensor([1.0, -1.0]).double())
    assert S[:, [0, 2]].count_nonzero() == 0


@MASK
@NAME
def test_draws_follow_the_likelihood(name, mask):
    """Mean and second moment of the scores, within 5 standard errors: E score = 0, E score^2 = sum of factors^2."""
    p, z, draws = make(name), outputs(), 20_000
    many = z.repeat(draws, 1)
    masks = mask.expand(N, C).repeat(draws, 1)
    y = p.draw(many, masks, torch.Generator().manual_seed(0))
    scores = p.score(many, y, masks).view(draws, N, C)
    second = sum(S.square() for S in p.factors(z, mask))
    for value, expected in ((scores, torch.zeros_like(z)), (scores.square(), second)):
        error = value.std(0) / draws**0.5
        assert bool(((value.mean(0) - expected).abs() <= 5 * error + 1e-12).all())
    p.check(many, y, masks)


@NAME
def test_draws_do_not_depend_on_how_many_are_drawn_at_a_time(name):
    p, z, mask = make(name), outputs(), MASKS["some"]
    whole = p.draw(z, mask, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    parts = [p.draw(some, mask, generator) for some in z.split([1, 2, 3])]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(p.draw(z, mask, torch.Generator().manual_seed(4)), whole)


def test_gaussian_that_matches_a_mean_squared_error():
    z, y = outputs(), outputs().flip(0)
    loss = torch.nn.functional.mse_loss(z, y)
    p = likelihoods.Gaussian(C / 2)
    torch.testing.assert_close(-p.log_p(z, y, torch.zeros(C)).mean(), loss)


def test_a_unit_is_a_bernoulli_label_that_is_one_there():
    p, z, mask = likelihoods.Bernoulli(), outputs(), MASKS["some"]
    units = torch.tensor([0, 2, 3, 0, 2, 3])
    each = torch.nn.functional.one_hot(units, C).double()
    assert torch.equal(p.score(z, units, mask), p.score(z, each, mask))
    assert torch.equal(p.log_p(z, units, mask), p.log_p(z, each, mask))


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("categorical", torch.tensor([0, 2, 3, 1, 0, 0]), "label 1 is not among the units that the mask allows"),
        ("categorical", torch.tensor([0, 2, 4, 0, 0, 0]), "label 4 is not"),
        ("categorical", torch.tensor([0, 2, -1, 0, 0, 0]), "label -1 is not"),
        ("categorical", torch.zeros(N), "one whole number for each example, got torch.float32"),
        ("categorical", torch.zeros(N, 1, dtype=torch.int64), r"of shape \(6, 1\)"),
        ("bernoulli", torch.full((N, C), 0.5), r"0 or 1 for each of the outputs, of shape \(6, 4\)"),
        ("bernoulli", torch.zeros(N, C - 1), "0 or 1 for each"),
        ("bernoulli", torch.full((N,), 1), "label 1 is not among"),
        ("gaussian", torch.zeros(N), "finite numbers like the outputs"),
        ("gaussian", torch.full((N, C), float("nan")), "finite numbers like the outputs"),
    ],
)
def test_labels_that_make_no_sense(name, y, message):
    with pytest.raises(UserError, match=message):
        make(name).check(outputs(), y, MASKS["some"])


@pytest.mark.parametrize(("n_units", "unit"), [(C, 2), (1, 0)])
def test_a_softmax_of_one_unit_is_certain(n_units, unit):
    """p = 1: the Fisher has no factor, the score is 0, and so is log p."""
    p, z, y = likelihoods.CATEGORICAL, outputs()[:, :n_units], torch.full((N,), unit)
    mask = torch.full((n_units,), OFF).index_fill(0, torch.tensor(unit), 0)
    p.check(z, y, mask)
    assert p.factors(z, mask) == []
    assert not p.score(z, y, mask).any() and not p.log_p(z, y, mask).any()
    assert torch.equal(p.draw(z, mask, torch.Generator()), y)


def test_a_mask_that_allows_nothing_or_rules_nothing_out_is_refused():
    with pytest.raises(UserError, match="allows no unit"):
        likelihoods.CATEGORICAL.check(outputs(), None, torch.full((C,), OFF))
    with pytest.raises(UserError, match="allows no unit for an example"):
        likelihoods.CATEGORICAL.check(outputs(), None, torch.zeros(N, C).index_fill(0, torch.tensor(2), OFF))
    for name in ("categorical", "bernoulli", "gaussian"):
        for mask in ([True, True, False, False], [0, 1, 0, 0], [0.0, -5.0, 0.0, 0.0]):
            with pytest.raises(UserError, match="a mask is 0 where a unit is allowed and -1e9 elsewhere"):
                make(name).check(outputs(), None, torch.tensor(mask))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.bool])
@pytest.mark.parametrize("name", ["categorical", "bernoulli"])
def test_labels_of_any_integer_type(name, dtype):
    p, z, mask = make(name), outputs(), torch.tensor([0, 0, OFF, OFF])
    y = torch.arange(N) % 2
    p.check(z, y.to(dtype), mask.to(torch.int64))
    assert torch.equal(p.log_p(z, y.to(dtype), mask), p.log_p(z, y, mask))
    assert torch.equal(p.score(z, y.to(dtype), mask.to(torch.int32)), p.score(z, y, mask))


@pytest.mark.parametrize("bad", [0, -1.0, float("inf"), float("nan"), "1", True])
def test_variances_that_make_no_sense(bad):
    with pytest.raises(UserError, match=r"^variance must be"):
        likelihoods.Gaussian(bad)


@pytest.mark.parametrize("loss", ["hinge", None, torch.nn.functional.l1_loss])
def test_a_loss_without_a_likelihood_is_refused(loss):
    with pytest.raises(UserError, match=r"unknown likelihood .*known: bernoulli, categorical, gaussian"):
        likelihoods.of(loss)


def test_a_draw_of_zero_is_not_a_unit_that_the_mask_forbids(monkeypatch):
    monkeypatch.setattr(likelihoods, "uniform", lambda shape, like, generator: torch.zeros(shape, dtype=torch.float64))
    mask = torch.tensor([OFF, OFF, 0.0, 0.0])
    drawn = likelihoods.CATEGORICAL.draw(torch.zeros(3, C), mask, torch.Generator())
    assert drawn.tolist() == [2, 2, 2]

"""The one quadratic that the penalties are."""

import pytest
import torch

from methods.base.quadratic import Quadratic


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


def anchored(draw, shape, n=4):
    """n importances, some of them 0 and one coordinate always, and n anchors."""
    importances = [draw(*shape).clamp(min=0) for _ in range(n)]
    for importance in importances:
        importance[..., 0] = 0
    return importances, [draw(*shape) for _ in range(n)]


@pytest.mark.parametrize("shape", [(50,), (3, 50)])
def test_several_anchors_are_one_quadratic_up_to_a_constant(draw, shape):
    importances, anchors = anchored(draw, shape)
    collapsed = Quadratic(1.7)
    for importance, anchor in zip(importances, anchors, strict=True):
        collapsed.add(importance, anchor)

    def separate(theta):
        pairs = zip(importances, anchors, strict=True)
        return sum(1.7 / 2 * (F * (theta - star) ** 2).sum(-1) for F, star in pairs)

    here, there = draw(*shape), draw(*shape)
    difference = collapsed.value(here) - collapsed.value(there)
    torch.testing.assert_close(difference, separate(here) - separate(there), rtol=1e-12, atol=1e-12)
    variable = here.clone().requires_grad_()
    (expected,) = torch.autograd.grad(separate(variable).sum(), variable)
    torch.testing.assert_close(collapsed.add_gradient(here, torch.zeros_like(here)), expected, rtol=1e-12, atol=1e-12)
    assert collapsed.value(here).shape == shape[:-1]


@pytest.mark.parametrize("shape", [(50,), (3, 50)])
def test_gradient_is_that_of_the_value(draw, shape):
    importances, anchors = anchored(draw, shape, 2)
    quadratic = Quadratic(0.3)
    for importance, anchor in zip(importances, anchors, strict=True):
        quadratic.add(importance, anchor)
    for _ in range(2):  # the second call uses the buffer of the first
        theta, grad = draw(*shape).requires_grad_(), draw(*shape)
        before = grad.clone()
        (expected,) = torch.autograd.grad(quadratic.value(theta).sum(), theta)
        added = quadratic.add_gradient(theta.detach(), grad)
        torch.testing.assert_close(added, grad + expected, rtol=1e-12, atol=1e-15)
        assert torch.equal(grad, before)


def test_one_anchor_stays_that_anchor_to_the_bit(draw):
    importance, anchor = draw(1000).abs(), draw(1000)
    for count in (1, 2, 7):
        quadratic = Quadratic(1.0)
        for _ in range(count):
            quadratic.add(importance, anchor)
        assert torch.equal(quadratic.m, anchor)
        assert quadratic.value(anchor) == 0
        assert quadratic.add_gradient(anchor, torch.zeros_like(anchor)).count_nonzero() == 0


def test_where_nothing_is_important_the_centre_stays(draw):
    quadratic = Quadratic(1.0)
    first, second = draw(4), draw(4)
    quadratic.add(torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64), first)
    quadratic.add(torch.tensor([0.0, 0.0, 1.0, 3.0], dtype=torch.float64), second)
    assert torch.equal(quadratic.m[:2], first[:2])
    assert quadratic.m[2] == second[2]
    torch.testing.assert_close(quadratic.m[3], (first[3] + 3 * second[3]) / 4)
    assert quadratic.A.tolist() == [0, 1, 1, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_first_weight_puts_the_centre_on_its_anchor_to_the_bit(draw, dtype):
    """Where an earlier anchor had no weight, as in a head that comes later: m + 1 * (anchor - m) misses it."""
    first, second, weight = draw(1000).to(dtype), 100 * draw(1000).to(dtype), draw(1000).abs().to(dtype)
    quadratic = Quadratic(1.0)
    quadratic.add(torch.zeros_like(weight), first)
    quadratic.add(weight, second)
    assert not torch.equal(first + (second - first), second), "the cases are no test of it"
    assert torch.equal(quadratic.m, second)
    quadratic.add(torch.zeros_like(weight), first)
    assert torch.equal(quadratic.m, second)


def test_the_steepest_curvature_is_where_sgd_begins_to_overshoot(draw):
    """lr * steepest = 2 keeps the distance from the anchor in the steepest coordinate; less shrinks it, more grows."""
    quadratic, anchor = Quadratic(3.0), draw(5)
    assert quadratic.steepest == 0
    quadratic.add(draw(5).abs(), anchor)
    worst = quadratic.A.argmax()
    for factor, grows in ((1.9, False), (2.1, True)):
        theta = anchor + 1.0
        for _ in range(10):
            theta = theta - factor / quadratic.steepest * quadratic.add_gradient(theta, torch.zeros_like(theta))
        assert (abs(float((theta - anchor)[worst])) > 1) == grows


def test_set_replaces_what_was_there(draw):
    quadratic, fresh = Quadratic(2.0), Quadratic(2.0)
    last = draw(9).abs(), draw(9)
    quadratic.add(draw(9).abs(), draw(9))
    for each in (quadratic, fresh):
        each.set(*last)
    theta = draw(9)
    assert torch.equal(quadratic.value(theta), fresh.value(theta))


def test_what_is_given_is_copied(draw):
    importance, anchor, theta = draw(9).abs(), draw(9), draw(9)
    quadratic = Quadratic(1.0)
    quadratic.add(importance, anchor)
    value = quadratic.value(theta)
    importance.zero_(), anchor.zero_()
    assert torch.equal(quadratic.value(theta), value)


def test_nothing_without_an_anchor_or_without_strength(draw):
    theta, grad = draw(9), draw(9)
    assert Quadratic(1.0).value(theta) is None
    assert Quadratic(1.0).add_gradient(theta, grad) is grad
    off = Quadratic(0.0)
    off.add(draw(9).abs(), draw(9))
    assert off.value(theta) is None
    assert off.add_gradient(theta, grad) is grad


def test_an_importance_below_zero_is_refused_unless_it_is_asked_for(draw):
    importance, anchor = torch.tensor([1.0, -0.25]), torch.zeros(2)
    for give in (Quadratic(1.0).set, Quadratic(1.0).add):
        with pytest.raises(ValueError, match=r"importance is -0\.25"):
            give(importance, anchor)
    signed = Quadratic(2.0, signed=True)
    signed.set(importance, anchor)
    assert float(signed.value(torch.tensor([1.0, 2.0]))) == 0.0
    assert signed.add_gradient(torch.tensor([1.0, 2.0]), torch.zeros(2)).tolist() == [2.0, -1.0]


def least_squares(draw, n):
    """Features whose second moments are a diagonal H [P], labels, and the H and optimum of their mean squared error."""
    features = torch.linalg.qr(draw(n, 4))[0] * torch.tensor([1.0, 2.0, 0.5, 3.0]) * n**0.5
    labels = draw(n)
    return features.square().mean(0), features.T @ labels / features.square().sum(0)


def test_two_tasks_of_least_squares_are_learnt_as_one(draw):
    """With lam = N_1 / N_2 and the Fisher's diagonal, which is the Hessian, the penalised optimum is the joint one."""
    N = 60, 20
    (H1, one), (H2, two) = (least_squares(draw, n) for n in N)
    joint = (N[0] * H1 * one + N[1] * H2 * two) / (N[0] * H1 + N[1] * H2)
    quadratic = Quadratic(N[0] / N[1])
    quadratic.add(H1, one)
    gradient = quadratic.add_gradient(joint, H2 * (joint - two))
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
    assert float((joint - two).norm()) > 0.1


def test_of_three_tasks_one_anchor_is_exact_and_an_anchor_each_is_not(draw):
    """Huszar's objection: the second anchor holds the first task already, which two anchors count twice."""
    (H1, one), (H2, two), (H3, three) = (least_squares(draw, 30) for _ in range(3))
    both = (H1 * one + H2 * two) / (H1 + H2)
    joint = (H1 * one + H2 * two + H3 * three) / (H1 + H2 + H3)
    online, offline = Quadratic(1.0), Quadratic(1.0)
    online.set(H1 + H2, both)
    offline.add(H1, one)
    offline.add(H2, both)
    gradients = [each.add_gradient(joint, H3 * (joint - three)) for each in (online, offline)]
    torch.testing.assert_close(gradients[0], torch.zeros_like(joint), rtol=0, atol=1e-12)
    assert float(gradients[1].norm()) > 0.1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_importance_that_is_not_finite_is_refused(draw, bad):
    importance, anchor = draw(9).abs(), draw(9)
    quadratic = Quadratic(1.0)
    quadratic.add(importance, anchor)
    broken = importance.index_fill(0, torch.tensor(3), bad)
    for give in (quadratic.add, quadratic.set, Quadratic(1.0).add):
        with pytest.raises(FloatingPointError, match="importance is not finite"):
            give(broken, anchor)

"""Fisher diagonals: every estimator against its definition, in float64."""

from dataclasses import replace

import pytest
import torch

from methods.base.examples import Examples, Part, mask_of
from methods.importance import persample
from methods.importance.fisher import ESTIMATORS, diagonal
from tests.support import slow, toy

UNITS = {"task": [2, 3], "domain": [0, 1], "class": [0, 1, 2, 3]}  # active in the second task
PER_EXAMPLE = ("exact", "empirical", "argmax", "p_weighted", "unweighted_classes")


@pytest.fixture(params=UNITS)
def case(request):
    return toy.second_task(request.param)


@pytest.fixture
def one():
    return toy.second_task()


def seeded(seed=0):
    return [torch.Generator().manual_seed(seed)]


def examples(x, y, units, n_units):
    return Examples((Part(x, torch.arange(len(x)), y, mask_of(units, n_units)),))


def close(actual, expected, rtol=1e-11):
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=1e-15)


@pytest.mark.parametrize("estimator", PER_EXAMPLE)
def test_against_a_loop_over_examples_and_units(case, estimator):
    module, net, theta, data = case
    close(diagonal(net, theta, data, estimator), slow.flat(slow.fisher(module, slow.listed(data), estimator)))


def test_empirical_is_exact_in_expectation_under_the_models_labels(one):
    """Every label in turn, weighted by its probability."""
    module, net, theta, data = one
    (part,) = data.parts
    x, _, mask = data.take(torch.arange(len(data)))
    p = (module(x) + mask).softmax(-1).detach()
    total = torch.zeros_like(theta)
    for n in range(len(data)):
        for unit in UNITS["class"]:
            single = examples(x[n : n + 1], torch.tensor([unit]), UNITS["class"], len(part.mask))
            total += p[n, unit] * diagonal(net, theta, single, "empirical") / len(data)
    close(total, diagonal(net, theta, data))


def test_closed_form_of_the_last_layer(case):
    module, net, theta, data = case
    x, _, mask = data.take(torch.arange(len(data)))
    a, p = module.body(x), (module(x) + mask).softmax(-1)
    views = net.views(diagonal(net, theta, data))
    close(views["head.bias"], (p * (1 - p)).mean(0).detach())
    close(views["head.weight"], torch.einsum("nc,nj->cj", p * (1 - p), a**2).detach() / len(x))


def test_exact_needs_no_labels(case):
    _, net, theta, data = case
    (part,) = data.parts
    allowed = (part.mask == 0).nonzero().flatten()
    other = Examples((replace(part, y=allowed[torch.arange(len(data)) % len(allowed)]),))
    assert torch.equal(diagonal(net, theta, other), diagonal(net, theta, data))
    assert not torch.equal(diagonal(net, theta, other, "empirical"), diagonal(net, theta, data, "empirical"))


@pytest.mark.parametrize("estimator", PER_EXAMPLE)
def test_order_duplication_and_batch_size_change_nothing(one, estimator, monkeypatch):
    _, net, theta, data = one
    expected = diagonal(net, theta, data, estimator)
    shuffled = data.select(torch.randperm(len(data), generator=seeded()[0]))
    close(diagonal(net, theta, shuffled, estimator), expected)
    assert len(data) * 20 > persample.PASS
    close(diagonal(net, theta, data.repeat(20), estimator), expected)
    monkeypatch.setattr(persample, "PASS", 7)
    close(diagonal(net, theta, data, estimator), expected)
    close(diagonal(net, theta, data, estimator, batch=3), expected)


@pytest.mark.parametrize("estimator", PER_EXAMPLE)
def test_concatenation_is_the_mean_weighted_by_size(one, estimator):
    _, net, theta, data = one
    first, second = data.select(torch.arange(5)), data.select(torch.arange(5, len(data)))
    parts = [len(each) * diagonal(net, theta, each, estimator) for each in (first, second)]
    close(diagonal(net, theta, first + second, estimator), sum(parts) / len(data))


def test_a_constant_added_to_all_logits_changes_nothing(case):
    _, net, theta, data = case
    shifted = theta.clone()
    net.views(shifted)["head.bias"].add_(7.0)
    close(diagonal(net, shifted, data), diagonal(net, theta, data), rtol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_units_that_are_off_contribute_nothing(case, estimator):
    """Neither have they importance, nor does a large logit of theirs move that of others."""
    _, net, theta, data = case
    off = (data.parts[0].mask < 0).nonzero().flatten()
    first = diagonal(net, theta, data, estimator, seeded(), batch=4)
    raised = theta.clone()
    net.views(raised)["head.bias"][off] += 50.0
    assert torch.equal(diagonal(net, raised, data, estimator, seeded(), batch=4), first)
    for name in ("head.weight", "head.bias"):
        assert net.views(first)[name][off].count_nonzero() == 0
        assert (net.views(first)[name].flatten(1 if name == "head.weight" else 0) > 0).any()


def test_masks_that_differ_between_examples(one):
    """Examples of two tasks, each under its own units."""
    module, net, theta, data = one
    (part,) = data.parts
    masks = torch.stack([mask_of([0, 1], 6), mask_of([2, 3, 4], 6)])[torch.arange(len(data)) % 2]
    mixed = Examples((replace(part, y=torch.arange(len(data)) % 2 * 2, mask=masks),))
    for estimator in PER_EXAMPLE:
        expected = slow.flat(slow.fisher(module, slow.listed(mixed), estimator))
        close(diagonal(net, theta, mixed, estimator), expected)

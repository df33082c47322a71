"""MAS: closed forms on a linear net, and its variants."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from methods.base.errors import UserError
from methods.base.examples import Examples, Part, mask_of
from methods.base.net import Net
from methods.base.rng import generator
from methods.mas import MAS
from tests.support import slow, toy


def linear_case(n_units, n, scale=1.0, units=None):
    """A method-ready net f(x) = scale W x and examples, with all units active or `units`."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, n_units, bias=False).double()

        def forward(self, x):
            return scale * self.layer(x)

    draws = torch.Generator().manual_seed(0)
    net = Net(Scaled())
    theta = torch.randn(net.n_parameters, dtype=torch.float64, generator=draws)
    x = torch.randn(n, 5, dtype=torch.float64, generator=draws)
    units = list(range(n_units)) if units is None else units
    return net, theta, Examples((Part(x, torch.arange(n), torch.full((n,), units[0]), mask_of(units, n_units)),))


def mas_of(net, theta, examples, task=0, **options):
    """MAS's importance of the examples."""
    method = MAS(lam=1.0, **options)
    method.begin(net, theta, lambda role, task, replica=0: generator(0, role, task))
    method.after_task(theta, replace(toy.stream().tasks[task], train=examples))
    return method.quadratic.A


def test_mas_of_a_linear_net():
    """Omega = 2/N |Y|^T |X| with Y = X W^T."""
    net, theta, examples = linear_case(3, 300)  # more than one pass
    x = examples.parts[0].source
    y = x @ theta.view(3, 5).T
    expected = 2 / 300 * y.abs().T @ x.abs()
    torch.testing.assert_close(mas_of(net, theta, examples), expected.flatten(), rtol=1e-12, atol=0)


def test_batches_in_the_order_of_the_classes():
    """Of 2/B Y_b^T X_b, each batch b of 4 holds images of one class; the fifth holds the rest of both."""
    net, theta, examples = linear_case(3, 18)
    (part,) = examples.parts
    labels = torch.arange(18) % 2
    examples = Examples((replace(part, y=labels),))
    x = torch.cat([part.source[labels == 0], part.source[labels == 1]])
    batches = [(x @ theta.view(3, 5).T, x) for x in x.split(4)]
    expected = sum((2 / len(x) * y.T @ x).abs() for y, x in batches) / 5
    found = mas_of(net, theta, examples, per_sample=False, batch=4, by_class=True)
    torch.testing.assert_close(found, expected.flatten(), rtol=1e-12, atol=0)


def test_mas_counts_active_units_only_and_unit_mean_divides_by_their_number():
    net, theta, examples = linear_case(7, 20, units=[1, 4, 5])
    x = examples.parts[0].source
    y = x @ theta.view(7, 5).T
    active = torch.zeros(7, 1, dtype=torch.float64).index_fill(0, torch.tensor([1, 4, 5]), 1.0)
    expected = (active * (2 / 20 * y.abs().T @ x.abs())).flatten()
    torch.testing.assert_close(mas_of(net, theta, examples), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(mas_of(net, theta, examples, unit_mean=True), expected / 3, rtol=1e-12, atol=0)


def test_mas_of_batches_is_the_absolute_value_of_their_mean():
    """One batch of all examples: 2/N |Y^T X|; batches of one: the definition."""
    net, theta, examples = linear_case(3, 20)
    x = examples.parts[0].source
    y = x @ theta.view(3, 5).T
    whole = mas_of(net, theta, examples, per_sample=False, batch=20)
    torch.testing.assert_close(whole, (2 / 20 * y.T @ x).abs().flatten(), rtol=1e-12, atol=1e-15)
    third = mas_of(net, theta, examples, per_sample=False, batch=20, unit_mean=True)
    torch.testing.assert_close(third, whole / 3, rtol=1e-12, atol=1e-15)
    ones = mas_of(net, theta, examples, per_sample=False, batch=1)
    torch.testing.assert_close(ones, mas_of(net, theta, examples), rtol=1e-12, atol=1e-15)


def test_mas_of_a_scaled_net_is_scaled_by_the_square():
    omegas = [mas_of(*linear_case(3, 20, scale)) for scale in (1.0, -1.5, 0.0)]
    torch.testing.assert_close(omegas[1], 1.5**2 * omegas[0], rtol=1e-12, atol=0)
    assert omegas[2].count_nonzero() == 0


def test_mas_needs_no_labels_and_adds_up_over_tasks():
    net, theta, examples = linear_case(3, 20)
    (part,) = examples.parts
    other = Examples((replace(part, y=torch.arange(20) % 3),))
    assert torch.equal(mas_of(net, theta, other), mas_of(net, theta, examples))
    method = MAS(lam=1.0)
    method.begin(net, theta, lambda role, task, replica=0: generator(0, role, task))
    for _ in range(3):
        method.after_task(theta, replace(toy.stream().tasks[0], train=examples))
    torch.testing.assert_close(method.quadratic.A, 3 * mas_of(net, theta, examples), rtol=1e-12, atol=0)


@pytest.mark.parametrize("per_sample", [True, False])
def test_mas_of_the_norm_itself(per_sample):
    """Omega = 1/N |Y'|^T |X| with Y' the outputs scaled to norm 1, or |Y'^T X| of one batch; scaled by |scale|."""
    for scale in (1.0, -3.0):
        net, theta, examples = linear_case(3, 20, scale)
        x = examples.parts[0].source
        y = x @ theta.view(3, 5).T
        y = abs(scale) * y / y.norm(dim=1, keepdim=True) / 20
        expected = (y.abs().T @ x.abs() if per_sample else (y.T @ x).abs()).flatten()
        found = mas_of(net, theta, examples, per_sample=per_sample, batch=20, norm="l2")
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("per_sample", [True, False])
@pytest.mark.parametrize("norm", ["squared", "l2"])
def test_mas_of_outputs_that_are_all_zero_is_zero(norm, per_sample):
    found = mas_of(*linear_case(3, 20, 0.0), norm=norm, per_sample=per_sample)
    assert torch.equal(found, torch.zeros_like(found))


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, (1, 1, 1)),
        ({"ema": 0.25}, (0.0625, 0.1875, 0.75)),
        ({"ema": 0.25, "from_zero": True}, (0.75 * 0.0625, 0.1875, 0.75)),
        ({"ema": 1.0}, (1, 0, 0)),
        ({"ema": 0.0}, (0, 0, 1)),
    ],
)
def test_mas_joins_tasks(options, weights):
    net, theta, examples = linear_case(3, 21)
    parts = [examples.select(torch.arange(7 * k, 7 * k + 7)) for k in range(3)]
    method = MAS(lam=1.0, **options)
    method.begin(net, theta, lambda role, task, replica=0: generator(0, role, task))
    for part in parts:
        method.after_task(theta, replace(toy.stream().tasks[0], train=part))
    expected = sum(w * mas_of(net, theta, part) for w, part in zip(weights, parts, strict=True))
    torch.testing.assert_close(method.quadratic.A, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        *[("norm", bad) for bad in ("L2", None, 2)],
        *[("ema", bad) for bad in (-0.1, 1.1, float("nan"), "1", True)],
    ],
)
def test_mas_options_that_make_no_sense(option, bad):
    with pytest.raises(UserError, match=rf"^(unknown )?{option}\b") as error:
        MAS(lam=1.0, **{option: bad})
    assert repr(bad) in str(error.value)


@pytest.mark.parametrize("per_sample", [True, False])
def test_mas_without_dropout_and_batch_statistics(per_sample):
    stream = toy.stream("class", sizes=toy.SMALL)
    module = toy.noisy(stream).eval()
    module[2].running_mean.fill_(0.3)
    examples = stream.tasks[1].train
    groups = slow.grouped(slow.listed(examples), 1 if per_sample else 4, generator(0, "mas", 0))
    expected = slow.flat(slow.mas_importance(module, groups))
    net = Net(module)
    module.train()
    found = mas_of(net, net.vector(), examples, per_sample=per_sample, batch=4)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)

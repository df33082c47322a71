"""Sums of a function of each example's gradient, against one backward pass for each example, on nets of every kind."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F_

from methods.base.errors import UserError
from methods.base.examples import Examples, Part
from methods.base.net import Net
from methods.importance import example_gradients, persample, probe
from tests.support import nets
from tests.support.nets import Body, D, N, case, linear, one_by_one, parameter

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap's
F = pytest.mark.parametrize("f", [torch.square, torch.abs])


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@F
@pytest.mark.parametrize("name", nets.NETS)
def test_sums_are_those_of_one_example_at_a_time(name, f):
    net, theta, x, seeds = case(name)
    expected = one_by_one(net, theta, x, seeds, f)
    assert expected.count_nonzero() > theta.numel() / 6
    close(persample.sums(net, theta, x, lambda z: seeds, f), expected)


@pytest.mark.parametrize("name", nets.NETS)
def test_parameters_are_served_by_rules_where_these_hold_and_only_there(name):
    net, theta, x, _ = case(name)
    _, others = nets.PARTLY.get(name, (None, []))
    assert set(net.shapes) - set(probe.plan_of(net, theta, x).uses) == set(others)


@F
@pytest.mark.parametrize("name", nets.NETS)
def test_without_any_rule_the_sums_are_the_same(name, f, monkeypatch):
    net, theta, x, seeds = case(name)
    fast = persample.sums(net, theta, x, lambda z: seeds, f)
    plan = replace(probe.plan_of(net, theta, x, by_examples=True), uses={}, held=1)
    monkeypatch.setattr(persample, "plan_of", lambda *_, **__: plan)
    monkeypatch.setitem(example_gradients.BUDGET, "cpu", 5 * 24 * net.n_parameters)  # chunks of a few examples
    close(persample.sums(net, theta, x, lambda z: seeds, f), fast)


@pytest.mark.parametrize("n", [1, 3, 4, 5])
@pytest.mark.parametrize("name", ["mlp", "used twice", *nets.PARTLY])
def test_any_number_of_examples(name, n):
    """One is no batch, four are as many as a probe has."""
    net, theta, x, seeds = case(name)
    seeds = [seed[:n] for seed in seeds]
    expected = one_by_one(net, theta, x[:n], seeds, torch.abs)
    close(persample.sums(net, theta, x[:n], lambda z: seeds, torch.abs), expected)


@pytest.mark.parametrize("name", ["experts", "examples on the second axis", "the same rows for all examples"])
def test_what_the_probed_examples_do_not_show(name):
    """All of them with the first expert; and rows of another axis as many as there are examples."""
    net, theta, x, seeds = case(name)
    x[:4, 0] = x[:4, 0].abs() + 1
    x[4:, 0] = -x[4:, 0].abs() - 1
    persample.sums(net, theta, x[:4], lambda z: [seed[:4] for seed in seeds], torch.abs)
    close(persample.sums(net, theta, x, lambda z: seeds, torch.abs), one_by_one(net, theta, x, seeds, torch.abs))


def test_a_probe_at_zero_hides_nothing():
    """A head of zeros passes no gradient back, so that at such parameters every rule holds."""
    net, theta, x, seeds = case("examples on the second axis")
    zero = theta.clone()
    net.views(zero)["head.weight"].zero_()
    for each in (zero, theta):
        close(persample.sums(net, each, x, lambda z: seeds, torch.abs), one_by_one(net, each, x, seeds, torch.abs))


def test_leaves_no_part_of_a_parameter_out():
    """A use outside the rules that only some inputs take, none of the probed ones among them."""

    def features(m, x):
        h = m.first(x)
        return h + x @ m.first.weight if bool((x[:, 0] > 5).any()) else h

    net = Net(Body(features, first=linear()).double())
    theta, seeds = net.vector(), [torch.randn(N, nets.C).double()]
    x = torch.randn(N, D).double().clamp(max=4)
    persample.sums(net, theta, x, lambda z: seeds, torch.abs)
    x[:, 0] = 6
    close(persample.sums(net, theta, x, lambda z: seeds, torch.abs), one_by_one(net, theta, x, seeds, torch.abs))


def test_total_is_added_to():
    net, theta, x, seeds = case("attention")
    expected = 1 + persample.sums(net, theta, x, lambda z: seeds, torch.abs)
    total = torch.ones_like(theta)
    assert persample.sums(net, theta, x, lambda z: seeds, torch.abs, total) is total
    close(total, expected)


def test_one_tensor_may_be_several_cotangents():
    net, theta, x, (seed, _) = case("mlp")
    once, twice = (persample.sums(net, theta, x, lambda z, k=k: [seed] * k, torch.square) for k in (1, 2))
    close(twice, 2 * once)


@pytest.mark.parametrize("name", ["mlp", "bare parameter"])
def test_cotangents_are_asked_for_once_and_see_the_outputs(name):
    net, theta, x, seeds = case(name)
    seen = []
    persample.sums(net, theta, x, lambda z: seen.append(z) or seeds, torch.square)
    (z,) = seen
    close(z, net(theta, x))
    assert not z.requires_grad


@pytest.mark.parametrize("name", ["mlp", "convolution", "batch norm", "bare parameter", "no rule for vmap"])
def test_nothing_is_left_on_the_module(name):
    net, theta, x, seeds = case(name)
    before, state = theta.clone(), {key: value.clone() for key, value in net.module.state_dict().items()}
    net.module.train()
    draws = torch.get_rng_state()
    with torch.no_grad():  # as the loop calls it
        persample.sums(net, theta, x, lambda z: seeds, torch.square)
    assert torch.equal(torch.get_rng_state(), draws)
    assert torch.equal(theta, before) and not theta.requires_grad
    assert all(module.training for module in net.module.modules())
    assert all(torch.equal(value, state[key]) for key, value in net.module.state_dict().items())
    assert not any(module._forward_hooks for module in net.module.modules())
    assert all(p.grad is None for p in net.module.parameters())


@pytest.mark.parametrize("n", [1, N])
def test_batch_norm_without_running_statistics_is_refused(n):
    net = Net(Body(lambda m, x: m.norm(x), norm=nn.BatchNorm1d(D, track_running_stats=False)).double())
    with pytest.raises(UserError, match=r"batch norm without running statistics: .* depends on the others"):
        persample.sums(net, net.vector(), torch.randn(n, D).double(), lambda z: [z], torch.square)


@pytest.mark.parametrize("features", [lambda m, x: m.first(x - x.mean(0)), lambda m, x: m.first(x).cumsum(0)])
def test_a_net_that_mixes_its_examples_is_refused(features):
    net = Net(Body(features, first=linear()).double())
    with pytest.raises(UserError, match="depends on the others of its batch"):
        persample.sums(net, net.vector(), torch.randn(N, D).double(), lambda z: [z], torch.square)


@pytest.mark.parametrize("outputs", [lambda x: x[:, 0], lambda x: x[:, None], lambda x: x[:3]])
def test_outputs_that_are_not_rows_of_units_are_refused(outputs):
    class Shaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(D, 3)

        def forward(self, x):
            return outputs(self.layer(x))

    net = Net(Shaped())
    with pytest.raises(UserError, match=r"shape \(.*\) for 4 examples: the network must give real numbers \[N, C\]"):
        persample.sums(net, net.vector(), torch.randn(N, D), lambda z: [z], torch.square)


def test_outputs_that_are_not_real_are_refused():
    net = Net(Body(lambda m, x: m.first(x), first=linear()).double())
    net.module.register_forward_hook(lambda module, inputs, z: torch.complex(z, z))
    with pytest.raises(UserError, match=r"complex128 outputs of shape .* the network must give real numbers"):
        persample.sums(net, net.vector(), torch.randn(N, D).double(), lambda z: [z], torch.square)


def test_a_forward_pass_that_changes_its_parameters_is_refused_before_theta_changes():
    net = Net(Body(lambda m, x: m.out(F_.embedding(x, m.w, max_norm=0.1).sum(1)), w=parameter(5, D), out=linear()))
    theta, x = net.vector(), torch.randint(5, (N, 3))
    before = theta.clone()
    with pytest.raises(UserError, match="changes its parameters in place"):
        persample.sums(net, theta, x, lambda z: [z], torch.square)
    assert torch.equal(theta, before)


@pytest.mark.parametrize(
    ("name", "works"), [("attention", True), ("bare parameter", True), ("no rule for vmap", False), ("experts", False)]
)
def test_the_probe_decides_whether_vmap_works(name, works):
    net, theta, x, _ = case(name)
    assert probe.plan_of(net, theta, x).vmap is works


def test_vmap_is_not_asked_where_the_rules_serve_everything():
    """Its first use in a process imports much: a second of every run."""
    net, theta, x, _ = case("mlp")
    assert probe.plan_of(net, theta, x).vmap is None
    assert probe.plan_of(net, theta, x, by_examples=True).vmap is True
    assert probe.plan_of(net, theta, x).vmap is True, "the answer is kept"


def test_a_pass_by_vmap_that_is_wrong_is_not_used(monkeypatch):
    net, theta, x, seeds = case("bare parameter")
    true = example_gradients.vmap
    monkeypatch.setattr(example_gradients, "vmap", lambda f: lambda *a: {k: 1.01 * v for k, v in true(f)(*a).items()})
    assert probe.plan_of(net, theta, x).vmap is False
    close(persample.sums(net, theta, x, lambda z: seeds, torch.abs), one_by_one(net, theta, x, seeds, torch.abs))


@pytest.mark.parametrize("error", [RuntimeError("a bug"), torch.OutOfMemoryError("no room")])
def test_an_error_in_a_real_pass_is_an_error(error, monkeypatch):
    net, theta, x, seeds = case("bare parameter")
    probe.plan_of(net, theta, x)

    def broken(*_):
        raise error

    monkeypatch.setattr(example_gradients, "vmap", lambda f: broken)
    with pytest.raises(type(error), match=str(error)):
        persample.sums(net, theta, x, lambda z: seeds, torch.square)


def test_a_probe_without_memory_is_an_error(monkeypatch):
    net, theta, x, seeds = case("bare parameter")

    def broken(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(example_gradients, "vmap", lambda f: broken)
    with pytest.raises(torch.OutOfMemoryError):
        persample.sums(net, theta, x, lambda z: seeds, torch.square)


def test_a_value_kept_from_an_earlier_pass_is_refused():
    """It was computed at another theta."""

    def features(m, x):
        if not hasattr(m, "kept"):
            m.kept = m.first.weight * 2
        return x @ m.kept

    net = Net(Body(features, first=linear()).double())
    with pytest.raises(UserError, match="depend on a tensor that the module keeps, but not through theta"):
        persample.sums(net, net.vector(), torch.randn(N, D).double(), lambda z: [z], torch.square)


def examples(x):
    return Examples((Part(x, torch.arange(len(x)), torch.zeros(len(x), dtype=torch.int64), torch.zeros(nets.C)),))


def test_passes_keep_within_the_budget(monkeypatch):
    net, theta, x, _ = case("mlp")
    held = probe.plan_of(net, theta, x).held
    assert held == 8 * (D + 7 + 5), "the inputs of three layers"
    assert [len(batch) for batch, _, _ in persample.passes(net, theta, examples(x))] == [N]
    monkeypatch.setattr(persample, "PASS", 6)
    assert [len(batch) for batch, _, _ in persample.passes(net, theta, examples(x))] == [6, 5]
    monkeypatch.setitem(example_gradients.BUDGET, "cpu", 4 * 4 * held)
    assert [len(batch) for batch, _, _ in persample.passes(net, theta, examples(x))] == [4, 4, 3]
    monkeypatch.setitem(example_gradients.BUDGET, "cpu", 1)
    assert [len(batch) for batch, _, _ in persample.passes(net, theta, examples(x))] == [1] * N


@pytest.mark.parametrize("name", ["mlp", "convolution", "bare parameter"])
def test_the_size_of_a_pass_changes_nothing(name, monkeypatch):
    net, theta, x, _ = case(name)
    ways = (
        lambda: persample.mean(net, theta, examples(x), lambda z, *_: [z, z.sin()], torch.abs),
        lambda: persample.mean_gradients(net, theta, examples(x), lambda z, *_: [z, z.sin()]),
    )
    expected = [way() for way in ways]
    monkeypatch.setattr(persample, "PASS", 3)
    for way, value in zip(ways, expected, strict=True):
        close(way(), value)


def test_mean_gradients():
    net, theta, x, _ = case("convolution")
    variable = theta.clone().requires_grad_()
    z = net(variable, x)
    losses = ((z.square() / 2).sum(1).mean(), -z.cos().sum(1).mean())
    expected = torch.stack([torch.autograd.grad(loss, variable, retain_graph=True)[0] for loss in losses])
    found = persample.mean_gradients(net, theta, examples(x), lambda z, *_: [z, z.sin()])
    close(found, expected)

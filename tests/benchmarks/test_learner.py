"""The training loop."""

import contextlib
import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import methods
from benchmarks.learner import Diverged, Train, batches, fit, learn
from benchmarks.trace import Trace
from methods.base.errors import UserError
from methods.base.net import Net
from methods.base.quadratic import Quadratic
from methods.base.rng import derive, generator
from tests.support import toy


def draws(*seeds):
    return [generator(seed, "batches") for seed in seeds]


def indices(data, train, generators, theta):
    return list(batches(len(data), train, generators, theta))


def test_an_epoch_is_every_example_once():
    data, theta = toy.stream().tasks[0].train, torch.zeros(1)
    train = replace(toy.TRAIN, batch=16, epochs=3)
    found = indices(data, train, draws(1), theta)
    assert [len(batch) for batch in found] == [16, 16, 16, 4] * 3
    epochs = [torch.cat(found[start : start + 4]).tolist() for start in (0, 4, 8)]
    assert all(sorted(epoch) == list(range(52)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_the_loss_is_of_the_examples_that_were_announced(seeds):
    """Every batch of a run, in the order of the batches; replicas have batches of their own."""
    stream, seen = toy.stream("class", sizes=toy.SMALL), []
    method = toy.make("naive")
    real = method.loss
    method.before_batch = lambda index: seen.append([index])
    method.loss = lambda theta, *batch: (seen[-1].append(batch), real(theta, *batch))[1]
    toy.run(method, stream, seeds)
    for task in stream.tasks:
        theta = torch.zeros(1) if len(seeds) == 1 else torch.zeros(len(seeds), 1)
        generators = [generator(seed, "batches", task.index) for seed in seeds]
        for expected in batches(len(task.train), toy.TRAIN, generators, theta):
            index, batch = seen.pop(0)
            assert torch.equal(index, expected)
            assert all(torch.equal(a, b) for a, b in zip(batch, task.train.take(index), strict=True))
    assert not seen


@pytest.mark.parametrize("steps", [1, 4, 6, 9])
def test_steps_are_counted_across_epochs(steps):
    data, theta = toy.stream().tasks[0].train, torch.zeros(1)
    by_steps = indices(data, replace(toy.TRAIN, epochs=None, steps=steps), draws(1), theta)
    by_epochs = indices(data, replace(toy.TRAIN, epochs=3), draws(1), theta)
    assert len(by_steps) == steps
    assert all(torch.equal(a, b) for a, b in zip(by_steps, by_epochs, strict=False))


def test_a_batch_larger_than_the_data_is_the_data():
    data, theta = toy.stream().tasks[0].train, torch.zeros(1)
    assert [len(batch) for batch in indices(data, replace(toy.TRAIN, batch=1000), draws(1), theta)] == [52, 52]


def test_each_replica_has_an_order_of_its_own_that_no_other_changes():
    data, train = toy.stream().tasks[0].train, toy.TRAIN
    together = indices(data, train, draws(1, 2, 5), torch.zeros(3, 1))
    assert [tuple(batch.shape) for batch in together[:4]] == [(3, 16), (3, 16), (3, 16), (3, 4)]
    for r, seed in enumerate((1, 2, 5)):
        alone = indices(data, train, draws(seed), torch.zeros(1))
        assert all(torch.equal(a[r], b) for a, b in zip(together, alone, strict=True))
    assert not torch.equal(together[0][0], together[0][1])


def test_orders_depend_on_seed_and_task_alone(monkeypatch):
    """Every method trains task k on the same batches."""
    seen = {}
    for name in ("naive", "ewc", "replay"):
        method, stream = toy.make(name), toy.stream()
        real = method.loss
        method.loss = lambda theta, x, y, mask, real=real, name=name: (
            seen.setdefault(name, []).append(x) or real(theta, x, y, mask)
        )
        toy.run(method, stream)
    for x, *others in zip(*seen.values(), strict=True):
        assert all(torch.equal(x, other) for other in others)


def test_random_numbers_are_one_generator_for_each_role():
    roles = [(1, "batches", 0), (1, "batches", 1), (2, "batches", 0), (1, "fisher", 0), (11, "batches", 0)]
    assert len({derive(*role) for role in roles}) == len(roles)
    assert derive(1, "batches", 2) == derive(1, "batches", 2) < 2**63
    assert torch.equal(torch.rand(3, generator=generator(1, "a")), torch.rand(3, generator=generator(1, "a")))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adagrad"])
def test_fine_tuning_is_a_plain_loop(optimizer):
    """Against a module and torch.optim, in float64."""
    stream = toy.stream("class")
    train = replace(toy.TRAIN, optimizer=optimizer, lr=0.02)
    module = toy.module(stream)
    cls = {
        "sgd": torch.optim.SGD,
        "momentum": lambda theta, lr: torch.optim.SGD(theta, lr, momentum=0.9),
        "adam": torch.optim.Adam,
        "adagrad": torch.optim.Adagrad,
    }[optimizer]
    plain = cls(module.parameters(), lr=0.02)
    for task in stream.tasks:
        order = generator(1, "batches", task.index)
        for index in batches(len(task.train), train, [order], torch.zeros(1)):
            x, y, mask = task.train.take(index)
            plain.zero_grad()
            F.cross_entropy(module(x) + mask, y).backward()
            plain.step()
    _, theta = toy.run(toy.make("naive"), stream, train=train)
    torch.testing.assert_close(theta, Net(module).vector(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("state", ["keep", "reset"])
def test_optimizer_state_is_kept_or_reset(state, monkeypatch):
    made, used = [], []
    real = Train.make_optimizer

    def make(self, theta):
        made.append(real(self, theta))
        return made[-1]

    def spy(method, theta, task, optimizer, *arguments):
        used.append((optimizer, len(optimizer.state)))
        fit(method, theta, task, optimizer, *arguments)

    monkeypatch.setattr(Train, "make_optimizer", make)
    monkeypatch.setattr("benchmarks.learner.fit", spy)
    toy.run(toy.make("naive"), toy.stream(), train=replace(toy.TRAIN, optimizer="adam", optimizer_state=state))
    optimizers = {id(optimizer) for optimizer, _ in used}
    assert len(optimizers) == (1 if state == "keep" else 3)
    assert [count for _, count in used] == ([0, 1, 1] if state == "keep" else [0, 0, 0])
    assert {id(each) for each in made} >= optimizers


def test_optimizer_state_moves_results():
    stream = toy.stream()
    keep, reset = (
        toy.run(toy.make("naive"), stream, train=replace(toy.TRAIN, optimizer="adam", optimizer_state=state))[1]
        for state in ("keep", "reset")
    )
    assert not torch.equal(keep, reset)


@pytest.mark.parametrize(("batch", "message"), [(1, "loss is not finite at step 100 of task 1"), (52, "after task 1")])
def test_divergence_is_an_error_that_says_where(batch, message):
    """The loss is looked at every hundred steps; a task shorter than that is told by its parameters."""
    train = replace(toy.TRAIN, lr=1e30, batch=batch, epochs=3)
    with pytest.raises(Diverged, match=message):
        toy.run(toy.make("naive"), toy.stream("task", torch.float32), train=train)


def test_divergence_in_a_later_task_is_named_so():
    stream = toy.stream("task", torch.float32)
    stream.tasks[2].train.parts[0].source.fill_(math.inf)
    with pytest.raises(Diverged, match="step 0 of task 3"):
        toy.run(toy.make("naive"), stream)


def test_dropout_does_not_depend_on_what_was_drawn_before():
    stream = toy.stream()
    _, theta = toy.run(toy.make("naive"), stream, build=toy.noisy)
    torch.rand(5)
    assert torch.equal(toy.run(toy.make("naive"), stream, build=toy.noisy)[1], theta)


def test_each_task_and_each_seed_draws_its_own_dropout():
    drawn = []
    for seed in (1, 2):
        method = toy.make("naive")
        method.before_task = lambda theta, task: drawn.append(torch.rand(4).tolist()) or task
        toy.run(method, toy.stream(), (seed,))
    assert len({tuple(draw) for draw in drawn}) == len(drawn) == 6


def test_theta_that_is_given_stays_as_it_is():
    stream = toy.stream()
    net = Net(toy.module(stream))
    theta = net.vector()
    before = theta.clone()
    _, after = learn(toy.make("naive"), net, theta, stream, toy.TRAIN, (1,))
    assert torch.equal(theta, before) and torch.equal(net.vector(), before)
    assert not torch.equal(after, before) and not after.requires_grad


def test_hooks_are_called_in_order_with_the_task_gradient(monkeypatch):
    """Two steps of each task: batch, loss, gradient, penalty, step; its end comes last, on the stream's own task."""
    stream, calls = toy.stream("task", sizes=toy.SMALL), []
    method = toy.make("l2", lam=2.0)
    thetas = {}
    step = ["before_batch", "loss", "after_backward", "add_penalty_grad", "after_step"]

    def spy(name):
        real = getattr(method, name)

        def hook(*arguments):
            calls.append(name)
            thetas.setdefault(name, []).append([each.clone() for each in arguments if isinstance(each, torch.Tensor)])
            return real(*arguments)

        setattr(method, name, hook)

    monkeypatch.setattr(type(method), "overrides", lambda method, hook: hook == "after_step")
    for name in ("before_task", *step, "after_task"):
        spy(name)
    _, theta = toy.run(method, stream, train=replace(toy.TRAIN, epochs=None, steps=2))
    assert calls == ["before_task", *step, *step, "after_task"] * 3
    for (at, grad), (old, new, same), (again, passed) in zip(
        thetas["after_backward"], thetas["after_step"], thetas["add_penalty_grad"], strict=True
    ):
        assert torch.equal(at, old) and torch.equal(again, old)
        assert torch.equal(grad, same) and torch.equal(passed, grad)
        assert not torch.equal(old, new)
    assert torch.equal(thetas["after_task"][-1][0], theta)
    assert torch.equal(thetas["after_step"][-1][1], theta)


def test_after_backward_replaces_the_gradient():
    stream = toy.stream()
    method = toy.make("naive")
    method.after_backward = lambda theta, grad: torch.zeros_like(grad)
    _, theta = toy.run(method, stream)
    assert torch.equal(theta, Net(toy.module(stream)).vector())


def test_seconds_go_to_their_phases():
    trace, stream = Trace(), toy.stream()
    net = Net(toy.module(stream))
    learn(toy.make("ewc"), net, net.vector(), stream, toy.TRAIN, (1,), trace)
    assert set(trace.seconds) == {"training", "importance", "evaluation"}
    assert all(0 < seconds < 10 for seconds in trace.seconds.values())


GOOD = {"net": "mlp-8", "optimizer": "sgd", "lr": 0.1, "optimizer_state": "keep", "batch": 8, "epochs": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net": "mpl-8"}, "unknown net 'mpl-8'"),
        ({"optimizer": "adamm"}, "unknown optimizer 'adamm'; the nearest is 'adam'"),
        ({"optimizer_state": "kept"}, "unknown optimizer_state 'kept'; the nearest is 'keep'"),
        *[({"lr": bad}, "lr must be a finite number > 0") for bad in (0, -1.0, math.nan, math.inf, "1", None, True)],
        *[({"batch": bad}, "batch must be a whole number >= 1") for bad in (0, -1, 1.5, "8", True, None)],
        *[({"epochs": bad}, "epochs must be a whole number >= 1") for bad in (0, -1, 1.5, "8", True)],
        ({"epochs": None, "steps": 0}, "steps must be a whole number >= 1"),
        ({"steps": 3}, "epochs and steps: give exactly one"),
        ({"epochs": None}, "epochs and steps: give exactly one"),
    ],
)
def test_refusals(change, message):
    Train(**GOOD)
    with pytest.raises(UserError, match=message):
        Train(**GOOD | change)


@pytest.mark.parametrize(("optimizer", "limit"), [("sgd", 2.0), ("momentum", 3.8), ("adam", None)])
def test_a_penalty_beyond_the_stable_step_is_said_once(optimizer, limit):
    """By the definition: on one quadratic, descent moves away from the centre above the limit, and to it below."""
    for factor in (0.95, 1.05):
        lam = factor * (limit or 2.0) / toy.TRAIN.lr
        method, trace = methods.make("l2", lam=lam), Trace()
        train = replace(toy.TRAIN, optimizer=optimizer, epochs=1)
        stream = toy.stream("domain")
        net = Net(toy.module(stream))
        with contextlib.suppress(Diverged):
            learn(method, net, net.vector(), stream, train, (1,), trace)
        said = limit is not None and factor > 1
        assert len(trace.warnings) == said
        if said:
            assert f"{factor * limit:.3g}, above {limit:g}" in trace.warnings[0] and "\n" not in trace.warnings[0]
        if limit is None:
            continue
        quadratic = Quadratic(lam)
        theta = torch.ones(1, dtype=torch.float64)
        quadratic.set(torch.ones_like(theta), torch.zeros_like(theta))
        descent = train.make_optimizer(theta)
        for _ in range(200):
            theta.grad = quadratic.add_gradient(theta, torch.zeros_like(theta)).clone()
            descent.step()
        assert (abs(float(theta)) > 1) == (factor > 1)

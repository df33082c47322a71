"""A method may grow the network before a task: the loop, its optimiser, checkpoints and the record follow."""

from dataclasses import dataclass, replace

import pytest
import torch

from benchmarks import learner
from benchmarks.avalanche_plugin import Plugin
from benchmarks.checkpoint import Checkpoint
from benchmarks.learner import learn, start
from benchmarks.trace import Trace
from methods.base.errors import UserError
from methods.base.method import Method
from methods.base.net import Net
from tests.support import toy

ADAM = replace(toy.TRAIN, optimizer="adam", lr=0.01)


class Shifted:
    """A net and, behind its theta, n shifts of the logits."""

    def __init__(self, net, n):
        self.net, self.n, self.module, self.n_parameters = net, n, net.module, net.n_parameters + 6 * n

    def __call__(self, theta, x, train=False):
        own, *shifts = theta.split([self.net.n_parameters, *[6] * self.n])
        return self.net(own, x, train) + sum(shifts)


@dataclass
class Grower(Method):
    """Add one shift of the logits in each of these tasks."""

    tasks: tuple[int, ...]

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.n = 0

    def grow(self, net, theta, task):
        if task.index not in self.tasks:
            return net, theta
        self.n += 1
        return Shifted(getattr(net, "net", net), self.n), torch.cat([theta, theta.new_zeros(6)])

    def restore(self, state):
        super().restore(state)
        self.net = Shifted(self.net, self.n)


def run(method, checkpoint=None, train=ADAM):
    stream = toy.stream("class", torch.float32)
    net = Net(toy.noisy(stream))
    return learn(method, net, net.vector(), stream, train, (1,), None, checkpoint)


def test_what_is_added_is_trained_and_counted():
    stream = toy.stream("class", torch.float32)
    net = Net(toy.module(stream))
    _, theta = learn(method := Grower((0, 2)), net, net.vector(), stream, ADAM, (1,))
    assert len(theta) == net.n_parameters + 12
    assert theta[-6:].count_nonzero() == 6
    assert start(Grower((0, 2)), [stream], ADAM, (1,), "cpu", Trace()) == len(theta) == method.net.n_parameters


@pytest.mark.parametrize("tasks", [(), (1,), (0, 1, 2)])
def test_growth_gets_a_fresh_optimiser_and_nothing_else_does(tasks, monkeypatch):
    made, real = [], learner.Train.make_optimizer

    def make_optimizer(train, theta):
        made.append(len(theta))
        return real(train, theta)

    monkeypatch.setattr(learner.Train, "make_optimizer", make_optimizer)
    _, theta = run(Grower(tasks))
    n = len(theta) - 6 * len(tasks)
    assert made == [n + 6 * grown for grown in range(len(tasks) + 1)]


@pytest.mark.parametrize("stop_at", [1, 2])
@pytest.mark.parametrize("tasks", [(0,), (0, 1, 2), (2,)])
def test_a_grown_run_goes_on_to_the_bit(tasks, stop_at, tmp_path, monkeypatch):
    counts, theta = run(Grower(tasks))
    real = learner.fit

    def fit(method, theta, task, *rest):
        if task.index == stop_at:
            raise InterruptedError
        real(method, theta, task, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(learner, "fit", fit)
        with pytest.raises(InterruptedError):
            run(Grower(tasks), Checkpoint(tmp_path / "x", {}))
    again_counts, again = run(Grower(tasks), Checkpoint(tmp_path / "x", {}))
    assert again_counts == counts
    assert torch.equal(again, theta)


def test_the_plugin_refuses_a_method_that_grows():
    with pytest.raises(UserError, match=r"^Grower adds parameters to the network, which here is") as error:
        Plugin(Grower((0,)))
    assert "\n" not in str(error.value)

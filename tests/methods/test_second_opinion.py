"""Avalanche's own strategies beside ours: the same start, the same batches, float64.

What is compared is the network after one step and after one epoch of the second task. Avalanche's model holds our
parameters when that task begins, its plugin our memory, and its loop takes the examples in our order. Where the
definitions differ, a test pins the difference.
"""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from benchmarks.learner import Train, batches, fit
from methods.base.rng import generator
from tests.support import toy
from tests.support.constraints import case

pytestmark = pytest.mark.filterwarnings("ignore:::avalanche")
STEPS = pytest.mark.parametrize("steps", [1, 4])  # four are an epoch
TRAIN = {
    steps: Train(net="mlp-8", optimizer="sgd", lr=0.1, optimizer_state="keep", batch=16, steps=steps)
    for steps in (1, 4, 12)
}


def dataset(x, y):
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset

    return _make_taskaware_classification_dataset(TensorDataset(x, y), targets=y.tolist(), task_labels=0)


class Side:
    """One method in the second of two tasks, and what Avalanche's template needs to train beside it."""

    def __init__(self, method, scenario="domain", build=toy.module):
        self.method, self.stream, self.build = method, toy.stream(scenario), build
        self.theta = toy.begin(method, self.stream, build=build)
        first = self.stream.tasks[0]
        train = TRAIN[12]
        fit(method, self.theta, first, train.make_optimizer(self.theta), train, [generator(1, "batches", 0)])
        method.after_task(self.theta.clone(), first)
        self.module = build(self.stream)
        nn.utils.vector_to_parameters(self.theta.clone(), self.module.parameters())

    def ours(self, steps):
        """theta [P] after `steps` steps on the second task."""
        theta, train = self.theta.clone(), TRAIN[steps]
        fit(self.method, theta, self.stream.tasks[1], train.make_optimizer(theta), train, [generator(1, "batches", 1)])
        return theta

    def theirs(self, plugin, steps):
        """The same with Avalanche's loop around `plugin`, on our batches, one after the other."""
        from avalanche.training.templates import SupervisedTemplate

        train = TRAIN[steps]
        data = self.stream.tasks[1].train
        x, y, _ = data.take(torch.cat(list(batches(len(data), train, [generator(1, "batches", 1)], self.theta))))
        optimizer = torch.optim.SGD(self.module.parameters(), lr=train.lr)
        strategy = SupervisedTemplate(
            model=self.module,
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            plugins=[plugin],
            train_mb_size=train.batch,
            evaluator=None,
        )
        strategy.clock.train_exp_counter = 1
        strategy.train(experience(x, y), shuffle=False)
        return nn.utils.parameters_to_vector(self.module.parameters()).detach()

    def check(self, plugin, steps, **tolerance):
        """Ours is theirs, and is not fine-tuning."""
        ours = self.ours(steps)
        torch.testing.assert_close(ours, self.theirs(plugin, steps), **tolerance)
        plain = Side(toy.make("naive"), self.stream.scenario, self.build)
        plain.theta = self.theta
        assert steps == 1 or float((plain.ours(steps) - ours).norm()) > 1e-3


class Strategy:
    """What Avalanche's plugins ask of a strategy when a task has ended."""

    def __init__(self, side, batch):
        x, y, _ = side.stream.tasks[0].train.take(torch.arange(52))
        self.model, self.experience, self.train_mb_size, self.device = side.module, experience(x, y), batch, "cpu"
        self.optimizer = torch.optim.SGD(side.module.parameters(), lr=0.1)
        self._criterion = nn.CrossEntropyLoss()
        self.clock = type("Clock", (), {"train_exp_counter": 0})


FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}  # their importances are rounded to it, ours are not


def importance(named):
    """Avalanche's importance by name, as our vector."""
    return torch.cat([value.data.flatten() for value in named.values()]).double()


@STEPS
def test_ewc(steps):
    """The preset, with one batch of all. Their penalty has no 1/2: lam is twice theirs."""
    from avalanche.training.plugins import EWCPlugin

    side = Side(toy.make("ewc", preset="avalanche", lam=600.0, fisher_batch=52))
    plugin = EWCPlugin(ewc_lambda=300.0)
    plugin.after_training_exp(Strategy(side, 52))
    torch.testing.assert_close(side.method.quadratic.A, importance(plugin.importances[0]), rtol=1e-5, atol=1e-12)
    side.check(plugin, steps, **FLOAT32)


@STEPS
def test_mas(steps):
    """The preset, with one batch of all. Their estimate in training mode is the same in a net without dropout."""
    from avalanche.training.plugins import MASPlugin

    side = Side(toy.make("mas", preset="avalanche", lam=0.5, batch=52))
    plugin = MASPlugin(lambda_reg=0.5)
    plugin.after_training_exp(Strategy(side, 52))
    side.check(plugin, steps, **FLOAT32)


def test_mas_averages_tasks_as_theirs():
    from avalanche.training.plugins import MASPlugin

    side = Side(toy.make("mas", preset="avalanche", batch=52))
    plugin, strategy = MASPlugin(), Strategy(side, 52)
    plugin.after_training_exp(strategy)
    side.theta += 0.3
    nn.utils.vector_to_parameters(side.theta.clone(), side.module.parameters())
    strategy.clock.train_exp_counter = 1
    plugin.after_training_exp(strategy)
    side.method.after_task(side.theta, side.stream.tasks[0])
    torch.testing.assert_close(side.method.quadratic.A, importance(plugin.importance), rtol=1e-5, atol=1e-6)


def test_si_importance_and_penalty():
    """Two tasks with path integrals drawn at random: theirs are 0 on a CPU. Their penalty has a 1/2, so c is half."""
    from avalanche.training.plugins import SynapticIntelligencePlugin as Theirs

    stream = toy.stream("domain")
    method, module = toy.make("si", preset="maltoni", c=300.0), toy.module(stream)
    theta, plugin, draws = toy.begin(method, stream), Theirs(si_lambda=600.0), torch.Generator().manual_seed(0)
    anchor, synapses = plugin.ewc_data[0], plugin.syn_data
    way = torch.full_like(theta, 0.3).index_fill(0, torch.arange(9), 0.0)  # what stays has xi alone below it
    for task in stream.tasks[:2]:
        Theirs.create_syn_data(module, plugin.ewc_data, synapses, set())
        Theirs.init_batch(module, plugin.ewc_data, synapses, set())
        for value in anchor.values():
            value.data = value.data.clone()  # it is a view of the parameters, which move
        w = torch.where(way > 0, 1e-4, 1e-11) * torch.randn(theta.shape, dtype=theta.dtype, generator=draws)
        sizes = [len(value.data) for value in anchor.values()]
        for value, part in zip(synapses["trajectory"].values(), w.split(sizes), strict=True):
            value.data = -part.clone()
        theta = theta + way
        nn.utils.vector_to_parameters(theta.clone(), module.parameters())
        Theirs.update_ewc_data(module, plugin.ewc_data, synapses, 0.001, set(), 1, eps=plugin.eps)
        method.w += w
        method.after_task(theta, task)
        found = importance(plugin.ewc_data[1])
        torch.testing.assert_close(method.quadratic.A, found, rtol=1e-5, atol=1e-9)
        assert float(found.max()) == pytest.approx(1e-3) and float(found.min()) < 0
    nn.utils.vector_to_parameters((theta + 0.5).float(), module.float().parameters())
    for value in anchor.values():
        value.data = value.data.float()
    penalty = Theirs.compute_ewc_loss(module, plugin.ewc_data, set(), "cpu", lambd=600.0)
    torch.testing.assert_close(method.penalty(theta + 0.5), penalty.detach().double(), rtol=1e-4, atol=0)


def experience(x, y):
    from avalanche.benchmarks import benchmark_from_datasets

    return benchmark_from_datasets(train=[dataset(x, y)]).train_stream[0]


@STEPS
def test_agem(steps):
    """The reference is the whole memory: nothing is left to chance."""
    from avalanche.training.plugins import AGEMPlugin

    side = Side(toy.make("agem", per_class=5, batch_memory=10))
    x, y, _ = side.method.kept.take(torch.arange(10))
    plugin = AGEMPlugin(patterns_per_experience=10, sample_size=10)
    plugin.update_memory(dataset(x, y))
    side.check(plugin, steps, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("margin", [0.0, 0.5])
@STEPS
def test_gem(steps, margin):
    """Bound margin and eps 1e-3, as released. Their projected gradient is rounded to float32, ours is not."""
    from avalanche.training.plugins import GEMPlugin

    side = Side(toy.make("gem", per_task=12, margin=margin))
    (memory,) = side.method.memories
    x, y, _ = memory.take(torch.arange(12))
    plugin = GEMPlugin(patterns_per_experience=12, memory_strength=margin)
    plugin.memory_x[0], plugin.memory_y[0], plugin.memory_tid[0] = x, y, torch.zeros(12, dtype=torch.int64)
    side.check(plugin, steps, rtol=1e-5, atol=1e-6)


def test_gem_projection_of_several_constraints():
    """Their quadratic programme against ours, on random gradients, to float32's rounding, which is theirs."""
    from avalanche.training.plugins import GEMPlugin

    for seed in range(10):
        for margin in (0.0, 0.5):
            g, G = case(seed, 6)
            plugin = GEMPlugin(patterns_per_experience=1, memory_strength=margin)
            plugin.G = G
            found = toy.make("gem", margin=margin).project(g, G)
            torch.testing.assert_close(found.float(), plugin.solve_quadprog(g), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("lam", "T"), [(1.0, 2.0), (3.0, 1.0)])
@STEPS
def test_lwf(steps, lam, T):
    """Their divergence and our cross entropy differ by the teacher's entropy, a constant: the steps are the same."""
    from avalanche.training.plugins import LwFPlugin

    side = Side(toy.make("lwf", lam=lam, T=T))
    side.check(distilling(LwFPlugin(alpha=lam, temperature=T), side), steps, rtol=1e-11, atol=1e-13)


def distilling(plugin, side):
    """The plugin after the first task."""
    strategy = type("Strategy", (), {"model": side.module})
    x, y, _ = side.stream.tasks[0].train.take(torch.arange(20))
    plugin.lwf.post_adapt(strategy, experience(x, y))
    return plugin


def test_lwf_loss_differs_by_the_entropy_of_the_teacher():
    from avalanche.training.plugins import LwFPlugin

    side = Side(toy.make("lwf", lam=3.0))
    method, theta, task = side.method, side.theta, side.stream.tasks[1]
    plugin = distilling(LwFPlugin(alpha=3.0, temperature=2), side)
    method.before_task(theta, task)
    x, y, mask = task.train.take(torch.arange(20))
    here = theta + 0.3
    nn.utils.vector_to_parameters(here, side.module.parameters())
    out = side.module(x)
    theirs = nn.functional.cross_entropy(out, y) + plugin.lwf(x, out, side.module)
    p = (method.net(theta, x) / 2).softmax(-1)
    entropy = -(p * p.log()).sum(-1).mean()
    torch.testing.assert_close(method.loss(here, x, y, mask), theirs + 3 * entropy, rtol=1e-11, atol=1e-13)


def test_lwf_teacher_of_theirs_stays_in_training_mode():
    """The known difference: with dropout their targets are drawn anew in every step; ours are one network's output."""
    from avalanche.training.plugins import LwFPlugin

    side = Side(toy.make("lwf"), build=toy.noisy)
    side.module.train()
    plugin = distilling(LwFPlugin(), side)
    side.method.before_task(side.theta, side.stream.tasks[1])
    x, _, _ = side.stream.tasks[1].train.take(torch.arange(20))
    teacher = side.method.teacher
    assert torch.equal(teacher.outputs(x), teacher.outputs(x))
    assert plugin.lwf.prev_model.training
    assert not torch.equal(plugin.lwf.prev_model(x), plugin.lwf.prev_model(x))


@STEPS
def test_replay(steps):
    """One mean over a batch and the whole memory."""
    from avalanche.training.plugins import ReplayPlugin
    from avalanche.training.storage_policy import ReservoirSamplingBuffer

    side = Side(toy.make("replay", memory=10, batch_memory=10))
    x, y, _ = side.method.kept.take(torch.arange(10))
    memory = ReservoirSamplingBuffer(max_size=10)
    memory.buffer = dataset(x, y)
    plugin = ReplayPlugin(mem_size=10, batch_size=16, batch_size_mem=10, storage_policy=memory)
    side.check(plugin, steps, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("memory", [6, 20, 47, 1000])
def test_replay_keeps_as_many_of_each_class(memory):
    """Class-balanced, after each task; the places left over go to their lowest labels, which are our first classes."""
    from avalanche.training.storage_policy import ClassBalancedBuffer

    stream = toy.stream("class")
    method, theirs = toy.make("replay", memory=memory, buffer="class_balanced"), ClassBalancedBuffer(max_size=memory)
    theta = toy.begin(method, stream)
    for task in stream.tasks:
        method.before_task(theta, task)
        method.after_task(theta, task)
        x, y, _ = task.train.take(torch.arange(len(task.train)))
        theirs.update_from_dataset(dataset(x, y))
        assert Counter(method.kept.parts[0].y.tolist()) == Counter(theirs.buffer.targets)
    assert 6 <= len(method.kept) <= memory

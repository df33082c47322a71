"""Methods inside Avalanche strategies: the same accuracies and parameters as in our own loop, on the same batches."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.models import IncrementalClassifier, MTSimpleMLP
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch.utils.data import DataLoader, TensorDataset

import methods
from benchmarks.avalanche_plugin import Plugin
from methods.base.errors import UserError
from methods.base.examples import Examples, mask_of
from methods.base.net import Net
from tests.support import toy
from tests.support.slow import orders

SEED = 1
pytestmark = pytest.mark.filterwarnings("ignore:No loggers specified")
TRAIN = replace(toy.TRAIN, batch=5)
ADAM = replace(TRAIN, optimizer="adam", lr=0.01)
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
CASES = [(name, scenario) for name in toy.PLUGINS for scenario in methods.find(name).scenarios]


class Ordered(Naive):
    """Batches in the order of our own loop, all epochs in one."""

    def make_train_dataloader(self, **kwargs):
        sampler = list(orders(len(self.adapted_dataset), self.own_order, SEED, self.clock.train_exp_counter))
        self.dataloader = DataLoader(self.adapted_dataset, batch_sampler=sampler)


def by_class(scenario, dtype=torch.float64):
    """The toy stream with its training examples in the order of their units, which is how Avalanche splits a set."""
    stream = toy.stream(scenario, dtype, toy.SMALL)
    orders = [task.train.parts[0].y.argsort(stable=True) for task in stream.tasks]
    tasks = [replace(task, train=task.train.select(order)) for task, order in zip(stream.tasks, orders, strict=True)]
    one_mask = [replace(task.train.parts[0], mask=task.train.parts[0].mask[0]) for task in tasks]
    pairs = zip(tasks, one_mask, strict=True)
    return replace(stream, tasks=tuple(replace(task, train=Examples((part,))) for task, part in pairs))


def benchmark(stream):
    """The stream as Avalanche's: labels are our units."""
    sets = []
    for side in ([task.train for task in stream.tasks], stream.tests):
        x, y = [], []
        for k, examples in enumerate(side):
            pixels, unit, _ = examples.take(torch.arange(len(examples)))
            x.append(pixels)
            y.append(unit + 2 * k if stream.scenario == "domain" else unit)
        sets.append(TensorDataset(torch.cat(x), torch.cat(y)))
        sets[-1].targets = torch.cat(y).tolist()
    first, each = stream.scenario != "domain", stream.scenario == "domain"
    return nc_benchmark(
        *sets,
        len(stream.tasks),
        task_labels=stream.scenario == "task",
        fixed_class_order=list(range(2 * len(stream.tasks))),
        class_ids_from_zero_from_first_exp=first,
        class_ids_from_zero_in_each_exp=each,
    )


def strategy(plugin, model, train=TRAIN, cls=Ordered):
    made = cls(
        model=model,
        optimizer=OPTIMIZERS[train.optimizer](model.parameters(), lr=train.lr),
        train_mb_size=train.batch,
        eval_mb_size=64,
        plugins=[plugin],
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True)),
    )
    made.own_order = train
    return made


def counts(strategy, bench, stream):
    """Right answers on each test set."""
    found = strategy.eval(bench.test_stream)
    values = [found[next(key for key in found if f"Exp{j:03d}" in key)] for j in range(len(stream.tests))]
    return [round(value * len(test)) for value, test in zip(values, stream.tests, strict=True)]


def check(name, scenario, train, build):
    stream = by_class(scenario)
    expected, theta = toy.run(toy.make(name), stream, (SEED,), train, build)
    model = build(stream)
    made = strategy(Plugin(toy.make(name), scenario, SEED), model, train)
    bench = benchmark(stream)
    for k, experience in enumerate(bench.train_stream, 1):
        made.train(experience)
        row = counts(made, bench, stream)
        assert [None if e is None else c for c, e in zip(row, expected[k], strict=True)] == expected[k]
    torch.testing.assert_close(Net(model).vector(), theta, rtol=1e-9, atol=1e-12)
    return model


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_plugin_is_our_own_loop(name, scenario):
    """Every method and scenario: the accuracy matrix exactly, the parameters to rounding."""
    check(name, scenario, TRAIN, toy.module)


@pytest.mark.parametrize("name", ["naive", "ewc", "si", "agem", "replay", "lwf", "icarl"])
def test_plugin_with_adam(name):
    check(name, "class", ADAM, toy.module)


def normed(stream, seed=1):
    """A net with batch normalisation and no dropout: what dropout draws is the strategy's affair."""
    net = toy.noisy(stream, seed)
    net[4] = torch.nn.Identity()
    return net


@pytest.mark.parametrize("name", ["naive", "ewc", "lwf"])
def test_plugin_moves_batch_statistics_once_in_a_step(name):
    model = check(name, "class", TRAIN, normed)
    steps = sum(2 * -(-len(task.train) // TRAIN.batch) for task in by_class("class").tasks)
    assert int(model[2].num_batches_tracked) == steps


def test_plugin_trains_the_reduced_resnet():
    check("si", "task", TRAIN, partial(toy.module, spec="resnet18-reduced"))


def test_plugin_in_three_lines():
    """Avalanche's own batches, loader and default scenario."""
    stream = toy.stream("class", torch.float32)
    model = toy.module(stream)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    plugin = Plugin(methods.make("ewc", lam=100.0))
    made = Naive(model=model, optimizer=optimizer, plugins=[plugin], train_mb_size=8, evaluator=None)
    before = Net(model).vector()
    for experience in benchmark(stream).train_stream:
        made.train(experience)
    assert bool(Net(model).vector().isfinite().all()) and not torch.equal(Net(model).vector(), before)
    assert plugin.method.quadratic.A.count_nonzero() > 0


def test_plugin_before_training_leaves_outputs_alone():
    stream = toy.stream("class")
    model = toy.module(stream)
    made = strategy(Plugin(toy.make("naive")), model)
    x, y, _ = stream.tests[0].take(torch.arange(len(stream.tests[0])))
    assert counts(made, benchmark(stream), stream)[0] == int((model(x).argmax(-1) == y).sum())


def test_plugin_predicts_with_the_head_of_the_task_whatever_the_test_set_holds():
    """A test set of one class would tell the answer, if the units were taken from its labels."""
    stream, plugin = toy.stream("task"), Plugin(toy.make("naive"), "task")
    made = strategy(plugin, toy.module(stream))
    first, second, _ = benchmark(stream).train_stream
    made.train(first)
    made.train(second)
    for labels, units in (([2], [2, 3]), ([1, 1], [0, 1]), ([5], [5])):  # the last is of a task not yet learnt
        experience = SimpleNamespace(dataset=SimpleNamespace(targets=labels))
        plugin.before_eval_exp(SimpleNamespace(model=made.model, device=torch.device("cpu"), experience=experience))
        assert plugin.test_mask.tolist() == mask_of(units, 6).tolist()


class Intruder(SupervisedPlugin):
    """Another plugin: notes the model's mode when the loss is differentiated, and spoils the gradients in place."""

    def __init__(self):
        super().__init__()
        self.modes = set()

    def before_backward(self, strategy, **kwargs):
        self.modes |= {module.training for module in strategy.model.modules()}

    def after_backward(self, strategy, **kwargs):
        for p in strategy.model.parameters():
            p.grad.zero_()


def test_plugin_beside_another():
    stream = toy.stream("class")
    model, plugin, intruder = toy.noisy(stream), Plugin(toy.make("naive")), Intruder()
    made = strategy(plugin, model)
    made.plugins.append(intruder)
    before = Net(model).vector()
    made.train(benchmark(stream).train_stream[0])
    assert intruder.modes == {True}
    assert torch.equal(Net(model).vector(), before)
    assert plugin.grad.count_nonzero() > 0, "what the method was given is not what others change"


def test_plugin_refuses_a_model_that_changes():
    stream = toy.stream("class")
    model = toy.module(stream)
    bench = benchmark(stream)
    made = strategy(Plugin(toy.make("naive")), model)
    made.train(bench.train_stream[0])
    model.head.bias.requires_grad_(False)
    with pytest.raises(UserError, match="parameters changed between tasks"):
        made.train(bench.train_stream[1])


def test_plugin_refuses():
    with pytest.raises(UserError, match="ICaRL does not run in scenario 'task': it is for class"):
        Plugin(toy.make("icarl"), "task")
    for hook in ("next_phase", "shrink"):
        own = type("Own", (methods.find("naive"),), {hook: lambda *_: None})
        with pytest.raises(UserError, match=f"Own has `{hook}`, for which a strategy has no place"):
            Plugin(own())
    with pytest.raises(UserError, match="Joint trains on all tasks together"):
        Plugin(toy.make("joint"))
    stream = toy.stream("class")
    bench = benchmark(stream)
    with pytest.raises(UserError, match="the model needs task labels"):
        strategy(Plugin(toy.make("naive")), MTSimpleMLP(input_size=16).double()).train(bench.train_stream[0])
    growing = torch.nn.Sequential(torch.nn.Flatten(), IncrementalClassifier(16, 2)).double()
    grown = strategy(Plugin(toy.make("naive")), growing)
    with pytest.raises(UserError, match=r"labels \[2, 3\] for a model of 2 outputs"):
        for experience in bench.train_stream:
            grown.train(experience)


def test_plugin_is_no_method():
    assert "plugin" not in methods.names() and "herding" not in methods.names()

"""Progressive networks against the plain form: each layer with all its matrices and biases apart, nothing kept."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import methods
from benchmarks.learner import batches as batches_of
from benchmarks.learner import learn, start
from benchmarks.trace import Trace
from methods.base.errors import UserError
from methods.base.net import Net
from methods.base.rng import generator
from methods.growing import columns as parts
from tests.support import toy

SPEC = "mlp-8-7"
WIDTHS = (16, 8, 7)
TRAINS = {
    "sgd": replace(toy.TRAIN, batch=5, lr=0.05),
    "momentum": replace(toy.TRAIN, optimizer="momentum", batch=5, lr=0.01),
    "adam": replace(toy.TRAIN, optimizer="adam", batch=5, lr=0.02),
    "adagrad": replace(toy.TRAIN, optimizer="adagrad", batch=5, lr=0.05),
}
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9),
    "adam": torch.optim.Adam,
    "adagrad": torch.optim.Adagrad,
}


def trained(stream, train=TRAINS["sgd"], seed=1, method=None, **options):
    method = method or methods.make("pnn", **options)
    net = Net(toy.module(stream, seed, SPEC))
    counts, _ = learn(method, net, net.vector(), stream, train, (seed,))
    return method, counts


class PlainColumn(nn.Module):
    """Column t: in each layer a matrix and a bias for itself, and one for each earlier column."""

    def __init__(self, t, n_out, draws, std, bias):
        super().__init__()
        self.layers = nn.ModuleList()
        for n_in, n in zip(WIDTHS, (*WIDTHS[1:], n_out), strict=True):
            layer = nn.ModuleList(nn.Linear(n_in, n).double() for _ in range(t))
            weights = torch.empty(t, n, n_in, dtype=torch.float64)
            nn.init.trunc_normal_(weights, std=std, a=-2 * std, b=2 * std, generator=draws)
            for each, weight in zip(layer, weights, strict=True):
                each.weight.data.copy_(weight)
                each.bias.data.fill_(bias)
            self.layers.append(layer)

    def forward(self, x, earlier):
        """All activations; `earlier` are those of the columns before, each a list of layers."""
        found = [x.flatten(1)]
        for n, layer in enumerate(self.layers):
            inputs = [found[-1], *(found[0] if n == 0 else each[n] for each in earlier)]
            z = sum(linear(h) for linear, h in zip(layer, inputs, strict=True))
            found.append(z if n == len(self.layers) - 1 else F.relu(z))
        return found


def plain_logits(columns, x, k):
    found = []
    for column in columns[: k + 1]:
        found.append(column(x, found))
    return found[-1][-1]


def plain(stream, train, seed=1, std=0.1, bias=0.1):
    columns = []
    for task in stream.tasks:
        columns.append(PlainColumn(task.index + 1, 2, generator(seed, "column", task.index), std, bias))
        optimizer = OPTIMIZERS[train.optimizer](columns[-1].parameters(), lr=train.lr)
        order = generator(seed, "batches", task.index)
        for index in batches_of(len(task.train), train, [order], torch.zeros(1)):
            x, y, _ = task.train.take(index)
            optimizer.zero_grad()
            F.cross_entropy(plain_logits(columns, x, task.index), y - 2 * task.index).backward()
            optimizer.step()
        columns[-1].requires_grad_(False)
    return columns


def logits_of(method, x, k):
    return parts.answer(method.columns, k, x.flatten(1))


@pytest.mark.parametrize("kept", [2**31, 0])
@pytest.mark.parametrize("optimizer", TRAINS)
def test_a_whole_run_is_the_plain_forms_to_rounding(optimizer, kept, monkeypatch):
    monkeypatch.setattr(parts, "KEPT", kept)
    monkeypatch.setattr(parts, "SLICE", 7)
    stream = toy.stream("task")
    method, counts = trained(stream, TRAINS[optimizer], std=0.3, bias=0.2)
    columns = plain(stream, TRAINS[optimizer], std=0.3, bias=0.2)
    for k, test in enumerate(stream.tests):
        x, y, _ = test.take(torch.arange(len(test)))
        expected = plain_logits(columns, x, k)
        torch.testing.assert_close(logits_of(method, x, k), expected, rtol=1e-9, atol=1e-10)
        assert counts[-1][k] == int((expected.argmax(-1) + 2 * k == y).sum())


def test_what_is_kept_through_a_task_is_used_and_then_dropped(monkeypatch):
    """In training the earlier columns are run on the slices of a task alone."""
    calls, real = [], parts.hidden
    monkeypatch.setattr(parts, "hidden", lambda columns, x: calls.append((len(columns), len(x))) or real(columns, x))
    stream = toy.stream("task")
    stream = replace(stream, tests=tuple(test.select(torch.arange(3)) for test in stream.tests))
    method, _ = trained(stream)
    in_training = [(n, size) for n, size in calls if size != 3 and n]
    assert in_training == [(1, 60), (2, 68)]
    assert method.net.module.kept is None and method.net.module.asked == []


@pytest.mark.parametrize("asked", [1, 2, 8])
def test_a_learning_curve_runs_the_earlier_columns_once_on_each_batch_of_a_test_set(asked, monkeypatch):
    calls, real = [], parts.hidden
    monkeypatch.setattr(parts, "hidden", lambda columns, x: calls.append((len(columns), len(x))) or real(columns, x))
    monkeypatch.setattr(parts, "ASKED", asked)
    monkeypatch.setattr("benchmarks.evaluation.BATCH", 13)  # batches of 13 and 7
    stream, curves = toy.stream("task"), []
    for build in (parts.Progressive._below, lambda self, x: real(self.earlier, x)):
        monkeypatch.setattr(parts.Progressive, "_below", build)
        net, trace = Net(toy.module(stream, 1, SPEC)), Trace()
        train = replace(TRAINS["sgd"], curve=4)
        learn(methods.make("pnn"), net, net.vector(), stream, train, (1,), trace)
        curves.append(trace.curve)
        if len(curves) == 1:
            of_test = [call for call in calls if call[1] in (13, 7) and call[0] == 2]
    assert curves[0] == curves[1]
    # After the last task the third test set is evaluated once more.
    assert len(of_test) == (2 if asked > 1 else 2 * 5) + 2


def test_forgetting_is_zero_to_the_bit():
    stream = toy.stream("task", torch.float32)
    _, counts = trained(stream)
    for j in range(3):
        assert len({counts[k][j] for k in range(j + 1, 4)}) == 1
    assert len({counts[k][2] for k in range(3)}) == 1  # before its column


def test_columns_of_earlier_tasks_never_change_and_answers_neither():
    stream = toy.stream("task", torch.float32)
    x, _, _ = stream.tests[0].take(torch.arange(20))
    method, seen = methods.make("pnn"), []
    real = type(method).after_task

    def after_task(theta, task):
        real(method, theta, task)
        seen.append((logits_of(method, x, 0), [p.clone() for p in method.columns[0]]))

    method.after_task = after_task
    method.state = lambda: {}
    trained(stream, method=method)
    for z, column in seen[1:]:
        assert torch.equal(z, seen[0][0])
        assert all(torch.equal(a, b) for a, b in zip(column, seen[0][1], strict=True))


def test_a_column_sees_the_earlier_ones():
    """Without the first column, the second answers otherwise; so the lateral connections are in use."""
    stream = toy.stream("task")
    method, _ = trained(stream)
    x, _, _ = stream.tests[1].take(torch.arange(20))
    z = logits_of(method, x, 1)
    for p in method.columns[0]:
        p.zero_()
    assert not torch.allclose(logits_of(method, x, 1), z)


def test_a_task_without_a_column_gets_its_first_unit():
    stream = toy.stream("task")
    _, counts = trained(stream)
    first = [int((test.y == 2 * j).sum()) for j, test in enumerate(stream.tests)]
    assert counts[0] == first and counts[1][1:] == first[1:] and counts[2][2:] == first[2:]


def test_columns_start_as_declared():
    method, stream = methods.make("pnn", std=0.2, bias=0.7), toy.stream("task")
    theta = toy.begin(method, stream)
    views = list(method.net.views(theta).values())
    assert [tuple(v.shape) for v in views] == [(8, 16), (8,), (2, 8), (2,)]
    assert all(bool((b == 0.7).all()) for b in views[1::2])
    weights = torch.cat([w.flatten() for w in views[::2]])
    assert float(weights.abs().max()) <= 0.4 and 0.1 < float(weights.std()) < 0.2


def test_parameters_of_all_columns_are_counted():
    """In layer 1 the t matrices count as one, and so do the t biases of each layer."""
    stream = toy.stream("task", torch.float32)
    train = replace(toy.TRAIN, net=SPEC)
    per_column = [16 * 8 + 8 + t * 8 * 7 + 7 + t * 7 * 2 + 2 for t in (1, 2, 3)]
    trace = Trace()
    assert start(methods.make("pnn"), [stream], train, (1,), "cpu", trace) == sum(per_column)
    assert trace.memory == {"examples": 0, "bytes": 4 * sum(per_column)}


def shallow(stream, seed):
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6)).double()


@pytest.mark.parametrize("build", [toy.noisy, shallow])
def test_other_networks_are_refused(build):
    with pytest.raises(UserError, match=r"^pnn needs linear layers with biases and ReLU between, got Linear.*mlp"):
        toy.begin(methods.make("pnn"), toy.stream("task"), build=build)

"""XdG: whole runs against gates in the layers themselves; how many gates, whose, and what a gated unit still does."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import methods
from benchmarks.avalanche_plugin import Plugin
from benchmarks.evaluation import evaluate
from benchmarks.run import Run
from methods.base.errors import UserError
from methods.base.rng import generator
from tests.support import slow, toy

TRAIN = replace(toy.TRAIN, net="mlp-9-7", batch=5)
ADAM = replace(TRAIN, optimizer="adam", lr=0.01)


def module(stream, seed=1, spec=TRAIN.net):
    return toy.module(stream, seed, spec)


class Gated(nn.Module):
    """Two hidden layers with gates before their biases."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.gates = inner, None

    def forward(self, x):
        _, first, _, second, _ = self.inner.body
        for layer, gate in zip((first, second), self.gates, strict=True):
            x = (gate * (x.flatten(1) @ layer.weight.T) + layer.bias).clamp(min=0)
        return self.inner.head(x)


def gates_of(seed, task, share):
    """1 or 0 for each unit, drawn layer by layer from the generator of the first unit of the task."""
    draws = generator(seed, "gates", 2 * task)
    gates = []
    for n in (9, 7):
        order = torch.randperm(n, generator=draws).tolist()
        gates.append(torch.tensor([0.0 if rank < int(share * n) else 1.0 for rank in order]).double())
    return gates


@pytest.mark.parametrize("train", [TRAIN, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_whole_run_is_that_of_gated_layers(share, train):
    stream = toy.stream("task", sizes=toy.SMALL)
    gated = Gated(module(stream))
    gated.gates = gates_of(1, 0, share)

    def after_task(task):
        gated.gates = gates_of(1, task.index + 1, share)

    expected = slow.loop(gated, stream, train, 1, after_task=after_task)
    method = toy.make("xdg", gated=share)
    counts, theta = toy.run(method, stream, train=train, build=module)
    torch.testing.assert_close(theta, expected, rtol=1e-10, atol=1e-12)
    assert float((theta - toy.run(toy.make("naive"), stream, train=train, build=module)[1]).abs().max()) > 1e-3
    right = []
    for j, test in enumerate(stream.tests):
        gated.gates = gates_of(1, j, share)
        x, y, mask = test.take(torch.arange(len(test)))
        right.append(int(((gated(x) + mask).argmax(-1) == y).sum()))
    assert counts[-1] == right == evaluate(method, theta, stream, 3)


@pytest.mark.parametrize(("share", "expected"), [(0.0, (0, 0)), (0.34, (3, 2)), (0.8, (7, 5)), (1.0, (9, 7))])
def test_int_of_the_share_of_each_layer_is_gated(share, expected):
    """They are drawn for each task, before training, and a longer stream leaves those before as they are."""
    stream = toy.stream("task")
    method = toy.make("xdg", gated=share)
    toy.run(method, stream, build=module)
    assert len(method.gates) == 3
    for gates in method.gates.values():
        assert tuple(int((~gate).sum()) for gate in gates) == expected
    if 0 < share < 1:
        assert len({tuple(torch.cat(gates).tolist()) for gates in method.gates.values()}) == 3
    shorter = toy.make("xdg", gated=share)
    toy.run(shorter, replace(stream, tasks=stream.tasks[:1], tests=stream.tests[:1]), build=module)
    assert all(torch.equal(*pair) for pair in zip(shorter.gates[0], method.gates[0], strict=True))


def test_what_is_gated_stands_still_and_a_bias_is_trained():
    """Under SGD. The head has no gates."""
    stream = toy.stream("task")
    method = toy.make("xdg", gated=0.5)
    before = toy.begin(method, stream, build=module)
    _, after = toy.run(method, replace(stream, tasks=stream.tasks[:1]), train=TRAIN, build=module)
    old, new = method.net.views(before), method.net.views(after)
    for name, gate in zip(("body.1", "body.3"), method.gates[0], strict=True):
        moved = (old[f"{name}.weight"] != new[f"{name}.weight"]).any(-1)
        assert not bool(moved[~gate].any()) and bool(moved[gate].any())
        assert bool((old[f"{name}.bias"] != new[f"{name}.bias"])[~gate].any())
    assert bool((old["head.weight"] != new["head.weight"])[:2].any())


def test_convolutions_have_no_gates():
    stream = toy.stream("task", sizes=toy.SMALL)
    method = toy.make("xdg", gated=0.5)
    toy.run(method, stream, build=lambda stream, seed=1: module(stream, seed, "cnn-2-8"))
    assert [len(gate) for gate in method.gates[0]] == [8]


def test_refuses():
    stream = toy.stream("task")
    with pytest.raises(UserError, match=r"^XdG gates fully connected hidden layers, and the net has none"):
        toy.run(
            toy.make("xdg"), stream, build=lambda stream, _=1: nn.Sequential(nn.Flatten(), nn.Linear(16, 6)).double()
        )
    for bad in (-0.1, 1.1, "0.5", None, True):
        with pytest.raises(UserError, match=r"^gated must be a number in \[0, 1\], got"):
            methods.make("xdg", gated=bad)
    with pytest.raises(UserError, match=r"^XdG does not run in scenario 'class': it is for task"):
        Plugin(toy.make("xdg"))
    train = {
        name: getattr(toy.TRAIN, name) for name in ("net", "optimizer", "lr", "optimizer_state", "batch", "epochs")
    }
    with pytest.raises(UserError, match=r"^xdg does not run domain-incremental, only: task"):
        Run.of({"name": "splitdigits"}, "domain", {"name": "xdg", "gated": 0.5}, train, 1)

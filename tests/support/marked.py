"""Streams whose pixels tell the examples apart, and what of them a method trained on or keeps."""

import pytest
import torch

from benchmarks.learner import fit
from methods.base.rng import generator
from methods.memory.buffers import BUFFERS
from tests.support import toy

SCENARIOS = pytest.mark.parametrize("scenario", ["task", "domain", "class"])
BUFFER = pytest.mark.parametrize("buffer", BUFFERS)
CURRENT = pytest.mark.parametrize("current", [False, True])


def marked(scenario, sizes=toy.SIZES, active_units="seen"):
    """A stream whose pixels say which example of which task they are: 100 k + n."""
    stream = toy.stream(scenario, sizes=sizes, active_units=active_units)
    for task in stream.tasks:
        (part,) = task.train.parts
        numbers = torch.arange(len(part.rows), dtype=part.source.dtype)
        part.source[part.rows] = (100 * task.index + numbers).view(-1, *[1] * len(toy.SHAPE)).expand(-1, *toy.SHAPE)
    return stream


def numbers(examples):
    """Which examples these are, as integers."""
    return examples.take(torch.arange(len(examples)))[0].flatten(1)[:, 0].long().tolist()


def tasks_done(method, stream, seed=1):
    """Call the hooks of every task without training; yields the task as it was trained on."""
    theta = toy.begin(method, stream, seed)
    for task in stream.tasks:
        yield method.before_task(theta, task)
        method.after_task(theta, task)


def masks(examples):
    """The mask [N, C] of each example."""
    _, y, mask = examples.take(torch.arange(len(examples)))
    return mask.expand(len(y), -1)


def trained(method, stream, n_tasks, train=toy.TRAIN):
    """The method after `n_tasks` tasks; the examples that `loss` saw in each, in order."""
    theta, seen = toy.begin(method, stream), []
    real = method.loss

    def loss(theta, x, y, mask):
        seen[-1] += x.flatten(1)[:, 0].long().tolist()
        return real(theta, x, y, mask)

    method.loss = loss
    optimizer = train.make_optimizer(theta)
    for task in stream.tasks[:n_tasks]:
        seen.append([])
        fit(method, theta, task, optimizer, train, [generator(1, "batches", task.index)])
        method.after_task(theta.clone(), task)
    return theta, seen


def everything(stream):
    """The numbers of all training examples."""
    return [n for task in stream.tasks for n in numbers(task.train)]

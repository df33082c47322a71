"""The teacher on modules as users write them: no copy is made, and the old buffers are there only while it runs."""

import pytest
import torch
from torch import nn

from methods.base.net import Net
from methods.memory.teacher import Teacher
from tests.support import toy


class Keeps(nn.Module):
    """Keeps an activation of its last pass, which carries a gradient and so cannot be copied."""

    def __init__(self, stream):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(16, 8)), nn.Linear(8, stream.n_units)
        self.double()

    def forward(self, x):
        self.kept = self.body(x).relu()
        return self.head(self.kept)


def keeping(stream, seed=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = Keeps(stream)
    module(torch.zeros(2, *toy.SHAPE, dtype=torch.float64))
    return module


def weight_normed(stream, seed=1):
    """With `torch.nn.utils.weight_norm`, whose weight is no leaf."""
    module = toy.module(stream, seed)
    nn.utils.weight_norm(module.body[1])
    module(torch.zeros(2, *toy.SHAPE, dtype=torch.float64))
    return module


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize("build", [keeping, weight_normed])
@pytest.mark.parametrize("name", ["lwf", "icarl"])
def test_modules_that_cannot_be_copied_are_trained(name, build):
    stream = toy.stream("class", sizes=toy.SMALL)
    counts, theta = toy.run(toy.make(name), stream, build=build)
    assert bool(theta.isfinite().all()) and None not in counts[3]


def test_old_batch_statistics_are_there_while_the_teacher_runs_and_no_longer():
    stream = toy.stream("class")
    net = Net(toy.noisy(stream))
    theta, data = net.vector(), stream.tasks[0].train
    x, _, _ = data.take(torch.arange(20))
    expected = net(theta, x)
    teacher = Teacher(net, theta, data)
    net(theta, 3 * x + 1, train=True)
    moved = {name: (buffer, buffer.clone()) for name, buffer in net.module.named_buffers()}
    variable = theta.clone().requires_grad_()
    logits = net(variable, x, train=True)  # a graph that holds the statistics of now
    trained = {name: buffer.clone() for name, buffer in net.module.named_buffers()}
    assert torch.equal(teacher.outputs(x), expected)
    assert not torch.equal(net(theta, x), expected)
    torch.autograd.grad(logits.sum(), variable)
    for name, buffer in net.module.named_buffers():
        assert buffer is moved[name][0] and torch.equal(buffer, trained[name])


def test_buffers_come_back_after_an_error():
    stream = toy.stream("class")
    net = Net(toy.noisy(stream))
    teacher = Teacher(net, net.vector(), stream.tasks[0].train)
    before = dict(net.module.named_buffers())
    with pytest.raises(RuntimeError):
        teacher.outputs(torch.zeros(2, 3))
    assert all(buffer is before[name] for name, buffer in net.module.named_buffers())

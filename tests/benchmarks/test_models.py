"""The reduced ResNet-18: against torchvision's blocks, as a function of one vector, and through whole runs."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from benchmarks import learner, models
from benchmarks.checkpoint import Checkpoint
from benchmarks.trace import Trace
from methods.base.errors import UserError
from methods.base.net import Net
from methods.importance import fisher
from tests.support import toy

SPEC = "resnet18-reduced"
build = partial(toy.module, spec=SPEC)


def torchvisions(ours, n_units):
    """The same net from torchvision's blocks, with the parameters and statistics of ours."""
    net = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=n_units)
    net.conv1, net.bn1, net.maxpool = nn.Conv2d(3, 20, 3, padding=1, bias=False), nn.BatchNorm2d(20), nn.Identity()
    net.inplanes = 20
    for n, width in enumerate((20, 40, 80, 160), start=1):
        setattr(net, f"layer{n}", net._make_layer(BasicBlock, width, 2, stride=1 if n == 1 else 2))
    net.fc = nn.Linear(160, n_units)
    for kind in (nn.Module.parameters, nn.Module.buffers):
        for own, theirs in zip(kind(ours), kind(net), strict=True):
            theirs.data = own.data.clone()
    return net


def test_it_is_the_resnet_of_fewer_maps():
    ours = models.build(SPEC, torch.Size((3, 16, 12)), 100, seed=1).double()
    theirs, x = torchvisions(ours, 100), torch.randn(5, 3, 16, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))  # the statistics of the batch
    for own, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(own, other)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))  # those that were kept
    assert sum(p.numel() for p in ours.parameters()) == 1_109_240


def test_convolutions_drawn_along_one_axis():
    """Those of a window of one pixel, and the head, are drawn as PyTorch draws them."""
    net = models.build(f"{SPEC},one_axis", torch.Size((3, 8, 8)), 10, seed=1)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            limit = (layer.kernel_size[0] * layer.in_channels) ** -0.5
            assert 0.98 * limit < float(layer.weight.detach().abs().max()) <= limit
            assert float(layer.weight.detach().square().mean()) == pytest.approx(limit**2 / 3, rel=0.1)
    again = models.build(f"{SPEC},one_axis", torch.Size((3, 8, 8)), 10, seed=1)
    assert all(map(torch.equal, net.parameters(), again.parameters()))


@pytest.mark.parametrize("spec", [f"{SPEC}-20", "resnet18", "resnet18-20", f"{SPEC},xaver"])
def test_names_that_are_no_net(spec):
    with pytest.raises(UserError, match=r"unknown net .*, or resnet18-reduced|unknown initialisation"):
        models.parse(spec)


@pytest.mark.parametrize("init", ["xavier", "truncated"])
def test_initialisations_of_layers_without_bias(init):
    models.build(f"{SPEC},{init}", torch.Size((3, 8, 8)), 10, seed=1)


def test_it_needs_images():
    with pytest.raises(UserError, match=f"{SPEC} needs images"):
        models.build(SPEC, torch.Size((5,)), 10, seed=1)


def test_gradient_of_the_vector_is_the_modules():
    module = models.build(SPEC, torch.Size((1, 4, 4)), 4, seed=1).double()
    net, x, y = Net(module), torch.randn(6, 1, 4, 4).double(), torch.arange(6) % 4
    theta = net.vector().requires_grad_()
    (ours,) = torch.autograd.grad(F.cross_entropy(net(theta, x, train=True), y), theta)
    F.cross_entropy(module(x), y).backward()
    torch.testing.assert_close(ours, torch.cat([p.grad.flatten() for p in module.parameters()]))


def test_exact_fisher_is_the_sum_over_examples_and_classes():
    """In evaluation mode, at statistics that a pass in training has moved."""
    module = models.build(SPEC, torch.Size((1, 4, 4)), 3, seed=1).double()
    net, x = Net(module), torch.randn(3, 1, 4, 4).double()
    theta = net.vector()
    net(theta, x, train=True)
    expected = torch.zeros_like(theta)
    for one in x:
        for c in range(3):
            variable = theta.clone().requires_grad_()
            log_p = net(variable, one[None])[0].log_softmax(-1)[c]
            expected += log_p.exp().detach() * torch.autograd.grad(log_p, variable)[0].square() / len(x)
    torch.testing.assert_close(fisher.diagonal(net, theta, (x, None)), expected)


def test_a_run_that_goes_on_is_the_same_to_the_bit(tmp_path):
    """RWalk squares the gradients of single examples, in a pass of its own in evaluation mode."""
    stream = toy.stream("task", torch.float32, toy.SMALL)
    train = replace(toy.TRAIN, epochs=1)

    def run(n_tasks, file):
        net, checkpoint = Net(build(stream)), Checkpoint(tmp_path / file, {"seed": 1})
        shorter = replace(stream, tasks=stream.tasks[:n_tasks])
        found = learner.learn(toy.make("rwalk"), net, net.vector(), shorter, train, (1,), Trace(), checkpoint)
        return found, list(net.module.buffers())

    (counts, theta), buffers = run(3, "whole")
    run(2, "stopped")
    (again_counts, again), kept = run(3, "stopped")
    assert again_counts == counts and torch.equal(again, theta)
    assert all(map(torch.equal, kept, buffers)) and int(buffers[2]) > 0


def test_replicas_are_not_stacked():
    stream = toy.stream("task", torch.float32, toy.SMALL)
    with pytest.raises(UserError, match=f"replicas of {SPEC} would share batch statistics"):
        learner.start(toy.make("naive"), [stream], replace(toy.TRAIN, net=SPEC), (1, 2), "cpu", Trace())

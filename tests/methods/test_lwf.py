"""LwF: the distillation in closed form, its old heads, and what the teacher is."""

import math
import re
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

import methods
from benchmarks.learner import fit
from methods.base.errors import UserError
from methods.base.examples import Examples, Part, Task, mask_of
from methods.base.net import Net
from methods.base.rng import generator
from methods.memory.distillation import distillation
from tests.support import toy

SCENARIOS = pytest.mark.parametrize("scenario", ["task", "domain", "class"])


def logits(seed=0):
    draws = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, 11, 4, dtype=torch.float64, generator=draws)


@pytest.mark.parametrize("T", [0.5, 1.0, 2.0, 7.0])
def test_lwf_gradient_is_the_difference_of_the_softened_outputs(T):
    """d KD / d z = (softmax(z / T) - softmax(v / T)) / (N T): no factor T^2; 0 where the two agree."""
    z, v = logits()
    z.requires_grad_()
    (found,) = torch.autograd.grad(distillation(z, v, T), z)
    torch.testing.assert_close(found, ((z / T).softmax(-1) - (v / T).softmax(-1)) / (11 * T), rtol=1e-11, atol=1e-15)
    (still,) = torch.autograd.grad(distillation(z, z.detach(), T), z)
    assert float(still.abs().max()) < 1e-16


def test_lwf_distillation_is_the_papers_cross_entropy_of_powers():
    """y' is y^(1/T) made a distribution again, of y = softmax(v) and of y^ = softmax(z)."""
    z, v = logits()
    target, output = ((each.softmax(-1) ** (1 / 2.0)) for each in (v, z))
    target, output = (each / each.sum(-1, keepdim=True) for each in (target, output))
    expected = -(target * output.log()).sum(-1).mean()
    torch.testing.assert_close(distillation(z, v, 2.0), expected, rtol=1e-12, atol=0)
    shifted = v + torch.linspace(-5, 5, 11).double()[:, None]
    torch.testing.assert_close(distillation(z, shifted, 2.0), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("scenario", "active_units", "weighting", "heads"),
    [
        *(
            case
            for weighting in ("sum", "vdv", "vdv2022")
            for case in (
                ("task", "seen", weighting, [[[]], [[0, 1]], [[0, 1], [2, 3]]]),
                ("domain", "seen", weighting, [[[]], [[0, 1]], [[0, 1]]]),
                ("class", "seen", weighting, [[[]], [[0, 1]], [[0, 1, 2, 3]]]),
                ("class", "current", weighting, [[[]], [[0, 1]], [[0, 1], [2, 3]]]),
            )
        ),
        ("class", "all", "sum", [[[]], [[0, 1]], [[0, 1, 2, 3]]]),
        ("class", "all", "vdv", [[[]], [list(range(6))], [list(range(6))]]),
        ("class", "all", "vdv2022", [[[]], [list(range(6))], [list(range(6))]]),
    ],
)
def test_lwf_distils_the_heads_of_earlier_tasks(scenario, active_units, weighting, heads):
    """van de Ven's is that of all units which were trained, those of classes to come among them."""
    stream = toy.stream(scenario, active_units=active_units)
    method = toy.make("lwf", weighting=weighting)
    theta = toy.begin(method, stream)
    for task, expected in zip(stream.tasks, heads, strict=True):
        assert [head.tolist() for head in method.heads] == [head for head in expected if head]
        method.before_task(theta, task)
        assert (method.teacher is None) == (task.index == 0)
        method.after_task(theta, task)


def second_task(scenario, build=toy.module, **options):
    """LwF in the second task, its teacher at the parameters after the first; theta, the stream, the old module."""
    stream = toy.stream(scenario)
    method = toy.make("lwf", **options)
    theta = toy.begin(method, stream, build=build)
    draws = [torch.Generator().manual_seed(0)]
    fit(method, theta, stream.tasks[0], toy.TRAIN.make_optimizer(theta), toy.TRAIN, draws)
    method.after_task(theta, stream.tasks[0])
    old = deepcopy(method.net.module)
    nn.utils.vector_to_parameters(theta.clone(), old.parameters())
    method.before_task(theta, stream.tasks[1])
    return method, theta, stream, old.eval()


def gradient(method, theta, task):
    variable = theta.clone().requires_grad_()
    batch = task.train.take(torch.arange(20))
    return torch.autograd.grad(method.loss(variable, *batch), variable)[0]


@SCENARIOS
def test_lwf_first_step_of_a_task_is_fine_tunings(scenario):
    method, theta, stream, _ = second_task(scenario, lam=5.0)
    naive = toy.make("naive")
    toy.begin(naive, stream)
    expected = gradient(naive, theta, stream.tasks[1])
    torch.testing.assert_close(gradient(method, theta, stream.tasks[1]), expected, rtol=1e-12, atol=1e-15)
    later = theta + 0.1 * torch.randn(theta.shape, dtype=theta.dtype, generator=torch.Generator().manual_seed(0))
    plain = gradient(naive, later, stream.tasks[1])
    assert (gradient(method, later, stream.tasks[1]) - plain).norm() > 0.01 * plain.norm()


@SCENARIOS
@pytest.mark.parametrize(("lam", "T"), [(1.0, 2.0), (0.3, 5.0)])
def test_lwf_teacher_is_the_network_before_the_task_in_evaluation_mode(scenario, lam, T):
    """Parameters and batch statistics stay those of the task's beginning while both move on; no dropout in it."""
    method, theta, stream, old = second_task(scenario, toy.noisy, lam=lam, T=T)
    task = stream.tasks[1]
    draws = [torch.Generator().manual_seed(0)]
    fit_on = deepcopy(method)
    fit_on.before_task = lambda theta, task: task
    statistics = fit_on.net.module[2].running_mean.clone()
    fit(fit_on, theta, task, toy.TRAIN.make_optimizer(theta), toy.TRAIN, draws)
    assert not torch.equal(fit_on.net.module[2].running_mean, statistics)
    x, y, mask = task.train.take(torch.arange(20))
    torch.manual_seed(3)
    student = fit_on.net(theta, x, train=True)
    with torch.no_grad():
        teacher = old(x)
    units = [0, 1]
    kd = -((teacher[:, units] / T).softmax(-1) * (student[:, units] / T).log_softmax(-1)).sum(-1).mean()
    expected = nn.functional.cross_entropy(student + mask, y) + lam * kd
    torch.manual_seed(3)
    torch.testing.assert_close(fit_on.loss(theta, x, y, mask), expected, rtol=1e-12, atol=0)


def test_lwf_sums_over_heads():
    """In the third task of task-IL, two terms of equal weight."""
    stream = toy.stream("task")
    method = toy.make("lwf")
    thetas = toy.after_tasks(method, stream, 2)
    method.before_task(thetas[-1], stream.tasks[2])
    here = thetas[0]
    x, y, mask = stream.tasks[2].train.take(torch.arange(20))
    z, v = method.net(here, x), method.net(thetas[-1], x)
    expected = nn.functional.cross_entropy(z + mask, y) + sum(
        distillation(z[:, units], v[:, units], 2.0) for units in ([0, 1], [2, 3])
    )
    torch.testing.assert_close(method.loss(here, x, y, mask), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("scenario", "active_units", "heads", "span"),
    [
        ("task", "seen", [[0, 1], [2, 3]], None),
        ("domain", "seen", [[0, 1]], [0, 1]),
        ("class", "seen", [[0, 1, 2, 3]], [0, 1, 2, 3, 4, 5]),
        ("class", "current", [[0, 1], [2, 3]], None),
    ],
)
@pytest.mark.parametrize("preset", ["vdv", "vdv2018", "vdv2022"])
def test_lwf_vdv_in_the_third_task(preset, scenario, active_units, heads, span):
    """1/3 of the task, 2/3 T^2 of the mean over heads; shared heads: z over all units, of which v gives the new 0.

    2018: each KD divided by its number of units. 2022: all of the task, twice the mean over heads; in class-IL once.
    """
    stream = toy.stream(scenario, active_units=active_units)
    method = toy.make("lwf", preset=preset, lam=0.7, T=3.0)
    thetas = toy.after_tasks(method, stream, 2)
    method.before_task(thetas[-1], stream.tasks[2])
    here = thetas[0]
    x, y, mask = stream.tasks[2].train.take(torch.arange(20))
    z, v = method.net(here, x), method.net(thetas[-1], x)
    KD = []
    for head in heads:
        units = span or head
        target = torch.zeros_like(z)
        target[:, head] = (v[:, head] / 3.0).softmax(-1)
        terms = -(target[:, units] * (z[:, units] / 3.0).log_softmax(-1))
        KD.append(terms.sum() / (20 * (len(units) if preset == "vdv2018" else 1)))
    new, old = (1, 1 if scenario == "class" else 2) if preset == "vdv2022" else (1 / 3, 2 / 3 * 9)
    expected = new * nn.functional.cross_entropy(z + mask, y) + old * 0.7 * sum(KD) / len(KD)
    torch.testing.assert_close(method.loss(here, x, y, mask), expected, rtol=1e-12, atol=0)


@SCENARIOS
def test_lwf_targets_are_recorded_and_are_those_computed(scenario):
    """Whatever the batch and however far training has come, with dropout and batch statistics."""
    method, theta, stream, old = second_task(scenario, toy.noisy)
    data = stream.tasks[1].train
    x, _, _ = data.take(torch.arange(len(data)))
    method.before_task = lambda theta, task: task
    fit(method, theta, stream.tasks[1], toy.TRAIN.make_optimizer(theta), toy.TRAIN, [torch.Generator().manual_seed(0)])
    teacher = method.teacher
    with torch.no_grad():
        torch.testing.assert_close(teacher.recorded, old(x), rtol=1e-12, atol=1e-14)
    assert (method.net(theta, x) - teacher.recorded).norm() > 0.1
    for rows in torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).split(7):
        teacher.expect(rows)
        assert torch.equal(teacher.outputs(torch.full_like(x[rows], torch.nan)), teacher.recorded[rows])
        torch.testing.assert_close(teacher.outputs(x[rows]), teacher.recorded[rows], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["lwf", "icarl"])
def test_a_run_that_records_is_a_run_that_computes(name):
    """To rounding, as in an Avalanche strategy, where nobody says which examples a batch holds."""
    stream = toy.stream("class", sizes=toy.SMALL)
    computing = toy.make(name)
    computing.before_batch = lambda index: None
    _, expected = toy.run(computing, stream)
    _, theta = toy.run(toy.make(name), stream)
    torch.testing.assert_close(theta, expected, rtol=1e-11, atol=1e-13)


def test_lwf_records_each_replicas_outputs():
    """Two networks, each with batches of its own."""
    stream = toy.stream("class", sizes=toy.SMALL)
    method = toy.make("lwf")
    toy.run(method, replace(stream, tasks=stream.tasks[:1]), (1, 2))
    theta = torch.stack([method.net.vector(), -method.net.vector()])
    method.before_task(theta, stream.tasks[1])
    index = torch.tensor([[0, 3], [5, 1]])
    x, _, _ = stream.tasks[1].train.take(index)
    computed = method.teacher.outputs(x)
    method.before_batch(index)
    torch.testing.assert_close(method.teacher.outputs(x), computed, rtol=1e-12, atol=1e-14)


def test_lwf_keeps_no_second_network_between_tasks_nor_where_it_is_off():
    stream = toy.stream("class")
    for lam in (0.0, 1.0):
        method = toy.make("lwf", lam=lam)
        theta = toy.after_tasks(method, stream, 2)[-1]
        assert method.teacher is None
        method.before_task(theta, stream.tasks[2])
        assert (method.teacher is None) == (lam == 0)


def test_lwf_teacher_is_no_view():
    method, theta, _, _ = second_task("class")
    kept = method.teacher.theta.clone()
    theta.zero_()
    assert torch.equal(method.teacher.theta, kept)


def test_lwf_refuses():
    for bad in (0, -1.0, math.nan, math.inf, "1", None, True):
        with pytest.raises(UserError, match=r"^T must be a finite number > 0") as error:
            toy.make("lwf", T=bad)
        assert repr(bad) in str(error.value)
    for bad in ("mean", None, 0):
        with pytest.raises(UserError, match=rf"^unknown weighting {re.escape(repr(bad))}"):
            toy.make("lwf", weighting=bad)
    with pytest.raises(UserError, match="unit_mean must be true or false, got 1"):
        toy.make("lwf", unit_mean=1)


def test_units_that_return_are_one_head():
    """Three visits to a head and one: the loss is the same. It counted each visit."""
    net = Net(nn.Linear(4, 4).double())
    theta, losses, draws = net.vector(), [], torch.Generator().manual_seed(1)
    x = torch.randn(8, 4, generator=draws, dtype=torch.float64)

    def task(k, units):
        part = Part(x, torch.arange(8), torch.tensor(units).repeat(4), mask_of(units, 4))
        return Task("task", k, tuple(units), Examples((part,)), own_units=True)

    for visits in ([[0, 1]], [[0, 1]] * 3, [[0, 1], [2, 3], [0, 1]]):
        method = methods.make("lwf")
        method.begin(net, theta, lambda role, k, replica=0: generator(1, role, k))
        for k, units in enumerate([*visits, [2, 3]]):
            method.before_task(theta, last := task(k, units))
            losses.append(method.loss(theta + 0.1, *last.train.take(torch.arange(8))))
            method.after_task(theta, last)
        assert [head.tolist() for head in method.heads] == [[0, 1], [2, 3]]
    assert losses[1] == losses[5]

"""The audit's definitions against the suite's methods, and a problem on which they can be told apart."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_allclose
from torch.testing import assert_close

from benchmarks.audit.base import problem as problems
from benchmarks.audit.base.definitions import DEFINITIONS, diagonals, path, steps_against
from benchmarks.audit.base.problem import Rooted, flat, gradient, gradient_of, set_gradient, value_and_gradient
from benchmarks.audit.base.quantities import LAM, QUANTITIES
from methods.base.net import Net
from methods.base.quadratic import Quadratic
from methods.importance.fisher import as_examples, diagonal
from methods.importance.path_scores import PaperScores
from methods.memory.distillation import distillation
from tests.support import toy


@pytest.fixture(scope="module")
def problem():
    return problems.make()


def of(problem, quantity, reading=""):
    return torch.as_tensor(DEFINITIONS[quantity](problem)[reading])


def test_every_quantity_has_a_definition_of_enough_finite_components(problem):
    assert DEFINITIONS.keys() == QUANTITIES.keys()
    for quantity in ("replay", "vae_deviation", "average_accuracy", "forgetting", "agem"):
        for value in DEFINITIONS[quantity](problem).values():
            assert np.count_nonzero(value) > 2 and np.isfinite(value).all()


def test_the_problem_is_the_same_each_time_and_comes_back_from_its_files(problem, tmp_path):
    problems.save(problems.make(), tmp_path)
    read = problems.read(tmp_path)
    assert read.numbers == {**problem.numbers, "matrices": {k: list(v) for k, v in problem.numbers["matrices"].items()}}
    assert read.arrays.keys() == problem.arrays.keys()
    for name, value in read.arrays.items():
        np.testing.assert_array_equal(value, problem.arrays[name])


def test_the_third_task_opposes_both_memories_and_the_second_batch_neither(problem):
    memories = [gradient(problem.module(), *problem.task(k)) for k in range(2)]
    opposed, agreeing = steps_against(problem)
    assert all(opposed @ g < 0 < agreeing @ g for g in memories)


@pytest.mark.parametrize("kind", ["exact", "empirical"])
def test_fisher(problem, kind):
    for name in ("plain", "shared", "tokens"):
        case = problem.net(name)
        net = Net(case.module)
        assert_close(diagonals(case)[kind], diagonal(net, net.vector(), (case.x, case.y), kind), rtol=1e-9, atol=1e-12)


def test_masked_units_have_no_part_in_the_softmax(problem):
    two, masked = problem.net("plain"), problem.net("masked")
    x, y = two.x, two.y % 2
    total = 0
    for x_n, y_n in zip(x, y, strict=True):
        loss = -two.module(x_n[None])[0, :2].log_softmax(0)[y_n]
        total = total + flat(torch.autograd.grad(loss, list(two.module.parameters()))) ** 2
    assert_close(diagonals(masked)["empirical"], total / len(x), rtol=1e-9, atol=1e-12)


def test_class_weights_and_ignored_labels(problem):
    case, plain = problem.net("weighted"), problem.net("plain")
    total = 0
    for x, y in zip(case.x, case.y, strict=True):
        loss = case.loss("sum")(case.module(x[None]), y[None])
        total = total + flat(torch.autograd.grad(loss, list(case.module.parameters()))) ** 2
    assert_close(diagonals(case)["empirical"], total / 64, rtol=1e-9, atol=1e-12)
    ignored = problem.net("ignored")
    kept = ignored.y >= 0
    assert ignored.counted == kept.sum() == 40
    some = problems.Case(plain.module, plain.x[kept], plain.y[kept], None, -100)
    assert_close(diagonals(ignored), diagonals(some), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("quantity", "tasks"), [("ewc_2", 1), ("ewc_3", 2)])
def test_ewc(problem, quantity, tasks):
    quadratic = Quadratic(LAM)
    for k in range(tasks):
        quadratic.add(problem[f"fisher_{k}"], problem[f"anchor_{k}"])
    found = of(problem, quantity)
    assert_close(found[1:], quadratic.add_gradient(problem["theta"], torch.zeros(59).double()), rtol=1e-10, atol=1e-12)
    if tasks == 1:
        assert_close(found[0], quadratic.value(problem["theta"]))


def test_online_ewc(problem):
    method = toy.make("online_ewc", lam=LAM, gamma=problem["gamma"])
    method.begin(Net(problem.module()), problem["theta"], None)
    for k in range(2):  # as its hook, with these Fishers
        method.F = method.gamma * method.F + problem[f"fisher_{k}"]
    method.quadratic.set(method.gamma * method.F, problem["anchor_1"])
    found = of(problem, "online_ewc")
    assert_close(found[0], method.penalty(problem["theta"]))
    assert_close(found[1:], method.add_penalty_grad(problem["theta"], torch.zeros(59).double()))


def test_si(problem):
    method, steps = toy.make("si", xi=problem["xi"]), path(problem)
    method.begin(Net(problem.module()), problem["theta"], None)
    for (old, g), (new, _) in pairwise(steps):
        method.after_step(old, new, g)
    assert_close(of(problem, "si_path"), method.w)
    method.after_task(steps[-1][0], None)
    assert_close(of(problem, "si_importance"), method.omega)


def test_steps_by_preset(problem):
    """The task's gradient and lam F (theta - star), with what the libraries have for F and star."""
    theta, star, end = problem["theta"], problem["anchor_0"], path(problem)[-1][0]
    task = gradient(problem.module(), *problem.task(1))
    F = gradient(problem.module(star), *problem.task(0)) ** 2  # of one batch
    assert_close(of(problem, "ewc_step", "preset clarena"), task + LAM * F * (theta - star))
    assert_close(of(problem, "ewc_step", "preset avalanche"), task + 2 * LAM * F * (theta - star))
    omega = of(problem, "si_importance").clamp(min=0)
    assert_close(of(problem, "si_step", "preset capymoa"), task + LAM * omega * (theta - end))


def test_mas(problem):
    method = toy.make("mas")
    net, theta = Net(problem.module()), problem["theta"]
    examples = problem.net("plain")
    method.begin(net, theta, None)
    found = method._importance(theta, as_examples((examples.x, examples.y), "exact", theta.device), None)
    assert_close(of(problem, "mas"), found, rtol=1e-9, atol=1e-12)


def test_rwalk(problem):
    steps, (x, y) = path(problem), problem.task(0)
    readings = {
        name: PaperScores(problem["theta"], problem["alpha"], problem["interval"], problem["eps"])
        for name in ("per example", "of batch means")
    }
    for (old, g), (new, _) in pairwise(steps):
        each = [gradient(problem.module(old), x[n : n + 1], y[n : n + 1]) ** 2 for n in range(64)]
        for name, scores in readings.items():
            squares = g**2 if name == "of batch means" else sum(each) / 64
            scores.F.add(lambda total, squares=squares: total.add_(squares))
            scores.w -= g * (new - old)
            scores.after_step(new)
    F, s = (DEFINITIONS[quantity](problem) for quantity in ("rwalk_fisher", "rwalk_score"))
    for name, scores in readings.items():
        assert_close(F[name], scores.F.value)
        assert_close(s[name], scores.s)


def test_lwf(problem):
    module, (x, _) = problem.module(), problem.task(1)
    v = problem.module(problem["anchor_0"])(x).detach()
    KD = LAM * distillation(module(x), v, problem["T"])
    assert_close(of(problem, "lwf"), flat(torch.autograd.grad(KD, list(module.parameters()))), rtol=1e-10, atol=1e-12)


def test_gem_and_agem_move_what_opposes_and_leave_what_agrees(problem):
    opposed, agreeing = steps_against(problem)
    for quantity, reading, memories in (("gem", "eps = 0", 2), ("agem", "", 1)):
        moved, left = of(problem, quantity, reading).split(59)
        G = torch.stack([gradient(problem.module(), *problem.task(k)) for k in range(memories)])
        assert torch.equal(left, agreeing) and (G @ moved).min() > -1e-12 and not torch.equal(moved, opposed)


def test_the_hand_worked_matrices_are_those_of_the_measures(problem):
    expected = {
        ("average_accuracy", ""): [0.6, 2.5 / 3, 0.6, 1.6 / 3, 0.75],
        ("micro_accuracy", ""): [0.6, 2.5 / 3, 84 / 130, 1.6 / 3, 0.75],
        ("bwt", "over T - 1"): [-0.4, 0.2, -0.25, -0.2, -0.2],
        ("fwt", ""): [0.15, 0.2, 0.2, 0.55, 0.2],
        ("forgetting", "all earlier rows"): [0.4, -0.15, 0.25, 0.4, 0.2],
        ("incremental_accuracy", "mean of tasks"): [2.2 / 3, 6.4 / 9, 2.05 / 3, (0.7 + 0.7 + 1.6 / 3) / 3, 0.825],
    }
    for (quantity, reading), values in expected.items():
        assert_allclose(DEFINITIONS[quantity](problem)[reading], values, rtol=1e-12, err_msg=quantity)


def test_what_hands_importances_and_gradients_to_libraries(problem):
    module, wanted = problem.module(), problem["fisher_0"]
    slope = flat(torch.autograd.grad(Rooted(module, wanted)(None, None), list(module.parameters())))
    assert_close(slope**2, wanted)
    set_gradient(module, wanted)
    assert torch.equal(gradient_of(module), wanted)
    loss = F.cross_entropy(module(problem.task(0)[0]), problem.task(0)[1])
    assert_close(value_and_gradient(loss, module)[1:], gradient(module, *problem.task(0)))
    assert not value_and_gradient(torch.tensor(3.0), module)[1:].any()

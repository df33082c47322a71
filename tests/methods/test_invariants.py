"""What holds across methods: at a task's first step, for any number of examples in a pass, under a net's symmetries."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.learner import fit
from methods.base.examples import Examples, Part, mask_of
from methods.base.net import Net
from methods.base.quadratic import Quadratic
from methods.base.rng import generator
from methods.importance import curvature, fisher, persample
from tests.support import toy

ONE_ANCHOR = ("l2", "online_ewc", "ewcpp", "mas", "si", "rwalk", "scp", "lwf")
SEVERAL_ANCHORS = (("ewc", {}), ("l2", {"per_task": True}))
SCENARIOS = pytest.mark.parametrize("scenario", ["task", "domain", "class"])
ORDER = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])  # of the hidden units
SCALE = torch.linspace(0.4, 3, 8, dtype=torch.float64)  # of the hidden units


def draws(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def after(n_tasks, scenario, name, build=toy.module, **options):
    """The method after training on so many tasks, theta, and the task that follows."""
    stream = toy.stream(scenario)
    method = toy.make(name, **options)
    theta = toy.begin(method, stream, build=build)
    for task in stream.tasks[:n_tasks]:
        train(method, theta, task, toy.TRAIN)
        method.after_task(theta.clone(), task)
    return method, theta, stream.tasks[n_tasks]


def train(method, theta, task, plan):
    fit(method, theta, task, plan.make_optimizer(theta), plan, [generator(1, "batches", task.index)])


def ways(method, theta, task, steps):
    """What so many steps of SGD on a task add to theta: the method's and fine-tuning's."""
    naive = toy.make("naive")
    naive.begin(method.net, theta, method.rng)
    moved = []
    for each in (method, naive):
        moved.append(theta.clone())
        train(deepcopy(each), moved[-1], task, replace(toy.TRAIN, epochs=None, steps=steps))
    return moved[0] - theta, moved[1] - theta


@SCENARIOS
@pytest.mark.parametrize("n_tasks", [1, 2])
@pytest.mark.parametrize("name", ONE_ANCHOR)
def test_first_update_of_a_later_task_is_fine_tunings_and_the_second_is_not(name, n_tasks, scenario):
    """To the bit; where teacher and student agree, to rounding."""
    method, theta, task = after(n_tasks, scenario, name)
    tolerance = {"rtol": 1e-12, "atol": 1e-15} if name == "lwf" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(*ways(method, theta, task, 1), **tolerance)
    ours, plain = ways(method, theta, task, 2)
    assert (ours - plain).norm() > 1e-6 * plain.norm()


@SCENARIOS
@pytest.mark.parametrize(("name", "options"), SEVERAL_ANCHORS)
def test_several_anchors_pull_from_the_first_step_of_the_third_task(name, options, scenario):
    second, third = (ways(*after(n_tasks, scenario, name, **options), 1) for n_tasks in (1, 2))
    assert torch.equal(*second)
    assert (third[0] - third[1]).norm() > 1e-3 * third[1].norm()


@pytest.mark.parametrize("build", [toy.module, toy.noisy])
@pytest.mark.parametrize("name", ["ewc", "online_ewc", "mas", "scp"])
def test_importance_does_not_depend_on_how_many_examples_are_taken_at_once(name, build, monkeypatch):
    """52 examples in passes of seven."""

    def importance():
        stream, method = toy.stream("class"), toy.make(name)
        method.after_task(toy.begin(method, stream, build=build), stream.tasks[0])
        return method.quadratic.A

    expected = importance()
    monkeypatch.setattr(persample, "PASS", 7)
    torch.testing.assert_close(importance(), expected, rtol=1e-11, atol=1e-15)


class Logistic(nn.Module):
    """Logits 0 and w . x + b."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1).double()

    def forward(self, x):
        z = self.layer(x)
        return torch.cat([torch.zeros_like(z), z], -1)


@pytest.mark.parametrize("label", [0, 1])
def test_exact_fisher_of_logistic_regression_is_the_hessians_diagonal_and_mean_p_1_minus_p_x_squared(label):
    """Whatever the labels."""
    x, net, theta = draws(20, 4), Net(Logistic()), draws(5, seed=1)
    data = Examples((Part(x, torch.arange(20), torch.full((20,), label), mask_of([0, 1], 2)),))
    inputs = torch.cat([x, torch.ones(20, 1)], 1)

    def loss(theta):
        return F.binary_cross_entropy_with_logits(inputs @ theta, torch.full((20,), float(label)).double())

    p = (inputs @ theta).sigmoid()
    found = fisher.diagonal(net, theta, data)
    torch.testing.assert_close(found, torch.autograd.functional.hessian(loss, theta).diagonal(), rtol=1e-12, atol=0)
    torch.testing.assert_close(found, (p * (1 - p)) @ inputs.square() / 20, rtol=1e-12, atol=0)


def regressions(mixing):
    """(X, y) of two tasks, y = X w_k + noise of variance 1, with 30 and 50 examples; X_1 is orthogonal times mixing."""
    orthogonal, _ = torch.linalg.qr(draws(30, 4))
    first, second = orthogonal @ mixing, draws(50, 4, seed=1) @ mixing
    return [(X, X @ draws(4, seed=2 + k) + draws(len(X), seed=4 + k)) for k, X in enumerate((first, second))]


def least_squares(X, y):
    return torch.linalg.lstsq(X, y[:, None]).solution.flatten()


def linear():
    """w [4] -> X w, with Gaussian noise of variance 1."""
    return Net(nn.Linear(4, 1, bias=False).double())


def one_after_the_other(first, second, lam):
    """argmin of the second task's mean loss and lam/2 sum_i F_i (w - w_1)_i^2, F the first's Fisher diagonal."""
    (X, y), (X_2, y_2) = first, second
    quadratic, w_1 = Quadratic(lam), least_squares(X, y)
    quadratic.set(fisher.diagonal(linear(), w_1, (X, None), likelihood="gaussian"), w_1)

    def gradient(w):
        return quadratic.add_gradient(w, X_2.T @ (X_2 @ w - y_2) / len(X_2)).clone()

    constant = gradient(torch.zeros(4).double())
    hessian = torch.stack([gradient(e) - constant for e in torch.eye(4).double()], 1)
    return torch.linalg.solve(hessian, -constant)


def all_together(*tasks):
    return least_squares(*(torch.cat(each) for each in zip(*tasks, strict=True)))


def test_two_gaussian_tasks_with_the_bayesian_strength_are_the_joint_optimum():
    """lam = N_1 / N_2, uncorrelated features: exact. Another strength is another point."""
    tasks = regressions(torch.diag(torch.tensor([1.0, 2.0, 5.0, 9.0]).double()))
    joint = all_together(*tasks)
    torch.testing.assert_close(one_after_the_other(*tasks, 30 / 50), joint, rtol=1e-11, atol=0)
    for lam in (15 / 50, 1.0, 50 / 30):
        assert (one_after_the_other(*tasks, lam) - joint).norm() > 1e-3 * joint.norm()


def test_correlated_features_need_the_full_fisher():
    """The diagonal misses the joint optimum, the matrix hits it: lam F (w - w_1) + X_2^T (X_2 w - y_2) / N_2 = 0."""
    (X, y), (X_2, y_2) = tasks = regressions(draws(4, 4, seed=6))
    joint, lam, w_1 = all_together(*tasks), 30 / 50, least_squares(X, y)
    assert (one_after_the_other(*tasks, lam) - joint).norm() > 0.03 * joint.norm()
    fisher_matrix = curvature.full(linear(), w_1, (X, None), likelihood="gaussian")
    found = torch.linalg.solve(lam * fisher_matrix + X_2.T @ X_2 / 50, lam * fisher_matrix @ w_1 + X_2.T @ y_2 / 50)
    torch.testing.assert_close(found, joint, rtol=1e-11, atol=0)


def reordered(net, vector):
    """A vector [P] of the net with one hidden layer, its hidden units in another order."""
    axes = {"body.1.weight": 0, "body.1.bias": 0, "head.weight": 1}
    views = net.views(vector).items()
    return torch.cat([(v.index_select(axes[name], ORDER) if name in axes else v).flatten() for name, v in views])


def rescaled(net, vector, power):
    """The same with what comes into hidden unit h times SCALE_h^power, and what leaves it divided by that."""
    views = net.views(vector.clone())
    views["body.1.weight"].mul_(SCALE[:, None] ** power)
    views["body.1.bias"].mul_(SCALE**power)
    views["head.weight"].div_(SCALE**power)
    return torch.cat([view.flatten() for view in views.values()])


def changed(change, *arguments):
    """Builds the toy net at changed parameters."""

    def build(stream, seed=1):
        module = toy.module(stream, seed)
        net = Net(module)
        nn.utils.vector_to_parameters(change(net, net.vector(), *arguments), module.parameters())
        return module

    return build


@SCENARIOS
@pytest.mark.parametrize("name", [name for name in ("ewc", *ONE_ANCHOR) if name != "lwf"])
def test_hidden_units_in_another_order_have_their_importances_in_that_order(name, scenario):
    """Trained on two tasks from the same start in another order."""
    method, theta, _ = after(2, scenario, name)
    other, other_theta, _ = after(2, scenario, name, build=changed(reordered))
    A = method.quadratic.A
    torch.testing.assert_close(other_theta, reordered(method.net, theta), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(other.quadratic.A, reordered(method.net, A), rtol=1e-8, atol=1e-14)
    assert name == "l2" or not torch.equal(other.quadratic.A, A)


@pytest.mark.parametrize(
    ("name", "options", "power"),
    [
        *[("ewc", {"fisher": estimator}, 2) for estimator in fisher.ESTIMATORS],
        ("online_ewc", {}, 2),
        ("scp", {}, 2),
        ("mas", {}, 1),
        ("mas", {"per_sample": False}, 1),
    ],
)
def test_scaling_a_relu_rescales_importances(name, options, power):
    """W_1 s and W_2 / s are the same function; d f / d W_1 is 1/s of what it was, d f / d W_2 s times it.

    So squared gradients are 1/s^2 and s^2 of what they were, absolute values 1/s and s.
    """
    stream, found = toy.stream("class"), []
    for build in (toy.module, changed(rescaled, 1)):
        method = toy.make(name, **options)
        theta = toy.begin(method, stream, build=build)
        method.after_task(theta, stream.tasks[0])
        found.append((method.net(theta, stream.tasks[1].train.parts[0].source), method.quadratic.A))
    (logits, A), (same_logits, other_A) = found
    torch.testing.assert_close(same_logits, logits, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(other_A, rescaled(method.net, A, -power), rtol=1e-10, atol=1e-16)

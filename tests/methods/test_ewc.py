"""Offline EWC with a strength for each task: the sum of the quadratics, term by term, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch

import methods
from benchmarks.run import Run
from methods.base.errors import UserError
from methods.base.method import Method
from methods.base.net import Net
from methods.importance import fisher
from methods.importance.likelihoods import Gaussian
from tests.support import slow_penalties, toy

LAM = [0.7, 3.0]
ADAM = replace(toy.TRAIN, optimizer="adam", lr=0.03, batch=5)
STREAM = {"name": "splitdigits", "tasks": 5}
TRAIN = {"net": "mlp-8", "optimizer": "sgd", "lr": 0.1, "optimizer_state": "keep", "batch": 32, "steps": 1}


def test_it_is_the_sum_of_the_quadratics_term_by_term():
    stream = toy.stream("domain", sizes=toy.SMALL)
    method = methods.make("ewc", lam=LAM)
    thetas = toy.after_tasks(method, stream, 2)
    draws = torch.Generator().manual_seed(3)
    here, there = (torch.randn(thetas[0].shape, generator=draws, dtype=torch.float64) for _ in range(2))

    def brute_force(theta):
        total = 0.0
        for lam, star, task in zip(LAM, thetas, stream.tasks, strict=False):
            F = slow_exact(method.net, star, task.train)
            for i in range(len(theta)):
                total = total + lam / 2 * F[i] * (theta[i] - star[i]) ** 2
        return total

    difference = method.penalty(here) - method.penalty(there)
    torch.testing.assert_close(difference, brute_force(here) - brute_force(there), rtol=1e-11, atol=1e-12)
    variable = here.clone().requires_grad_()
    (expected,) = torch.autograd.grad(brute_force(variable), variable)
    zero = torch.zeros_like(here)
    torch.testing.assert_close(method.add_penalty_grad(here, zero), expected, rtol=1e-10, atol=1e-12)


def slow_exact(net: Net, theta, examples):
    """The Fisher diagonal by a loop over examples and labels."""
    x, _, mask = examples.take(torch.arange(len(examples)))
    F = torch.zeros_like(theta)
    for one in x:
        variable = theta.clone().requires_grad_()
        log_p = (net(variable, one[None])[0] + mask).log_softmax(-1)
        for value in log_p:
            (slope,) = torch.autograd.grad(value, variable, retain_graph=True)
            F += value.detach().exp() * slope**2
    return F / len(x)


@pytest.mark.parametrize("lam", [LAM, [*LAM, 5.0]])
def test_a_weight_for_the_last_task_changes_nothing(lam):
    stream = toy.stream("task", sizes=toy.SMALL)
    _, theta = toy.run(methods.make("ewc", lam=lam), stream, train=ADAM)
    _, other = toy.run(methods.make("ewc", lam=LAM), stream, train=ADAM)
    assert torch.equal(theta, other)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_equal_weights_are_the_one_number(seeds):
    stream = toy.stream("domain", sizes=toy.SMALL)
    _, theta = toy.run(methods.make("ewc", lam=[2.0, 2.0]), stream, seeds, ADAM)
    _, other = toy.run(methods.make("ewc", lam=2.0), stream, seeds, ADAM)
    torch.testing.assert_close(theta, other, rtol=1e-9, atol=1e-12)
    _, unequal = toy.run(methods.make("ewc", lam=LAM), stream, seeds, ADAM)
    assert float((unequal - other).abs().max()) > 1e-4


def test_a_whole_run_is_that_of_the_second_implementation():
    stream = toy.stream("domain", sizes=toy.SMALL)
    for lam in (LAM, [3.0, 0.0]):
        _, theta = toy.run(methods.make("ewc", lam=lam), stream, train=ADAM)
        expected = slow_penalties.ewc(toy.module(stream), stream, ADAM, 1, lam=lam)
        torch.testing.assert_close(theta, expected, rtol=1e-9, atol=1e-12)


def test_weights_of_zero_are_fine_tuning_to_the_bit():
    stream = toy.stream("domain")
    _, theta = toy.run(methods.make("ewc", lam=[0.0, 0.0]), stream, train=ADAM)
    assert torch.equal(theta, toy.run(methods.make("naive"), stream, train=ADAM)[1])


def test_a_weight_of_zero_forgets_its_task_alone():
    stream = toy.stream("domain", sizes=toy.SMALL)
    method, only_second = methods.make("ewc", lam=[0.0, 3.0]), methods.make("ewc", lam=3.0)
    thetas = toy.after_tasks(method, stream, 2)
    toy.begin(only_second, stream)
    only_second.after_task(thetas[1], stream.tasks[1])
    torch.testing.assert_close(method.penalty(thetas[0]), only_second.penalty(thetas[0]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("lam", [[], [1], [1] * 4])
def test_a_list_of_another_length_than_the_tasks_is_refused_before_training(lam):
    match = rf"lam = .* has {len(lam)} weights for 3 tasks: give 2, one for each task but the last, or one number"
    with pytest.raises(UserError, match=match) as error:
        toy.run(methods.make("ewc", lam=lam), toy.stream("task"))
    assert str(lam) in str(error.value) and "\n" not in str(error.value)


def test_a_loop_that_knows_no_number_of_tasks_is_refused_at_the_first_task_without_a_weight():
    stream = toy.stream("domain", sizes=toy.SMALL)
    method = methods.make("ewc", lam=[1.0])
    theta = toy.begin(method, stream)
    for task in stream.tasks[:2]:
        method.before_task(theta, task)
        method.after_task(theta, task)
    with pytest.raises(UserError, match="has 1 weights for 3 tasks: give 2"):
        method.before_task(theta, stream.tasks[2])


def test_a_run_with_a_list_stands_in_json_and_has_a_place_of_its_own():
    def run(lam):
        return Run.of(STREAM, "domain", {"name": "ewc", "lam": lam}, TRAIN, 1)

    one = run([1, 2.5, 0.0, 4.0])
    again = Run.of(**json.loads(json.dumps(one.to_json())))
    assert again == one and hash(again) == hash(one) and again.place == one.place
    assert one.to_json()["method"]["lam"] == [1, 2.5, 0.0, 4.0]
    assert one.make_method().lam == (1, 2.5, 0.0, 4.0)
    assert len({run(lam).place for lam in ([1, 2.5, 0.0, 4.0], [1, 2.5, 0.0, 4.5], 1.0)}) == 3


class OwnLoss(methods.find("ewc")):
    """The mean squared error of the logits, without saying which likelihood it is of."""

    def loss(self, theta, x, y, mask):
        return self.net(theta, x).square().mean()


class OwnLikelihood(OwnLoss):
    likelihood = Gaussian(0.5)


def test_a_loss_of_its_own_has_a_fisher_if_it_names_its_likelihood():
    stream = toy.stream("domain", sizes=toy.SMALL)
    task = stream.tasks[0]
    assert Method.likelihood is None
    method = OwnLoss(lam=1.0)
    theta = toy.begin(method, stream)
    with pytest.raises(UserError, match="OwnLoss has a loss of its own, without a likelihood"):
        fisher.of_task(method, theta, task)
    method = OwnLikelihood(lam=1.0)
    toy.begin(method, stream)
    x, _, _ = task.train.take(torch.arange(len(task.train)))
    jacobian = torch.autograd.functional.jacobian(lambda theta: method.net(theta, x), theta)  # [N, C, P]
    expected = jacobian.square().sum(1).mean(0) / 0.5
    torch.testing.assert_close(fisher.of_task(method, theta, task), expected, rtol=1e-10, atol=1e-14)

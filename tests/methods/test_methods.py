"""What defines each regulariser: relations between methods, closed forms, limits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from methods.base.examples import Examples
from methods.base.rng import generator
from methods.importance.fisher import diagonal
from tests.support import slow, toy

SCENARIOS = pytest.mark.parametrize("scenario", ["task", "domain", "class"])


def run(name, stream, **options):
    return toy.run(toy.make(name, **options), stream)[1]


def somewhere(like, seed=0):
    return torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))


def pull(method, theta):
    return method.add_penalty_grad(theta, torch.zeros_like(theta)).clone()


@SCENARIOS
def test_joint_with_one_task_is_fine_tuning(scenario):
    stream = toy.stream(scenario, torch.float32, sizes=(13,))
    counts, theta = toy.run(toy.make("joint"), stream)
    naive_counts, naive = toy.run(toy.make("naive"), stream)
    assert torch.equal(theta, naive)
    assert counts == naive_counts


@SCENARIOS
def test_joint_is_one_run_on_the_union(scenario):
    """Each example once in an epoch: in task-IL through its own head, in class-IL among all units."""
    stream = toy.stream(scenario)
    (task,) = stream.joined().tasks
    x, y, mask = task.train.take(torch.arange(len(task.train)))
    parts = [each.train.take(torch.arange(len(each.train))) for each in stream.tasks]
    assert torch.equal(x, torch.cat([part[0] for part in parts]))
    assert torch.equal(y, torch.cat([part[1] for part in parts]))
    own = torch.cat([mask.expand(len(y), -1) for _, y, mask in parts])
    assert torch.equal(mask.expand(len(y), -1), torch.zeros_like(own) if scenario == "class" else own)


def test_l2_per_task_is_l2_around_the_mean_of_the_anchors():
    stream = toy.stream()
    method = toy.make("l2", lam=0.7, per_task=True)
    stars = torch.stack(toy.after_tasks(method, stream, 3))
    theta, other = somewhere(stars[0]), somewhere(stars[0], 1)

    def mean_form(theta):
        return 3 * 0.7 / 2 * ((theta - stars.mean(0)) ** 2).sum()

    torch.testing.assert_close(pull(method, theta), 3 * 0.7 * (theta - stars.mean(0)), rtol=1e-12, atol=1e-14)
    difference = method.penalty(theta) - method.penalty(other)
    torch.testing.assert_close(difference, mean_form(theta) - mean_form(other), rtol=1e-12, atol=0)


def test_l2_is_half_lam_times_the_distance_to_the_last_anchor():
    method = toy.make("l2", lam=0.7)
    *_, last = toy.after_tasks(method, toy.stream(), 3)
    theta = somewhere(last)
    torch.testing.assert_close(method.penalty(theta), 0.7 / 2 * ((theta - last) ** 2).sum())


@pytest.mark.parametrize("name", ["l2", "online_ewc", "mas", "si"])
def test_one_anchor_pulls_nothing_where_any_later_task_begins(name):
    stream = toy.stream()
    for n_tasks in (1, 2, 3):
        method = toy.make(name)
        theta = toy.after_tasks(method, stream, n_tasks)[-1]
        assert method.penalty(theta) == 0
        assert pull(method, theta).count_nonzero() == 0


def test_ewc_has_a_term_for_each_task():
    """Its penalty up to a constant, from Fishers and anchors of the second implementation."""
    stream = toy.stream("class", sizes=toy.SMALL)
    method = toy.make("ewc", lam=3.0)
    stars = toy.after_tasks(method, stream, 3)
    module = toy.module(stream)
    fishers = []
    for star, task in zip(stars, stream.tasks, strict=True):
        nn.utils.vector_to_parameters(star, module.parameters())
        fishers.append(slow.flat(slow.fisher(module, slow.listed(task.train), "exact")))

    def penalty(theta):
        return sum(3.0 / 2 * (F * (theta - star) ** 2).sum() for F, star in zip(fishers, stars, strict=True))

    theta, other = somewhere(stars[0]), somewhere(stars[0], 1)
    difference = method.penalty(theta) - method.penalty(other)
    torch.testing.assert_close(difference, penalty(theta) - penalty(other), rtol=1e-11, atol=0)


@pytest.mark.parametrize("name", ["ewc", "online_ewc", "mas"])
def test_heads_of_earlier_tasks_stand_still_under_a_fresh_adam(name):
    """Task-incremental in float32: earlier heads have no gradient, and a last bit would become steps of size lr."""
    stream, heads = toy.stream("task", torch.float32), []
    method = toy.make(name)
    real = method.after_task

    def after_task(theta, task):
        heads.append({key: view.clone() for key, view in method.net.views(theta).items() if "head" in key})
        real(theta, task)

    method.after_task = after_task
    toy.run(method, stream, train=replace(toy.TRAIN, optimizer="adam", lr=0.01, optimizer_state="reset"))
    for k, then in enumerate(heads):
        for key, value in heads[-1].items():
            assert torch.equal(value[2 * k : 2 * k + 2], then[key][2 * k : 2 * k + 2]), (k, key)


@SCENARIOS
def test_online_ewc_without_forgetting_is_ewc_for_two_tasks(scenario):
    stream = toy.stream(scenario)
    two = replace(stream, tasks=stream.tasks[:2])
    online, offline = run("online_ewc", two, lam=5.0, gamma=1.0), run("ewc", two, lam=5.0)
    torch.testing.assert_close(online, offline, rtol=1e-12, atol=1e-14)
    assert not torch.equal(run("online_ewc", two, lam=5.0, gamma=0.5), online)
    assert not torch.equal(run("online_ewc", stream, lam=5.0), run("ewc", stream, lam=5.0))


def test_online_ewc_that_forgets_everything_is_fine_tuning():
    stream = toy.stream()
    assert torch.equal(run("online_ewc", stream, lam=5.0, gamma=0.0), run("naive", stream))


def test_online_ewc_weights_the_earlier_fisher_by_gamma_twice():
    """After two tasks the importance is gamma (gamma F_1 + F_2)."""
    stream = toy.stream()
    fishers = []
    for order in (0, 1):
        method = toy.make("online_ewc", gamma=1.0)
        stars = toy.after_tasks(method, stream, order + 1)
        fishers.append(method.quadratic.A)
    method = toy.make("online_ewc", gamma=0.6)
    assert torch.equal(toy.after_tasks(method, stream, 2)[-1], stars[-1])
    first, both = fishers
    torch.testing.assert_close(method.quadratic.A, 0.6 * (0.6 * first + (both - first)), rtol=1e-11, atol=1e-15)


def test_online_ewc_is_ewc_where_all_anchors_coincide():
    stream = toy.stream()
    methods = toy.make("online_ewc", gamma=1.0), toy.make("ewc")
    for method in methods:
        theta = toy.begin(method, stream)
        for task in stream.tasks:
            method.after_task(theta, task)
    online, offline = (method.quadratic for method in methods)
    torch.testing.assert_close(online.A, offline.A, rtol=1e-12, atol=0)
    assert torch.equal(online.m, offline.m)


def test_ewc_of_a_strength_without_bound_freezes_what_is_important():
    """Where lam F (theta - star) balances the second task's gradient, ten times the strength is a tenth of the way."""
    stream = toy.stream("domain")
    ways = []
    for lam in (1e4, 1e5, 1e6):
        method = toy.make("ewc", lam=lam)
        theta = star = toy.begin(method, stream, build=lambda *_: SoftmaxRegression())
        method.after_task(star, stream.tasks[0])
        F = method.quadratic.A
        assert bool((F > 0).all())
        batch = stream.tasks[1].train.take(torch.arange(60))
        for _ in range(20):
            variable = theta.clone().requires_grad_()
            (grad,) = torch.autograd.grad(method.loss(variable, *batch), variable)
            theta = theta - method.add_penalty_grad(theta, grad) / (lam * F)
        torch.testing.assert_close(lam * F * (theta - star), -grad, rtol=1e-7, atol=1e-9)
        ways.append(float((theta - star).norm()))
    assert ways[0] / ways[1] == pytest.approx(10, rel=0.1)
    assert ways[1] / ways[2] == pytest.approx(10, rel=0.01)  # the rest falls with the strength, too


class SoftmaxRegression(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 2).double()
        nn.init.normal_(self.head.weight, std=0.3, generator=torch.Generator().manual_seed(0))
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        return self.head(x.flatten(1))


@pytest.mark.parametrize(("name", "factor"), [("mas", 1), ("si", 1), ("ewc", 0.5), ("online_ewc", 0.5), ("l2", 0.5)])
def test_the_papers_one_half(name, factor):
    """EWC and L2 have the factor 1/2, MAS and SI have not."""
    method = toy.make(name, **{type(toy.make(name)).strength: 0.3})
    (star,) = toy.after_tasks(method, toy.stream(), 1)
    if name == "si":
        method.quadratic.set(star.abs(), star)
    theta = somewhere(star)
    expected = 0.3 * factor * (method.quadratic.A * (theta - star) ** 2).sum()
    assert expected > 0
    torch.testing.assert_close(method.penalty(theta), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ewc", {"fisher": "sample"}),
        ("ewc", {"fisher": "batched", "fisher_batch": 7}),
        ("online_ewc", {"n_samples": 11}),
        ("mas", {"per_sample": False, "batch": 7}),
    ],
)
def test_each_replica_draws_its_own(name, options):
    """Where the importance is drawn at random, a slice of several networks is still that network alone."""
    stream = toy.stream("class", sizes=toy.SMALL)
    _, thetas = toy.run(toy.make(name, **options), stream, (1, 2))
    for r, seed in enumerate((1, 2)):
        _, alone = toy.run(toy.make(name, **options), stream, (seed,))
        torch.testing.assert_close(thetas[r], alone, rtol=1e-10, atol=1e-10)


def test_batched_argmax_is_batched_with_predicted_units_as_labels():
    _, net, theta, data = toy.second_task()
    (part,) = data.parts
    x, y, mask = data.take(torch.arange(len(data)))
    predicted = (net(theta, x) + mask).argmax(-1)
    assert not torch.equal(predicted, y)
    relabelled = Examples((replace(part, y=predicted),))
    found, expected = (
        diagonal(net, theta, examples, estimator, [torch.Generator().manual_seed(0)], batch=4)
        for examples, estimator in ((data, "batched_argmax"), (relabelled, "batched"))
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["ewc", "online_ewc"])
def test_fisher_options_reach_the_estimator(name):
    """One sample: the Fisher of one of the task's examples. Batches of four: not those of another size."""
    stream = toy.stream("class", sizes=(3, 3, 3))

    def importance(**options):
        method = toy.make(name, **options)
        (theta,) = toy.after_tasks(method, stream, 1)
        return method, theta, method.quadratic.A

    method, theta, sampled = importance(n_samples=1)
    data = stream.tasks[0].train
    singles = [diagonal(method.net, theta, data.select(torch.tensor([n]))) for n in range(6)]
    assert sum(torch.equal(sampled, single) for single in singles) == 1
    for batch in (1, 4):
        _, _, found = importance(fisher="batched", fisher_batch=batch)
        draws = [generator(1, "fisher", 0)]
        assert torch.equal(found, diagonal(method.net, theta, data, "batched", draws, batch=batch))

"""iCaRL: its loss, its memory, its nearest means, and a whole run against a second implementation."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import methods
from benchmarks.learner import fit
from methods.base.errors import UserError
from methods.base.net import Net
from methods.base.rng import generator
from methods.memory.class_means import class_mean
from methods.memory.herding import herd
from tests.support import slow_icarl, toy

PRESETS = methods.find("icarl").presets
SEEDS = pytest.mark.parametrize("seed", range(5))


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit_rows(n, d, seed):
    return F.normalize(random(n, d, seed=seed).abs(), dim=-1)


def trained(n_tasks, stream=None, **options):
    """iCaRL after so many tasks, theta, and the stream."""
    stream = stream or toy.stream("class")
    method = toy.make("icarl", **({"K": 20} | options))
    theta = toy.begin(method, stream)
    for task in stream.tasks[:n_tasks]:
        fit(method, theta, task, toy.TRAIN.make_optimizer(theta), toy.TRAIN, [generator(1, "batches", task.index)])
        with torch.no_grad():
            method.after_task(theta, task)
    return method, theta, stream


def everything(examples):
    return examples.take(torch.arange(len(examples)))


@SEEDS
def test_herding_is_the_brute_force(seed):
    """Every row in turn is tried in the mean of those picked, from scratch."""
    features = unit_rows(12, 5, seed)
    for mean in (features.mean(0), F.normalize(features.mean(0), dim=0)):
        picked = []
        for _ in range(12):
            left = [n for n in range(12) if n not in picked]
            picked.append(min(left, key=lambda n: float((mean - features[[*picked, n]].mean(0)).norm())))
        assert herd(features, mean, 12).tolist() == picked


@SEEDS
def test_herding_order_does_not_depend_on_how_many(seed):
    features = unit_rows(20, 4, seed)
    whole = herd(features, features.mean(0), 50).tolist()
    assert sorted(whole) == list(range(20))
    for m in (1, 2, 7, 20):
        assert herd(features, features.mean(0), m).tolist() == whole[:m]


def test_herding_does_not_pick_a_row_twice_and_takes_the_lowest_of_equals():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert herd(features, features[0], 3).tolist() == [0, 2, 1]
    assert herd(features, features[0], 0).tolist() == []


@pytest.mark.parametrize(("preset", "divisor"), [("paper", 1), ("released", 6)])
def test_icarl_first_task_is_plain_binary_cross_entropy(preset, divisor):
    stream = toy.stream("class")
    method = toy.make("icarl", preset=preset)
    theta = toy.begin(method, stream)
    task = method.before_task(theta, stream.tasks[0])
    assert task is stream.tasks[0]
    x, y, mask = everything(task.train)
    units = slice(0, 2) if preset == "paper" else slice(None)
    logits = method.net(theta, x)[:, units]
    expected = F.binary_cross_entropy(logits.sigmoid(), F.one_hot(y, 6).double()[:, units], reduction="sum")
    torch.testing.assert_close(method.loss(theta, x, y, mask), expected / len(y) / divisor, rtol=1e-12, atol=0)


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_icarl_old_part_has_no_gradient_where_teacher_and_student_agree(preset):
    """Exactly the rows of the old units in the head: for new examples and for exemplars, whatever their class."""
    method, theta, stream = trained(1, **PRESETS[preset])
    task = method.before_task(theta, stream.tasks[1])
    batch = everything(task.train)
    assert bool((batch[1] < 2).any())

    def head(at):
        variable = at.clone().requires_grad_()
        (grad,) = torch.autograd.grad(method.loss(variable, *batch), variable)
        return method.net.views(grad)["head.weight"]

    assert float(head(theta)[:2].abs().max()) < 1e-15
    assert float(head(theta)[2:4].abs().max()) > 1e-3
    assert float(head(theta + 0.1 * random(len(theta)))[:2].abs().max()) > 1e-3
    assert (head(theta)[4:].count_nonzero() > 0) == (preset == "released")


@pytest.mark.parametrize("scale", [1e-3, 1.0, 250.0])
def test_icarl_predictions_do_not_depend_on_the_scale_of_features(scale):
    """The last layer before the head times `scale`: features that are `scale` times as long."""
    method, theta, stream = trained(3)
    scaled = theta.clone()
    for name, view in method.net.views(scaled).items():
        if name.startswith("body"):
            view.mul_(scale)
    with torch.no_grad():
        torch.testing.assert_close(
            method.net.features(scaled, stream.tests[0].take(torch.arange(5))[0]),
            scale * method.net.features(theta, stream.tests[0].take(torch.arange(5))[0]),
        )
        mask = stream.mask_at(3, 0)
        inputs = torch.cat([everything(test)[0] for test in stream.tests])
        before = method.predict(theta, inputs, mask)
        method.means = {
            unit: class_mean(method.net, scaled, kept, method.flips, unit)[0] for unit, kept in method.exemplars.items()
        }
        assert torch.equal(method.predict(scaled, inputs, mask), before)
    assert len(before.unique()) > 3


def test_icarl_prediction_is_the_nearest_mean_and_only_of_allowed_units():
    method, theta, stream = trained(3)
    inputs = torch.cat([everything(test)[0] for test in stream.tests])
    with torch.no_grad():
        phi = F.normalize(method.net.features(theta, inputs), dim=-1)
    means = torch.stack([method.means[unit] for unit in range(6)])
    gaps = (phi[:, None] - means).norm(dim=-1)
    assert torch.equal(method.predict(theta, inputs, stream.mask_at(3, 0)), gaps.argmin(-1))
    assert torch.equal(method.predict(theta, inputs, stream.mask_at(2, 0)), gaps[:, :4].argmin(-1))


def test_icarl_with_every_example_kept_is_the_nearest_class_mean():
    method, theta, stream = trained(3, K=6 * 100)
    inputs = torch.cat([everything(test)[0] for test in stream.tests])
    with torch.no_grad():
        means = []
        for unit in range(6):
            x, y, _ = everything(stream.tasks[unit // 2].train)
            means.append(F.normalize(F.normalize(method.net.features(theta, x[y == unit]), dim=-1).mean(0), dim=0))
        gaps = (F.normalize(method.net.features(theta, inputs), dim=-1)[:, None] - torch.stack(means)).norm(dim=-1)
        assert torch.equal(method.predict(theta, inputs, stream.mask_at(3, 0)), gaps.argmin(-1))


def test_icarl_hybrid1_is_the_largest_output():
    method, theta, stream = trained(3, classifier="hybrid1")
    x, _, _ = everything(stream.tests[2])
    expected = method.net(theta, x)[:, :4].sigmoid().argmax(-1)
    assert torch.equal(method.predict(theta, x, stream.mask_at(2, 0)), expected)
    assert not method.means


@pytest.mark.parametrize(
    ("K", "per_class", "share"),
    [*((K, None, share) for K in (6, 7, 11, 20, 1000) for share in ("floor", "ceil")), (None, 3, "floor")],
)
def test_icarl_memory_keeps_its_budget_and_its_order(K, per_class, share):
    stream = toy.stream("class")
    method = toy.make("icarl", K=K, per_class=per_class, share=share)
    theta = toy.begin(method, stream)
    before = {}
    for k, task in enumerate(stream.tasks, 1):
        trained_on = method.before_task(theta, task)
        assert len(trained_on.train) == len(task.train) + sum(map(len, method.exemplars.values()))
        method.after_task(theta, task)
        m = per_class or (K // (2 * k) if share == "floor" else -(-K // (2 * k)))
        for unit, kept in method.exemplars.items():
            x, y, _ = everything(kept)
            own, labels, _ = everything(stream.tasks[unit // 2].train)
            assert len(x) == min(m, int((labels == unit).sum())) and set(y.tolist()) == {unit}
            assert all(any(torch.equal(row, each) for each in own[labels == unit]) for row in x), "raw inputs"
            if unit in before:
                assert torch.equal(x, before[unit][: len(x)])
            before[unit] = x
        if K and share == "floor":
            assert sum(map(len, method.exemplars.values())) <= K


def test_icarl_keeps_no_second_network_between_tasks():
    method, theta, stream = trained(2)
    assert method.teacher is None
    method.before_task(theta, stream.tasks[2])
    kept = method.teacher.theta.clone()
    theta.zero_()
    assert torch.equal(method.teacher.theta, kept)


def test_icarl_means_follow_the_features_of_the_last_task():
    method, _, _ = trained(1)
    first = method.means[0]
    method, theta, _ = trained(2)
    assert not torch.equal(method.means[0], first)
    with torch.no_grad():
        phi = F.normalize(method.net.features(theta, everything(method.exemplars[0])[0]), dim=-1)
    torch.testing.assert_close(method.means[0], F.normalize(phi.mean(0), dim=0), rtol=1e-12, atol=0)


def test_icarl_mirror_images_enter_the_means_of_images_alone():
    method, theta, _ = trained(1, flips=True)
    x, _, _ = everything(method.exemplars[0])
    with torch.no_grad():
        phi, mirrored = (F.normalize(method.net.features(theta, each), dim=-1) for each in (x, x.flip(-1)))
    expected = F.normalize((phi.mean(0) + mirrored.mean(0)) / 2, dim=0)
    torch.testing.assert_close(method.means[0], expected, rtol=1e-12, atol=0)
    stream = toy.stream("class")
    flat = [replace(part, source=part.source.flatten(1)) for task in stream.tasks for part in task.train.parts]
    tasks = tuple(
        replace(task, train=replace(task.train, parts=(part,))) for task, part in zip(stream.tasks, flat, strict=True)
    )
    with_flips, without = (trained(1, replace(stream, tasks=tasks), flips=flips)[0] for flips in (True, False))
    torch.testing.assert_close(with_flips.means[0], without.means[0], rtol=0, atol=0)


def test_icarl_counts_features_of_norm_zero_and_refuses_a_class_of_nothing_else():
    method, theta, _ = trained(1)
    assert method.zero_norm == 0
    dead = theta.clone()
    for name, view in method.net.views(dead).items():
        if name == "body.1.bias":
            view.fill_(-1e6)
    with pytest.raises(UserError, match="all 10 exemplars of unit 0 have features of norm 0"):
        class_mean(method.net, dead, method.exemplars[0], False, 0)
    some = torch.ones(10, 3, dtype=theta.dtype).index_fill(0, torch.tensor([2, 5]), 0.0)
    mean, zeros = class_mean(SimpleNamespace(features=lambda theta, x: some), theta, method.exemplars[0], False, 0)
    assert zeros == 2
    torch.testing.assert_close(mean, torch.full((3,), 3**-0.5, dtype=theta.dtype))


def test_icarl_refuses():
    stream = toy.stream("class")
    method = toy.make("icarl", K=3)
    theta = toy.after_tasks(method, stream, 1)[-1]
    with pytest.raises(UserError, match="K = 3 exemplars for 4 classes"):
        method.before_task(theta, stream.tasks[1])
    with pytest.raises(UserError, match=r"units \[0, 1\] were learnt in an earlier task"):
        method.before_task(theta, stream.tasks[0])
    for option, bad in [("loss_units", "new"), ("share", "round"), ("classifier", "ncm"), ("flips", 1), ("K", 0)]:
        with pytest.raises(UserError, match=option):
            toy.make("icarl", **{option: bad})
    assert type(method).scenarios == ("class",)
    for bad in (-1, 0.0):
        with pytest.raises(UserError, match="K must be a whole number >= 0"):
            toy.make("icarl", K=bad, classifier="hybrid1")
    for bad in (-1, 0.0):
        with pytest.raises(UserError, match="per_class must be a whole number >= 0"):
            toy.make("icarl", K=None, per_class=bad, classifier="hybrid1")
    with pytest.raises(UserError, match="per_class = 0 leaves no exemplars for means: give 1 or more"):
        toy.make("icarl", K=None, per_class=0)
    for K, per_class in ((None, None), (6, 3)):
        with pytest.raises(UserError, match=f"K and per_class: give exactly one, got {K} and {per_class}"):
            toy.make("icarl", K=K, per_class=per_class)


def test_features_are_the_input_of_the_head():
    stream = toy.stream("class")
    x = random(3, 5, *toy.SHAPE)
    for build in (toy.module, toy.noisy):
        net = Net(build(stream))
        thetas = net.vector() + 0.1 * random(3, net.n_parameters)
        together = net.features(thetas, x)
        for r in range(3):
            alone = net.features(thetas[r], x[r])
            weight, bias = (net.views(thetas[r])[f"head.{name}"] for name in ("weight", "bias"))
            torch.testing.assert_close(F.linear(alone, weight, bias), net(thetas[r], x[r]), rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(together[r], alone, rtol=1e-12, atol=1e-14)
        assert net.module.training and not net.module.head._forward_pre_hooks
    with pytest.raises(UserError, match="no layer of Sequential gives the logits"):
        headless = Net(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 6), torch.nn.Softmax(-1)).double())
        headless.features(headless.vector(), x[0])
    module = toy.module(stream)
    module.forward = lambda x: module.head(module.body(x)) + module.head(module.body(x))
    with pytest.raises(UserError, match="uses its last layer 2 times"):
        Net(module).features(Net(module).vector(), x[0])


def test_lwf_mc_is_icarl_without_exemplars():
    """A whole run against the second implementation, to the predictions; and against iCaRL robbed of its exemplars."""
    stream = toy.stream("class", sizes=toy.SMALL)
    method = toy.make("icarl", preset="lwf_mc")
    counts, theta = toy.run(method, stream)
    expected, kept, module = slow_icarl.icarl(toy.module(stream), stream, toy.TRAIN, 1, 0)
    torch.testing.assert_close(theta, expected, rtol=1e-9, atol=1e-12)
    assert {len(each) for each in [*method.exemplars.values(), *kept.values()]} == {0}
    for j, test in enumerate(stream.tests):
        x, y, _ = everything(test)
        assert counts[3][j] == int((module(x).argmax(-1) == y).sum())
    robbed = toy.make("icarl", K=6, classifier="hybrid1")
    real = robbed.after_task

    def after_task(theta, task):
        real(theta, task)
        robbed.exemplars = {unit: each.select(torch.arange(0)) for unit, each in robbed.exemplars.items()}

    robbed.after_task = after_task
    assert torch.equal(toy.run(robbed, stream)[1], theta)
    assert not torch.equal(toy.run(toy.make("icarl", K=6, classifier="hybrid1"), stream)[1], theta)


@pytest.mark.parametrize("preset", ["paper", "released", "vdv"])
def test_whole_run(preset):
    """Parameters, exemplars in order, and predictions of both classifiers, against one example after the other."""
    stream = toy.stream("class", sizes=toy.SMALL)
    released, draws = preset == "released", {}
    train = replace(toy.TRAIN, batch=5, lr=0.3 if released else 0.05)

    def draw(task, n):
        draws.setdefault(task.index, generator(1, "exemplars", task.index))
        return torch.randperm(n, generator=draws[task.index]).tolist()

    theirs = {"T": 2.0, "draw": draw} if preset == "vdv" else {"released": released}
    expected, kept, module = slow_icarl.icarl(toy.module(stream), stream, train, 1, 13, **theirs)
    method = toy.make("icarl", K=13, **PRESETS[preset])
    counts, theta = toy.run(method, stream, train=train)
    torch.testing.assert_close(theta, expected, rtol=1e-9, atol=1e-12)
    assert sorted(kept) == sorted(method.exemplars)
    for unit, xs in kept.items():
        assert torch.equal(torch.stack(xs), everything(method.exemplars[unit])[0])
    assert {len(xs) for xs in kept.values()} == {3 if released else 2}
    for j, test in enumerate(stream.tests):
        x, y, _ = everything(test)
        guesses = torch.tensor([slow_icarl.nearest(module, kept, each, flips=released) for each in x])
        assert torch.equal(method.predict(theta, x, stream.mask_at(3, j)), guesses)
        assert counts[3][j] == int((guesses == y).sum())

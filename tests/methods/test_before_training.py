"""What is known before training is refused before training; what is asked during training is answered."""

import pytest
import torch
from torch import nn

import methods
from benchmarks import learner
from methods.base.errors import UserError
from tests.support import toy

CLASSES = {name: cls for name in methods.names() if not (cls := methods.find(name)).joins_tasks}
CASES = [(name, scenario) for name, cls in CLASSES.items() for scenario in cls.scenarios]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("icarl", {"K": 5}, "icarl: K = 5 exemplars for 6 classes: give at least one for each"),
        ("gem", {"budget": 2, "memory": "random"}, "gem: budget = 2 examples for 3 tasks: give at least one for each"),
        ("replay", {"memory": 5, "buffer": "ring"}, "replay: memory = 5 for 6 classes of 3 tasks: buffer 'ring'"),
        ("replay", {"memory": 5, "buffer": "class_balanced"}, "replay: memory = 5 for 6 classes of 3 tasks"),
    ],
)
def test_a_memory_too_small_for_the_whole_stream_is_refused_before_the_first_task(name, options, words, monkeypatch):
    monkeypatch.setattr(learner, "fit", lambda *_: pytest.fail("training began"))
    with pytest.raises(UserError, match=f"^{words}"):
        toy.run(toy.make(name, **options), toy.stream("class"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("icarl", {"K": 6}),
        ("icarl", {"K": 0, "classifier": "hybrid1"}),
        ("icarl", {"per_class": 1}),
        ("gem", {"budget": 3, "memory": "random"}),
        ("replay", {"memory": 6, "buffer": "ring"}),
        ("replay", {"memory": 1}),
    ],
)
def test_one_place_for_each_is_enough(name, options):
    toy.make(name, **options).check_stream(3, 6)


def not_linear(stream, seed=1):
    """The last layer is a normalisation."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, stream.n_units))
    module.add_module("head", nn.BatchNorm1d(stream.n_units))
    return module.double()


def used_twice(stream, seed=1):
    """The last layer has two inputs."""
    module = toy.module(stream, seed)
    module.forward = lambda x: module.head(module.body(x)) + module.head(module.body(x))
    return module


@pytest.mark.parametrize(
    ("name", "options", "build", "words"),
    [
        ("icarl", {}, used_twice, "2 times: features need it used once"),
        ("icarl", {"classifier": "hybrid1"}, used_twice, "2 times: features need it used once"),
        *[("rwalk", {"sampler": s}, not_linear, "not linear") for s in ("plane_distance", "entropy", "mof")],
    ],
)
def test_a_network_without_the_layer_that_is_needed_is_refused_before_the_first_step(name, options, build, words):
    stream, method = toy.stream("class"), toy.make(name, **options)
    method.loss = lambda *_: pytest.fail("training began")
    with pytest.raises(UserError, match=words):
        toy.run(method, stream, build=build)


@pytest.mark.parametrize(
    ("name", "options", "build"),
    [
        ("icarl", {"classifier": "hybrid1", "selection": "random"}, used_twice),
        ("rwalk", {"sampler": "uniform"}, not_linear),
        ("rwalk", {}, not_linear),
    ],
)
def test_a_network_is_taken_where_no_layer_is_needed(name, options, build):
    toy.run(toy.make(name, **options), toy.stream("class", sizes=toy.SMALL), build=build)


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_every_method_can_be_evaluated_after_every_step(name, scenario):
    """New classes are predicted too, and looking changes nothing."""
    stream, method = toy.stream(scenario), toy.make(name)
    _, expected = toy.run(toy.make(name), stream)
    task, found = [None], []
    before_task, add_penalty_grad = method.before_task, method.add_penalty_grad

    def watched_before_task(theta, given):
        task[0] = given
        return before_task(theta, given)

    def watched(theta, grad):
        x, _, mask = task[0].train.take(torch.arange(8))
        with torch.no_grad():
            found.append((task[0].index, method.predict(theta, x, mask)))
        return add_penalty_grad(theta, grad)

    method.before_task, method.add_penalty_grad = watched_before_task, watched
    _, theta = toy.run(method, stream)
    assert torch.equal(theta, expected)
    for k in range(3):
        seen = torch.cat([units for index, units in found if index == k])
        new = range(2 * k, 2 * k + 2) if scenario != "domain" else range(2)
        assert set(seen.tolist()) & set(new), f"no new unit was ever predicted in task {k + 1}"


def test_icarl_predicts_by_its_outputs_until_a_task_has_ended():
    """Means of the task before are not those of the present features; afterwards the nearest mean decides again."""
    stream, method = toy.stream("class"), toy.make("icarl", K=12)
    theta = toy.begin(method, stream)
    x = torch.cat([test.take(torch.arange(len(test)))[0] for test in stream.tests])
    for k, task in enumerate(stream.tasks, 1):
        mask = stream.mask_at(k, 0)
        method.before_task(theta, task)
        outputs = (method.net(theta, x) + mask).argmax(-1)
        assert torch.equal(method.predict(theta, x, mask), outputs)
        method.after_task(theta, task)
        assert set(method.means) == set(range(2 * k))
        assert not torch.equal(method.predict(theta, x, mask), outputs)

"""Experience replay: what is replayed, how it is weighted, and that nothing else is changed."""

import itertools
from dataclasses import replace

import pytest
import torch

from methods.base.errors import UserError
from methods.base.rng import generator
from methods.memory.buffers import BUFFERS
from tests.support import slow_replay, toy
from tests.support.marked import BUFFER, CURRENT, SCENARIOS, everything, marked, masks, numbers, tasks_done

ADAM = replace(toy.TRAIN, optimizer="adam", lr=0.01)


@SCENARIOS
@CURRENT
@BUFFER
def test_contents_do_not_depend_on_what_is_replayed(buffer, current, scenario):
    """Neither on how many nor on their weight, though the parameters do."""
    stream = marked(scenario)
    contents, thetas = [], []
    for batch_memory, weighting in ((1, "joint"), (20, "joint"), (1000, "half"), (4, "vdv")):
        options = {"batch_memory": batch_memory, "weighting": weighting}
        method = toy.make("replay", memory=15, buffer=buffer, replay_current=current, **options)
        thetas.append(toy.run(method, stream)[1])
        contents.append(numbers(method.kept))
    assert contents[0] == contents[1] == contents[2] == contents[3]
    assert len({tuple(theta.tolist()) for theta in thetas}) == 4


@CURRENT
@BUFFER
def test_a_memory_that_is_never_replayed_is_fine_tuning_to_the_bit(buffer, current):
    """Filling it takes nothing from the training's random numbers."""
    stream = toy.stream("class", torch.float32)
    method = toy.make("replay", buffer=buffer, replay_current=current)
    method._drawn = lambda: None
    counts, theta = toy.run(method, stream, train=ADAM, build=toy.noisy)
    naive_counts, naive = toy.run(toy.make("naive"), stream, train=ADAM, build=toy.noisy)
    assert torch.equal(theta, naive) and counts == naive_counts
    assert len(method.kept) == 8


def test_the_first_task_is_fine_tuning_unless_it_replays_itself_with_a_weight():
    stream = toy.stream("class", torch.float32)
    first = replace(stream, tasks=stream.tasks[:1])
    _, naive = toy.run(toy.make("naive"), first, train=ADAM, build=toy.noisy)
    for buffer in BUFFERS:
        for weighting, current in ((w, c) for w in ("joint", "half", "vdv") for c in (False, True)):
            method = toy.make("replay", buffer=buffer, weighting=weighting, replay_current=current)
            _, theta = toy.run(method, first, train=ADAM, build=toy.noisy)
            assert torch.equal(theta, naive) == (not current or weighting == "vdv")


@pytest.mark.parametrize("batch_memory", [6, 1000])
@CURRENT
def test_what_is_replayed_came_before_the_batch(current, batch_memory, monkeypatch):
    """Distinct examples beside the batch, fewer where the memory holds fewer; of the same task only if so asked."""
    stream = marked("task")
    method = toy.make("replay", memory=15, batch_memory=batch_memory, replay_current=current)
    theta = toy.begin(method, stream)
    inputs = []

    def forward(x):
        inputs.append(x.flatten(1)[:, 0].long().tolist())
        return torch.zeros(len(x), 6).double()

    monkeypatch.setattr(method.net.module, "forward", forward)
    replayed = set()
    for task in stream.tasks:
        method.before_task(theta, task)
        for x, y, mask in task.train.batches(9):
            before = numbers(method.kept) if method.kept else []
            loss = method.loss(theta, x, y, mask)
            torch.testing.assert_close(loss, torch.log(torch.tensor(2.0).double()))  # two units for old and new alike
            new, old = inputs[-1][: len(y)], inputs[-1][len(y) :]
            assert new == x.flatten(1)[:, 0].long().tolist()
            assert len(old) == len(set(old)) == min(batch_memory, len(before))
            assert set(old) <= set(before) and not set(old) & set(new)
            replayed |= {(task.index, n // 100) for n in old}
        method.after_task(theta, task)
    assert replayed == {(1, 0), (2, 0), (2, 1)} | ({(0, 0), (1, 1), (2, 2)} if current else set())


@SCENARIOS
@pytest.mark.parametrize("weighting", ["joint", "half", "vdv"])
def test_the_loss_by_hand(weighting, scenario):
    """Example by example: 9 new ones and the 4 that the generator draws of 15, in the second task and in the third."""
    stream = toy.stream(scenario)
    method = toy.make("replay", memory=15, batch_memory=4, weighting=weighting)
    theta = toy.begin(method, stream)
    for k, task in enumerate(stream.tasks, 1):
        method.before_task(theta, task)
        x, y, mask = task.train.take(torch.arange(9))
        if k > 1:
            places = torch.randperm(15, generator=generator(1, "replay", k - 1))[:4]
            old = method.kept.take(places)
            losses = []
            for x_n, y_n, mask_n in (*zip(x, y, mask.expand(9, -1), strict=True), *zip(*old, strict=True)):
                p = (method.net(theta, x_n[None])[0][mask_n == 0]).softmax(0)
                losses.append(-p[int((mask_n[:y_n] == 0).sum())].log())
            new, replayed = sum(losses[:9]) / 9, sum(losses[9:]) / 4
            expected = {
                "joint": sum(losses) / 13,
                "half": (new + replayed) / 2,
                "vdv": (new + replayed) / 2 if k == 2 else (new + 2 * replayed) / 3,
            }
            torch.testing.assert_close(method.loss(theta, x, y, mask), expected[weighting], rtol=1e-12, atol=0)
        method.after_task(theta, task)


@pytest.mark.parametrize(
    ("scenario", "active_units", "own"),
    [("task", "seen", True), ("domain", "seen", False), ("class", "seen", False), ("class", "current", True)],
)
@BUFFER
def test_after_each_step_the_memory_is_under_the_right_units(buffer, scenario, active_units, own):
    """In task-IL, and where only current units are trained, under their own; otherwise under those of the task."""
    stream = marked(scenario, active_units=active_units)
    method = toy.make("replay", memory=20, buffer=buffer, replay_current=True)
    theta = toy.begin(method, stream)
    for task in stream.tasks:
        given = masks(task.train).clone()
        method.before_task(theta, task)
        for x, y, mask in task.train.batches(7):
            method.loss(theta, x, y, mask)
            home = [stream.tasks[n // 100] for n in numbers(method.kept)]
            expected = torch.stack([(each if own else task).train.parts[0].mask for each in home])
            assert torch.equal(masks(method.kept), expected)
            x.zero_()  # what is kept is a copy
        assert set(numbers(method.kept)) <= set(everything(stream)) and len(method.kept) == 20
        assert torch.equal(masks(task.train), given)
        method.after_task(theta, task)


@SCENARIOS
@pytest.mark.parametrize("buffer", ["ring", "class_balanced"])
def test_fewer_places_than_classes_are_refused_when_the_task_begins(buffer, scenario):
    """In domain-IL the classes of each task count."""
    stream = toy.stream(scenario)
    method = toy.make("replay", memory=5, buffer=buffer)
    match = rf"memory = 5 for 6 classes of 3 tasks: buffer '{buffer}' needs a place for each \(raise memory, or take"
    done = 0
    with pytest.raises(UserError, match=match):
        for _ in tasks_done(method, stream):
            done += 1
    assert done == 2
    assert len(list(tasks_done(toy.make("replay", memory=6, buffer=buffer), stream))) == 3
    assert len(list(tasks_done(toy.make("replay", memory=1), stream))) == 3


@pytest.mark.parametrize(("scenario", "shares"), [("class", [3] * 4), ("task", [3] * 4), ("domain", [2] * 6)])
def test_a_class_that_returns_is_one_class(scenario, shares):
    """In domain-IL the classes of every visit count, because tasks share their units."""
    stream = toy.stream(scenario)
    first, second, _ = stream.tasks
    stream = replace(stream, tasks=(first, second, replace(first, index=2)), tests=stream.tests[:3])
    method = toy.make("replay", memory=12, buffer="class_balanced")
    assert len(list(tasks_done(method, stream))) == 3
    assert [len(own) for own in method.places.values()] == shares


def test_it_refuses_two_sizes_none_and_places_for_classes_in_the_reservoir():
    for memory, per_class in ((None, None), (6, 3)):
        with pytest.raises(UserError, match=f"memory and per_class: give exactly one, got {memory} and {per_class}"):
            toy.make("replay", memory=memory, per_class=per_class, buffer="ring")
    for option, bad in itertools.product(("memory", "per_class"), (0, -1, 2.0, True)):
        with pytest.raises(UserError, match=f"{option} must be a whole number >= 1, or None, got {bad}"):
            toy.make("replay", **{"memory": None, option: bad}, buffer="ring")
    with pytest.raises(UserError, match="buffer = 'reservoir' has no classes: give memory, or buffer = 'ring' or"):
        toy.make("replay", memory=None, per_class=3)


@CURRENT
@BUFFER
def test_between_tasks_its_state_is_plain(buffer, current):
    """Tensors, numbers, containers and examples: nothing that draws is carried from task to task."""

    method = toy.make("replay", buffer=buffer, replay_current=current)
    toy.run(method, toy.stream())
    assert toy.plain(method.state())


WHOLE = {
    "reservoir": {},
    "few": {"memory": 3, "batch_memory": 1},
    "half": {"weighting": "half"},
    "vdv": {"weighting": "vdv"},
    "ring": {"buffer": "ring"},
    "class_balanced": {"buffer": "class_balanced"},
    "current": {"replay_current": True},
    "per class": {"memory": None, "per_class": 3, "buffer": "class_balanced", "weighting": "vdv"},
    "per class, ring, current": {"memory": None, "per_class": 2, "buffer": "ring", "replay_current": True},
    "ring, half, current": {"buffer": "ring", "weighting": "half", "replay_current": True},
    "class_balanced, vdv, current": {"buffer": "class_balanced", "weighting": "vdv", "replay_current": True},
}


@pytest.mark.parametrize(("scenario", "optimizer"), [("task", "sgd"), ("domain", "sgd"), ("class", "adam")])
@pytest.mark.parametrize("case", WHOLE)
def test_whole_run(case, scenario, optimizer):
    stream = toy.stream(scenario, sizes=toy.SMALL)
    train = replace(toy.TRAIN, batch=5, optimizer=optimizer, lr={"sgd": 0.1, "adam": 0.02}[optimizer])
    options = {"memory": 10, "batch_memory": 6} | WHOLE[case]
    expected = slow_replay.replay(toy.module(stream), stream, train, 1, **options)
    _, theta = toy.run(toy.make("replay", **options), stream, train=train)
    torch.testing.assert_close(theta, expected, rtol=1e-9, atol=1e-12)

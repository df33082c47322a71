"""Rehearsal and replay: what the memory holds, and under which units it is trained."""

from dataclasses import replace

import pytest
import torch
import toy

from benchmarks.rng import generator

SCENARIOS = pytest.mark.parametrize("scenario", ["task", "domain", "class"])


def marked(scenario, sizes=toy.SIZES, active_units="seen"):
    """A stream whose pixels say which example of which task they are: 100 k + n."""
    stream = toy.stream(scenario, sizes=sizes, active_units=active_units)
    for task in stream.tasks:
        (part,) = task.train.parts
        numbers = torch.arange(len(part.rows), dtype=part.source.dtype)
        part.source[part.rows] = (100 * task.index + numbers).view(-1, *[1] * len(toy.SHAPE)).expand(-1, *toy.SHAPE)
    return stream


def numbers(examples):
    """Which examples these are, as integers."""
    return examples.take(torch.arange(len(examples)))[0].flatten(1)[:, 0].long().tolist()


def tasks_done(method, stream, seed=1):
    """Call the hooks of every task without training; yields the task as it was trained on."""
    theta = toy.begin(method, stream, seed)
    for task in stream.tasks:
        yield method.before_task(theta, task)
        method.after_task(theta, task)


def masks(examples):
    _, y, mask = examples.take(torch.arange(len(examples)))
    return mask.expand(len(y), -1)


@SCENARIOS
@pytest.mark.parametrize("budget", [1, 2, 5, 17, 1000])
def test_rehearsal_budget_is_shared_and_never_exceeded(scenario, budget):
    stream = marked(scenario)
    method = toy.make("rehearsal", budget=budget)
    earlier = []
    for k, trained in enumerate(tasks_done(method, stream)):
        assert [len(kept) for kept in method.memory] == [min(budget // k, len(task.train)) for task in stream.tasks[:k]]
        assert sum(len(kept) for kept in method.memory) <= budget
        kept = [numbers(kept) for kept in method.memory]
        for before, now in zip(earlier, kept, strict=False):
            assert now == before[: len(now)], "those kept earlier are cut to their first ones"
        for task, now in enumerate(kept):
            assert len(set(now)) == len(now) and {n // 100 for n in now} <= {task}
        earlier = kept
        times = max(1, len(stream.tasks[k].train) // budget)
        old = [n for each in kept for n in each]
        assert sorted(numbers(trained.train)) == sorted(old * times + numbers(stream.tasks[k].train))


def test_rehearsal_draws_at_random():
    stream = marked("domain")
    drawn = set()
    for seed in range(12):
        method = toy.make("rehearsal", budget=12)
        for _ in tasks_done(method, replace(stream, tasks=stream.tasks[:1]), seed):
            pass
        drawn.add(tuple(numbers(method.memory[0])))
    assert len(drawn) == 12
    seen = {n for each in drawn for n in each}
    assert len(seen) > 40  # of 52; each is missed by 12 draws of 12 with probability 0.04


@pytest.mark.parametrize("name", ["rehearsal", "replay"])
@pytest.mark.parametrize(
    ("scenario", "active_units", "own"),
    [
        ("task", "seen", True),
        ("domain", "seen", False),
        ("class", "seen", False),
        ("class", "current", True),
        ("class", "all", False),
    ],
)
def test_old_examples_are_trained_under_the_right_units(name, scenario, active_units, own):
    """In task-IL, and where only current units are trained, under their own; otherwise under those of the new task."""
    stream = marked(scenario, active_units=active_units)
    method = toy.make(name, **{"rehearsal": {"budget": 40}, "replay": {"memory": 40}}[name])
    theta = toy.begin(method, stream)
    for task in stream.tasks:
        trained = method.before_task(theta, task)
        examples = trained.train if name == "rehearsal" else method.kept
        if task.index > 0:
            home = [stream.tasks[n // 100] for n in numbers(examples)]
            assert {each.index for each in home} >= set(range(task.index))
            expected = torch.stack([(each if own else task).train.parts[0].mask for each in home])
            assert torch.equal(masks(examples), expected)
            y = examples.take(torch.arange(len(examples)))[1]
            assert bool((masks(examples).gather(1, y[:, None]) == 0).all())
        method.after_task(theta, task)


@pytest.mark.parametrize("memory", [180, 1000])
def test_replay_with_room_for_all_keeps_each_once(memory):
    stream = marked("class")
    method = toy.make("replay", memory=memory)
    list(tasks_done(method, stream))
    assert sorted(numbers(method.kept)) == sorted(n for task in stream.tasks for n in numbers(task.train))


def test_replay_never_exceeds_its_memory():
    stream = marked("class")
    for memory in (1, 7, 60):
        method = toy.make("replay", memory=memory)
        for k, _ in enumerate(tasks_done(method, stream)):
            kept = numbers(method.kept) if k else []
            assert len(kept) == len(set(kept)) == min(memory, sum(len(task.train) for task in stream.tasks[:k]))
        assert len(method.kept) == memory


def test_replay_keeps_every_example_with_the_same_probability():
    """12 examples, 4 kept: each of them, and the first, middle and last four together, within 5 standard errors.

    A coordinate's count is binomial; the false alarm of all fifteen bounds together is below 1e-5.
    """
    stream, trials, p = marked("class", sizes=(2, 2, 2)), 600, 4 / 12
    order = [n for task in stream.tasks for n in numbers(task.train)]
    counts = dict.fromkeys(order, 0)
    for seed in range(trials):
        method = toy.make("replay", memory=4)
        theta = torch.zeros(1)
        method.begin(None, theta, lambda role, task, replica=0, seed=seed: generator(seed, role, task))
        for task in stream.tasks:
            method.before_task(theta, task)
            method.after_task(theta, task)
        for n in numbers(method.kept):
            counts[n] += 1
    error = (p * (1 - p) / trials) ** 0.5
    found = torch.tensor([counts[n] / trials for n in order])
    assert float((found - p).abs().max()) < 5 * error
    assert float((found.view(3, 4).mean(1) - p).abs().max()) < 5 * error / 2


@SCENARIOS
def test_replay_contents_do_not_depend_on_how_many_are_replayed(scenario):
    stream = marked(scenario)
    contents, thetas = [], []
    for batch_memory in (1, 20, 1000):
        method = toy.make("replay", memory=15, batch_memory=batch_memory)
        thetas.append(toy.run(method, stream)[1])
        contents.append(numbers(method.kept))
    assert contents[0] == contents[1] == contents[2]
    assert not torch.equal(thetas[0], thetas[1])


def test_replay_takes_distinct_examples_of_earlier_tasks_beside_the_batch(monkeypatch):
    """The loss is one mean over B new and B_m old examples; fewer where the memory holds fewer."""
    stream = marked("task")
    for batch_memory in (6, 1000):
        method = toy.make("replay", memory=15, batch_memory=batch_memory)
        theta = toy.begin(method, stream)
        inputs = []

        def one(theta, x, inputs=inputs):
            inputs.append(x)
            return torch.zeros(len(x), 6).double()

        monkeypatch.setattr(method.net, "_one", one)
        x, y, mask = stream.tasks[1].train.take(torch.arange(9))
        method.before_task(theta, stream.tasks[0])
        method.after_task(theta, stream.tasks[0])
        method.before_task(theta, stream.tasks[1])
        loss = method.loss(theta, x, y, mask)
        torch.testing.assert_close(loss, torch.log(torch.tensor(2.0).double()))  # two units for old and new alike
        seen = inputs[-1].flatten(1)[:, 0].long().tolist()
        assert seen[:9] == x.flatten(1)[:, 0].long().tolist()
        old = seen[9:]
        assert len(old) == len(set(old)) == min(batch_memory, 15)
        assert set(old) <= set(numbers(method.kept)) and max(old) < 100

"""Runs that differ in their seed alone are trained together on an accelerator. Here they are on the CPU, in float64."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import learner, locks, models, streams, sweep, worker
from benchmarks.learner import learn
from benchmarks.run import Run
from benchmarks.stream import Stream
from benchmarks.trace import Trace
from benchmarks.worker import Context, Job, Outcome, execute
from methods.base.errors import UserError
from methods.base.examples import Stacked
from methods.base.net import Net
from tests.support import sweeps, toy

TRAIN = {"net": "mlp-8", "optimizer": "sgd", "lr": 0.1, "optimizer_state": "keep", "batch": 16, "epochs": 2}
SEEDS = (3, 5)
HERE = Context("cpu", "here", "of the data", "of the code")
STACKING = [(name, scenario) for name, scenario in toy.CASES if toy.make(name).stacks]


def permuted(scenario: str, seed: int) -> Stream:
    """The toy stream, its pixels and its training examples in an order of the seed."""
    stream, draws = toy.stream(scenario, sizes=toy.SMALL), torch.Generator().manual_seed(seed)
    gather = torch.randperm(16, generator=draws)
    tasks, tests = [], []
    for task, test in zip(stream.tasks, stream.tests, strict=True):
        (part,), order = task.train.parts, torch.randperm(len(task.train), generator=draws)
        train = replace(task.train, parts=(replace(part.only(order), gather=gather),))
        tasks.append(replace(task, train=train))
        tests.append(replace(test, parts=(replace(test.parts[0], gather=gather),)))
    return replace(stream, tasks=tuple(tasks), tests=tuple(tests))


def runs(**method):
    """Runs on the digits in orders of their seeds. Digits are not equally many."""
    stream = {"name": "splitdigits", "order": "seeded"}
    return [Run.of(stream, "domain", method or {"name": "naive"}, TRAIN, seed) for seed in SEEDS]


def on_digits(seed):
    """A run on a stream that all seeds share."""
    return Run.of({"name": "splitdigits"}, "task", {"name": "naive"}, TRAIN, seed)


@pytest.mark.parametrize(("name", "scenario"), STACKING)
def test_each_replica_has_the_counts_of_its_run_on_its_own_stream(name, scenario):
    """Counts are equal, and parameters to rounding, where pixels and order depend on the seed."""
    own = [permuted(scenario, seed) for seed in SEEDS]
    if toy.make(name).joins_tasks:
        own = [stream.joined() for stream in own]
    nets = [Net(toy.module(own[0], seed)) for seed in SEEDS]
    theta = torch.stack([net.vector() for net in nets])
    counts, thetas = learn(toy.make(name), nets[0], theta, Stream.stacked(own), toy.TRAIN, SEEDS)
    for r, (stream, net, seed) in enumerate(zip(own, nets, SEEDS, strict=True)):
        alone, expected = learn(toy.make(name), net, net.vector(), stream, toy.TRAIN, (seed,))
        torch.testing.assert_close(thetas[r], expected, rtol=1e-9, atol=1e-10)
        assert [[cell and cell[r] for cell in row] for row in counts] == alone


def test_a_stack_shares_pixels_that_are_equal_and_keeps_others():
    streams = [permuted("class", seed) for seed in SEEDS]
    train = Stream.stacked(streams).tasks[0].train
    assert isinstance(train, Stacked) and len(train) == len(streams[0].tasks[0].train)
    first, second = train.replicas
    assert second.parts[0].source is first.parts[0].source is streams[0].tasks[0].train.parts[0].source
    other = replace(streams[1].tasks[0].train.parts[0], source=first.parts[0].source + 1)
    own = Stacked.of([first, replace(second, parts=(other,))]).replicas[1].parts[0].source
    assert torch.equal(own, other.source)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: toy.stream("class", sizes=(9, 9, 11)), "other numbers of examples"),
        (lambda: toy.stream("task", sizes=toy.SMALL), "other output units"),
        (lambda: toy.stream("class", sizes=toy.SMALL, active_units="all"), "train other output units"),
    ],
)
def test_streams_that_cannot_be_stacked_say_why(other, message):
    with pytest.raises(UserError, match=message):
        Stream.stacked([toy.stream("class", sizes=toy.SMALL), other()])


def test_a_job_of_several_seeds_leaves_a_record_of_each():
    together = runs(name="ewc", lam=1.0)
    own = [streams.build(run.stream, run.scenario, run.stream_seed, "none") for run in together]
    shared = [own[0], own[0]]
    found = execute(together, shared, HERE, 1.0)
    assert [record.run for record in found] == together
    assert [record.replicas for record in found] == [2, 2] and found[0].reason is None
    for record, run in zip(found, together, strict=True):
        (alone,) = execute([run], [own[0]], HERE, 1.0)
        assert alone.replicas == 1 and record.seeds == alone.seeds and record.memory == alone.memory
        assert record.accuracy == pytest.approx(alone.accuracy, abs=0.05)  # float32 rounds otherwise when stacked
    assert found[0].correct != found[1].correct


def test_streams_of_other_sizes_are_done_one_by_one():
    together = runs()
    job = Job(together[0], "none", HERE, beside=(SEEDS[1],))
    assert job.runs == together and Job.from_text(job.to_text()) == job
    found = Outcome.from_text(worker.work(job.to_text())).records
    assert [record.run for record in found] == together
    assert [record.reason for record in found] == [None, None] and {record.replicas for record in found} == {1}


def test_a_replica_that_diverges_costs_the_others_nothing(monkeypatch):
    """A stack ends with the replica that diverges. Then each run is done by itself, and that one fails alone."""
    asked = []

    def start(method, streams, train, seeds, *rest):
        asked.append(seeds)
        if SEEDS[1] in seeds:
            raise learner.Diverged("the loss is not finite at step 0 of task 1")
        return learner.start(method, streams, train, seeds, *rest)

    monkeypatch.setattr(worker, "start", start)
    first, second = Outcome.from_text(
        worker.work(Job(on_digits(SEEDS[0]), "none", HERE, beside=(SEEDS[1],)).to_text())
    ).records
    assert asked == [SEEDS, SEEDS[:1], SEEDS[1:]]
    (alone,) = Outcome.from_text(worker.work(Job(on_digits(SEEDS[0]), "none", HERE).to_text())).records
    assert first.reason is None and first.correct == alone.correct
    assert second.diverged and second.run.seed == SEEDS[1] and (first.replicas, second.replicas) == (1, 1)


def test_nets_with_statistics_or_dropout_are_not_stacked(monkeypatch):
    stream = toy.stream("class", torch.float32)
    train = learner.Train(**TRAIN)
    for layer in (nn.BatchNorm1d(8), nn.Dropout(0.5)):
        monkeypatch.setattr(
            models, "build", lambda *_, layer=layer: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), layer)
        )
        with pytest.raises(UserError, match="replicas of mlp-8 would share batch statistics"):
            learner.start(toy.make("naive"), [stream], train, SEEDS, "cpu", Trace())


def test_a_sweep_trains_seeds_together_on_an_accelerator_alone():
    every = [
        *runs(),
        *runs(name="ewc", lam=1.0),
        *runs(name="replay", memory=5, batch_memory=2),
    ]
    assert sweep._together(every, "cpu") == [[run] for run in every]
    assert sweep._together(every, "cuda") == [every[:2], every[2:4], [every[4]], [every[5]]]
    many = [replace(every[0], seed=seed) for seed in range(1, sweep.STACK + 3)]
    assert [len(group) for group in sweep._together(many, "cuda")] == [sweep.STACK, 2]


@pytest.fixture
def stacked(tmp_path, monkeypatch):
    """What sweeps three seeds as one stack in this process: (runs, folder, executor, sweep)."""
    pool = sweeps.Inline()
    monkeypatch.setattr(sweep, "_together", lambda todo, device: [todo])
    monkeypatch.setattr(sweep, "Processes", lambda n: pool)
    return (
        [on_digits(seed) for seed in (1, 2, 3)],
        tmp_path,
        pool,
        lambda runs: sweep.sweep(runs, tmp_path, tmp_path, 1),
    )


def replicas(todo, folder):
    """How many were trained with each run; None has no record."""
    records = sweep.survey(todo, folder, folder).records
    assert all(found is None or found.run == run for found, run in zip(records, todo, strict=True))
    return [found and found.replicas for found in records]


def test_a_sweep_leaves_the_records_of_a_stack_and_a_run_that_is_done_is_no_part_of_it(stacked):
    todo, folder, _, do = stacked
    assert do(todo[:1]) == [] and replicas(todo, folder) == [1, None, None]
    assert do(todo) == [] and replicas(todo, folder) == [1, 2, 2]


def test_the_seconds_of_a_stack_are_shared_among_its_records(monkeypatch):
    def start(method, built, train, seeds, device, trace, checkpoint):
        trace.seconds |= {"training": 6.0, "evaluation": 1.5}

    monkeypatch.setattr(worker, "start", start)
    todo = [on_digits(seed) for seed in (1, 2, 3)]
    records = execute(todo, [toy.stream()] * 3, HERE, 0.25)
    assert [found.seconds for found in records] == [
        {"data": 0.25, "training": 2.0, "importance": 0.0, "evaluation": 0.5}
    ] * 3


def test_a_run_that_another_sweep_has_waits_and_the_rest_of_its_stack_does_not(stacked, monkeypatch):
    todo, folder, _, do = stacked
    held = locks.acquire(folder, todo[0])
    seen = []

    def sleep(seconds):
        seen.append(replicas(todo, folder))
        locks.release(held)

    monkeypatch.setattr(sweep.time, "sleep", sleep)
    assert do(todo) == [] and seen == [[None, 2, 2]]
    assert replicas(todo, folder) == [1, 2, 2]


def test_a_worker_that_dies_twice_fails_all_runs_of_its_stack(stacked):
    todo, _, pool, do = stacked
    pool.dies = (todo[0],)
    failed = do(todo)
    assert [found.run for found in failed] == todo and pool.worked == [todo[0]] * 2
    assert all("its worker was killed (out of memory?), 2 times" in found.reason for found in failed)

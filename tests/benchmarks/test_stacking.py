"""Runs that differ in their seed alone are trained together on an accelerator. Here they are on the CPU, in float64."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import methods
from benchmarks import learner, models, streams, sweep, worker
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
STACKING = [(name, s) for name, s in toy.CASES if methods.find(name).stacks is not False]


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


@pytest.mark.parametrize(("name", "scenario"), STACKING)
def test_each_replica_has_the_counts_of_its_run_on_its_own_stream(name, scenario):
    """Counts are equal, and parameters to rounding, where pixels and order depend on the seed."""
    if not toy.make(name).stacks:
        pytest.skip("keeps the memory of one run")
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


def test_what_cannot_be_stacked_is_done_one_by_one(monkeypatch):
    """Streams of other sizes, or a replica that diverges, cost the others nothing."""
    together = runs()
    job = Job(together[0], "none", HERE, beside=(SEEDS[1],))
    assert job.runs == together and Job.from_text(job.to_text()) == job
    found = Outcome.from_text(worker.work(job.to_text())).records
    assert [record.run for record in found] == together
    assert [record.reason for record in found] == [None, None] and {record.replicas for record in found} == {1}


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


def test_a_sweep_of_stacks_leaves_the_records_of_all_runs(tmp_path, monkeypatch):
    """A run that is done is left out of its stack, one that another sweep has waits, and a dead worker costs a try."""
    monkeypatch.setattr(sweep, "_together", lambda todo, device: [todo])
    todo = [Run.of({"name": "splitdigits"}, "task", {"name": "naive"}, TRAIN, seed) for seed in (1, 2, 3)]
    pool = sweeps.Inline()
    monkeypatch.setattr(sweep, "Processes", lambda n: pool)
    assert sweep.sweep(todo[:1], tmp_path, tmp_path, 1) == []
    assert sweep.sweep(todo, tmp_path, tmp_path, 1) == []
    state = sweep.survey(todo, tmp_path, tmp_path)
    assert [record.run for record in state.records] == todo
    assert [record.replicas for record in state.records] == [1, 2, 2]

"""Curves of a run: they hold what the run did, and change nothing of it."""

import math
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks import data, learner, locks, worker
from benchmarks.run import Run
from benchmarks.trace import Trace
from benchmarks.tracking import EVERY, Curves
from benchmarks.worker import Context, Job, Outcome
from methods.base.net import Net
from tests.support import toy
from tests.support.sweeps import TRAIN

EWC = Run.of({"name": "splitdigits"}, "class", {"name": "ewc", "lam": 100.0}, TRAIN | {"epochs": 2}, 1)


@pytest.fixture
def job(tmp_path):
    """The run, for a worker's work to be done in this process, with its curves."""
    context = Context("cpu", "abc", data.fingerprint("digits", Path("data")), EWC.digest)
    return Job(EWC, "data", context, str(tmp_path / "run.pt"), curves=str(tmp_path / "curves"))


def do(job):
    return Outcome.from_text(worker.work(job.to_text()))


def folder_of(job, run=EWC):
    """Where a run's curves are."""
    return Path(job.curves) / locks.name(run)


def read(folder):
    """{tag: [(step, value), ...]} of the event files in a folder."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def of_record(found, steps):
    """The accuracy curves that a record's counts give."""
    curves = defaultdict(list)
    for k, row in enumerate(found.correct):
        seen = [right / total for right, total in zip(row[:k], found.total, strict=False)]
        for j, right in enumerate(row):
            if right is not None:
                curves[f"accuracy/task_{j + 1}"].append((steps[k], pytest.approx(right / found.total[j])))
        if k:
            curves["accuracy/mean"].append((steps[k], pytest.approx(sum(seen) / k)))
    return dict(curves)


@pytest.fixture
def watched(monkeypatch):
    """The losses and thetas of every step that the loop takes, and the number of steps after each task."""
    losses, ends, step, fit = [], [0], learner._step, learner.fit

    def _step(method, theta, *rest):
        penalty = method.quadratic.value(theta)
        losses.append((step(method, theta, *rest), penalty))
        return losses[-1][0]

    def counting(*arguments):
        fit(*arguments)
        ends.append(len(losses))

    monkeypatch.setattr(learner, "_step", _step)
    monkeypatch.setattr(learner, "fit", counting)
    return losses, ends


def test_the_curves_hold_what_the_run_did(job, watched):
    losses, ends = watched
    (found,) = do(job).records
    assert found.reason is None
    curves = read(folder_of(job))
    points = range(0, len(losses), EVERY)
    assert len(points) > 5
    assert curves.pop("loss") == [(step, pytest.approx(float(losses[step][0]))) for step in points]
    penalties = {step: float(losses[step][1]) for step in points if step >= ends[1]}
    assert losses[ends[1] - 1][1] is None and max(penalties.values()) > 0
    assert curves.pop("penalty") == [(step, pytest.approx(value)) for step, value in penalties.items()]
    assert curves == of_record(found, ends)


def measured_apart(records):
    """Records without what a clock or the machine gave."""
    return [replace(found, seconds={}, peak_memory_mb=0.0) for found in records]


@pytest.mark.parametrize("beside", [(), (2, 3)], ids=["alone", "together"])
def test_the_records_are_the_same_to_the_bit(job, beside):
    job = replace(job, beside=beside)
    tracked, plain = do(job), do(replace(job, curves=""))
    assert tracked.notes == plain.notes == () and not any(found.reason for found in tracked.records)
    assert measured_apart(tracked.records) == measured_apart(plain.records)


def test_runs_that_are_trained_together_have_curves_of_their_own(job, watched):
    _, ends = watched
    job = replace(job, beside=(2, 3))
    records = do(job).records
    losses = []
    for run, found in zip(job.runs, records, strict=True):
        curves = read(folder_of(job, run))
        losses.append(curves.pop("loss"))
        assert curves.pop("penalty")
        assert found.replicas == 3 and curves == of_record(found, ends)
    assert len({tuple(loss) for loss in losses}) == 3


@pytest.mark.parametrize("name", toy.CLASSES)
def test_a_method_that_is_followed_does_the_same_to_the_bit(name, tmp_path):
    stream = toy.stream(toy.CLASSES[name].scenarios[0], sizes=toy.SMALL)
    method, trace = toy.make(name), Trace()
    stream = stream.joined() if method.joins_tasks else stream
    curves = Curves([tmp_path])
    curves.follow(method, trace, [len(test) for test in stream.tests])
    net = Net(toy.module(stream))
    correct, theta = learner.learn(method, net, net.vector(), stream, toy.TRAIN, (1,), trace)
    curves.close()
    expected = toy.make(name)
    others, plain = toy.run(expected, toy.stream(stream.scenario, sizes=toy.SMALL))
    assert curves.notes == [] and correct == others and torch.equal(theta, plain)
    assert method.state().keys() == expected.state().keys() and toy.plain(method.state())
    written = read(tmp_path)
    assert written["loss"] and all(math.isfinite(value) for _, value in written["loss"])
    assert len(written["accuracy/mean"]) == len(stream.tasks)


@pytest.mark.parametrize("stops", [(2,), (1, 3)], ids=["once", "twice"])
def test_a_run_that_is_stopped_has_the_curves_of_one_that_is_not(job, stops, tmp_path, monkeypatch):
    whole = replace(job, curves=str(tmp_path / "whole"), checkpoint=str(tmp_path / "whole.pt"))
    do(whole)
    monkeypatch.setattr(worker, "CHECKPOINT_EVERY", 0.0)
    step, begun, due = learner._step, [], list(stops)

    def stopping(method, *rest):
        """Stop in the middle of a task, so that some of its points are written."""
        loss = step(method, *rest)
        begun.append(method)
        if due and len(begun) == 15:
            raise KeyboardInterrupt
        return loss

    fit = learner.fit

    def counting(method, theta, task, *rest):
        begun.clear()
        if not due or task.index != due[0]:
            monkeypatch.setattr(learner, "_step", step)
        else:
            monkeypatch.setattr(learner, "_step", stopping)
        fit(method, theta, task, *rest)

    monkeypatch.setattr(learner, "fit", counting)
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            do(job)
        due.pop(0)
    assert do(job).records[0].reason is None
    assert len(list(folder_of(job).glob("events*"))) == len(stops) + 1
    assert read(folder_of(job)) == read(folder_of(whole))


def test_a_run_that_is_done_anew_begins_its_curves_anew(job):
    do(job)
    before = read(folder_of(job))
    do(job)
    assert read(folder_of(job)) == before and len(list(folder_of(job).glob("events*"))) == 1


def test_without_it_nothing_is_imported(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "benchmarks.tracking", None)  # an import would be an error
    assert do(replace(job, curves="")).records[0].reason is None
    with pytest.raises(ModuleNotFoundError):
        do(job)


def test_a_folder_that_cannot_be_written_costs_the_curves_and_not_the_run(job, tmp_path):
    (tmp_path / "curves").write_text("mine", encoding="utf-8")
    outcome = do(job)
    assert outcome.records[0].reason is None
    (note,) = outcome.notes
    assert job.curves in note and "\n" not in note

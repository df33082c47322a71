"""Sweeps: what is missing is run, finished runs are never lost or repeated, whatever stops or doubles the sweep."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from benchmarks import data, learner, record, run, sweep
from benchmarks.run import Context, execute
from benchmarks.stream import unpack
from methods.base.errors import UserError
from tests.support import sweeps
from tests.support.sweeps import RUNS

ROOT = Path("data")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the sweeps in other processes read."""
    folder = tmp_path_factory.mktemp("place")
    sweeps.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def two_at_once(place, tmp_path_factory):
    """Two sweeps of one worker each, at once in one folder: (the folder, every version of every record, outputs)."""
    folder, seen = tmp_path_factory.mktemp("two"), {}
    (place / "go").unlink(missing_ok=True)
    processes = [sweeps.start(place, sweeps.SWEEP, folder, 1) for _ in range(2)]
    try:
        (place / "go").touch()
        while any(process.poll() is None for process in processes):
            for file, version in sweeps.versions(folder).items():
                seen.setdefault(file, set()).add(version)
            time.sleep(0.002)
    finally:
        outputs = [sweeps.finish(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return folder, seen, outputs


@pytest.fixture(scope="module")
def killed(place, tmp_path_factory):
    """A sweep of two workers, its parent killed half-way, then done again: (folder, records, all whole, left over)."""
    folder = tmp_path_factory.mktemp("killed")
    (place / "go").touch()
    process = sweeps.start(place, sweeps.SWEEP, folder, 2)
    try:
        sweeps.wait_for(folder, 3, process)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        sweeps.finish(process)
    before, whole = sweeps.versions(folder), sweeps.damaged(folder) == []
    left = list(folder.glob(".streams-*"))
    sweep.sweep(RUNS, folder, ROOT, 2)
    return folder, before, whole, left


def results(folder):
    return {record.path(Path(), run).as_posix(): record.load(record.path(folder, run)).correct for run in RUNS}


def test_two_sweeps_at_once_do_every_run_once(two_at_once):
    folder, seen, outputs = two_at_once
    assert sorted(seen) == sorted(record.path(Path(), run).as_posix() for run in RUNS)
    assert {file: len(written) for file, written in seen.items()} == dict.fromkeys(seen, 1)
    assert sweeps.damaged(folder) == []
    assert not any("Traceback" in output for output in outputs)


def test_a_killed_sweep_leaves_whole_records_and_goes_on(killed):
    folder, before, whole, left = killed
    after = sweeps.versions(folder)
    assert whole and 3 <= len(before) < len(after) == len(RUNS)
    assert {file: after[file] for file in before} == before
    assert len(left) == 1 and list(folder.glob(".streams-*")) == []


def test_two_workers_and_one_give_the_same_to_the_bit(two_at_once, killed):
    assert results(two_at_once[0]) == results(killed[0])


def test_nothing_is_left_to_do(two_at_once, monkeypatch):
    folder, _, _ = two_at_once
    monkeypatch.setattr(sweep, "_spool", None)
    monkeypatch.setattr(sweep, "_drive", None)
    state = sweep.survey(RUNS, folder, ROOT)
    assert [found.run for found in state.records] == RUNS and state.stale == state.damaged == []
    before = sweeps.versions(folder)
    sweep.sweep(RUNS, folder, ROOT, 1)
    assert sweeps.versions(folder) == before


def test_a_run_that_is_named_twice_is_done_once(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sweep, "_spool", lambda todo, *_: todo)
    monkeypatch.setattr(sweep, "_drive", lambda jobs, *_: asked.extend(jobs))
    sweep.sweep([RUNS[0], RUNS[1], RUNS[0]], tmp_path, ROOT, 1)
    assert asked == RUNS[:2]


@pytest.fixture
def one(tmp_path, place):
    """The first run, for a worker's work to be done in this process: (its record's file, the job)."""
    file = tmp_path / "streams.pt"
    torch.save([torch.load(place / "streams.pt", weights_only=True)["task"]], file)
    context = Context("cpu", "abc", data.fingerprint("digits", ROOT), run.digest(RUNS[0]))
    return record.path(tmp_path, RUNS[0]), sweep.Job(RUNS[0], file, 0, context, 0.5)


def test_a_worker_does_what_is_missing_or_stale_and_nothing_else(tmp_path, one, monkeypatch):
    file, job = one
    done = []

    def counted(*arguments):
        done.append(arguments[0])
        return execute(*arguments)

    monkeypatch.setattr(sweep, "execute", counted)
    assert sweep._work(job, tmp_path, 0.0) and done == [RUNS[0]]
    found = record.load(file)
    assert found.seconds["data"] == 0.5 and found.run == RUNS[0]
    assert sweep._work(job, tmp_path, 0.0) and len(done) == 1
    for n, stale in enumerate(({"digest": "another"}, {"data": "another"}), start=2):
        file.write_text(json.dumps({**json.loads(file.read_text()), **stale}))
        state = sweep.survey(RUNS[:1], tmp_path, ROOT)
        assert (state.records, state.stale, state.damaged) == ([None], [file], [])
        assert sweep._work(job, tmp_path, 0.0) and len(done) == n
        assert sweep.survey(RUNS[:1], tmp_path, ROOT).records[0].correct == found.correct


def test_a_run_that_is_stopped_goes_on_from_its_last_task(tmp_path, one, monkeypatch):
    file, job = one
    assert sweep._work(job, tmp_path, 0.0)
    whole, kept = record.load(file), file.rename(tmp_path / "whole.json")
    monkeypatch.setattr(run, "CHECKPOINT_EVERY", 0.0)
    fit, trained = learner.fit, []

    def stopping(method, theta, task, *rest):
        if trained == [0, 1]:
            raise KeyboardInterrupt
        trained.append(task.index)
        fit(method, theta, task, *rest)

    monkeypatch.setattr(learner, "fit", stopping)
    with pytest.raises(KeyboardInterrupt):
        sweep._work(job, tmp_path, 0.0)
    (checkpoint,) = (tmp_path / ".checkpoints").iterdir()
    stale = checkpoint.with_name(checkpoint.name.replace(job.context.digest, "0123456789abcdef"))
    stale.write_bytes(b"of older code")
    monkeypatch.setattr(learner, "fit", lambda *arguments: (trained.append(arguments[2].index), fit(*arguments)))
    assert sweep._work(job, tmp_path, 0.0)
    assert trained == [0, 1, 2, 3, 4]
    assert record.load(file).correct == whole.correct == record.load(kept).correct
    assert not checkpoint.exists() and not stale.exists()


def test_a_run_that_another_sweep_has_is_left_to_it(tmp_path, one):
    file, job = one
    lock = tmp_path / ".locks" / f"{file.stem}-task-splitdigits.lock"
    lock.parent.mkdir()
    with FileLock(lock):
        assert not sweep._work(job, tmp_path, 0.0)
        assert not file.exists()
    assert sweep._work(job, tmp_path, 0.0) and file.exists()


@pytest.mark.parametrize("content", ["", '{"schema": 1, "run": {', "<html>"])
def test_a_damaged_record_is_set_aside(tmp_path, content):
    file = record.path(tmp_path, RUNS[0])
    file.parent.mkdir(parents=True)
    file.write_text(content)
    state = sweep.survey(RUNS[:2], tmp_path, ROOT)
    (aside,) = state.damaged
    assert state.records == [None, None] and state.stale == []
    assert aside.read_text() == content and aside.parent == file.parent and not file.exists()
    assert sweep.survey(RUNS[:2], tmp_path, ROOT).damaged == []


def test_a_failed_run_is_a_result_and_not_repeated(tmp_path, one, monkeypatch):
    _, job = one
    sgd = {**RUNS[0], "train": {**RUNS[0]["train"], "optimizer": "sgd", "lr": 1e30}}
    assert sweep._work(sweep.Job(sgd, job.streams, 0, job.context, 0.0), tmp_path, 0.0)
    (found,) = sweep.survey([sgd], tmp_path, ROOT).records
    assert found.reason and found.correct is None
    monkeypatch.setattr(sweep, "_spool", None)
    sweep.sweep([sgd], tmp_path, ROOT, 1)


def test_streams_are_written_once_for_all_runs(tmp_path):
    file = tmp_path / "streams.pt"
    jobs = sweep._spool(RUNS, ROOT, file, "cpu")
    assert [job.run for job in jobs] == RUNS and {job.index for job in jobs} == {0, 1}
    packed = sweep._load(file)
    assert len(packed) == 2
    for job in jobs:
        assert unpack(packed[job.index]).scenario == job.run["scenario"]
        assert job.seconds_of_data > 0
    images = data.load("digits", ROOT)
    assert file.stat().st_size < 1.5 * 4 * (images.train_x.numel() + images.test_x.numel())


@pytest.mark.parametrize("where", ["file/results", "file"])
def test_a_results_folder_that_cannot_be_written(tmp_path, where):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=f"{tmp_path / where}") as error:
        sweep.sweep(RUNS, tmp_path / where, ROOT, 1)
    assert "\n" not in str(error.value) and (tmp_path / "file").read_text() == "mine"


def test_a_disk_that_is_full_before_the_first_run(tmp_path, monkeypatch):
    def full(*arguments):
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(sweep.torch, "save", full)
    with pytest.raises(UserError, match=f"cannot write the streams to {tmp_path}") as error:
        sweep.sweep(RUNS, tmp_path, ROOT, 1)
    assert "\n" not in str(error.value)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [] == list(tmp_path.glob(".streams-*"))


def test_streams_of_a_sweep_at_work_are_left_alone(tmp_path):
    mine, gone = tmp_path / f".streams-{os.getpid()}-x", tmp_path / ".streams-999999999-x"
    mine.mkdir()
    gone.mkdir()
    sweep._sweep_leftovers(tmp_path)
    assert mine.exists() and not gone.exists()

"""Sweeps: what is missing is run, finished runs are never lost or repeated, whatever stops or doubles the sweep."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from benchmarks import data, locks, record, sweep, worker
from benchmarks.executors import FORKS, PRELOADED, Processes
from benchmarks.files import ROOT as CHECKOUT
from benchmarks.run import Run
from benchmarks.worker import Context, Job, Outcome
from methods.base.errors import UserError
from tests.support import sweeps
from tests.support.sweeps import RUNS, TRAIN, Inline

ROOT = Path("data")


@pytest.fixture(scope="module")
def two_at_once(tmp_path_factory):
    """Two sweeps of one worker each, at once in one folder: (the folder, every version of every record, outputs)."""
    folder, seen = tmp_path_factory.mktemp("two"), {}
    processes = [sweeps.sweep(folder, 1) for _ in range(2)]
    try:
        while any(process.poll() is None for process in processes):
            for file, version in sweeps.versions(folder).items():
                seen.setdefault(file, set()).add(version)
            time.sleep(0.002)
    finally:
        outputs = [sweeps.finish(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return folder, seen, outputs


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A sweep of two workers, one of them killed at work and later the parent, then done again in this process.

    (folder, records when the parent was killed, all whole, output)
    """
    folder = tmp_path_factory.mktemp("killed")
    process = sweeps.sweep(folder, 2)
    try:
        sweeps.wait_for(folder, 2, process)
        os.kill(sweeps.workers(process)[0], signal.SIGKILL)
        sweeps.wait_for(folder, 5, process)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        output = sweeps.finish(process)
    before, whole = sweeps.versions(folder), sweeps.damaged(folder) == []
    (folder / RUNS[-1].place).with_name(f".{RUNS[-1].place.name}.left").write_text("half", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "Processes", Inline)
        assert sweep.sweep(RUNS, folder, ROOT, 1) == []
    return folder, before, whole, output


def results(folder):
    return {run: record.load(folder / run.place).correct for run in RUNS}


def test_two_sweeps_at_once_do_every_run_once(two_at_once):
    folder, seen, outputs = two_at_once
    assert sorted(seen) == sorted(run.place.as_posix() for run in RUNS)
    assert {file: len(written) for file, written in seen.items()} == dict.fromkeys(seen, 1)
    assert sweeps.damaged(folder) == []
    assert not any("Traceback" in output for output in outputs)


def test_a_killed_worker_costs_its_run_and_a_killed_sweep_goes_on(killed):
    folder, before, whole, output = killed
    assert "was killed (out of memory?): the run is tried again" in output and "Traceback" not in output
    after = sweeps.versions(folder)
    assert whole and 5 <= len(before) < len(after) == len(RUNS)
    assert {file: after[file] for file in before} == before


def test_nothing_is_left_lying_about(two_at_once, killed):
    for folder in (two_at_once[0], killed[0]):
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert sorted(files) == sorted(folder / run.place for run in RUNS)


def test_two_workers_one_and_none_give_the_same_to_the_bit(two_at_once, killed):
    assert results(two_at_once[0]) == results(killed[0])


def test_nothing_is_left_to_do(two_at_once, monkeypatch):
    folder, _, _ = two_at_once
    monkeypatch.setattr(sweep, "Processes", None)
    state = sweep.survey(RUNS, folder, ROOT)
    assert [found.run for found in state.records] == RUNS and state.stale == state.damaged == []
    before = sweeps.versions(folder)
    assert sweep.sweep([*RUNS, RUNS[0]], folder, ROOT, 1) == []
    assert sweeps.versions(folder) == before


def test_a_worker_has_one_thread_and_flushes_denormals(two_at_once):
    folder, _, _ = two_at_once
    assert {record.load(folder / run.place).machine["threads"] for run in RUNS} == {1}


FINE = RUNS[0]
HOT = Run.of(
    {"name": "splitdigits"}, "class", {"name": "icarl", "K": 50}, TRAIN | {"net": "mlp-20", "lr": 3.0, "epochs": 2}, 1
)
DIVERGES = Run.of({"name": "splitdigits"}, "class", {"name": "naive"}, TRAIN | {"optimizer": "sgd", "lr": 1e30}, 1)


def test_processes_leave_one_server_that_knows_torch_and_none_of_our_code():
    """Code that changes between two sweeps of one process is that of the second in the second."""
    before = signal.getsignal(signal.SIGINT)
    loaded = f"[name in __import__('sys').modules for name in {[*PRELOADED, 'benchmarks.learner']}]"
    with Processes(2) as executor:
        futures = [executor.submit(eval, f"(__import__('os').getppid(), {loaded})") for _ in range(2)]
        (server, first), (same, second) = (future.result() for future in futures)
    assert first == second == [True, True, False]
    assert server == same != os.getpid()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not FORKS, reason="processes are forked on Linux alone")
@pytest.mark.parametrize(
    ("own", "there"),
    [
        ("", "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.tcache_count=0", "glibc.malloc.tcache_count=0:glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=0"),
    ],
)
def test_workers_ask_for_large_pages_unless_the_user_says_otherwise(own, there):
    code = """
import os
from benchmarks.executors import Processes
with Processes(1) as pool:
    print(pool.submit(os.getenv, "GLIBC_TUNABLES").result())
"""
    environment = {**os.environ, "GLIBC_TUNABLES": own}
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, there), done.stderr


def test_a_process_that_dies_while_it_is_idle_is_replaced():
    with Processes(1) as executor:
        first = executor.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        (pool,) = executor._last
        while not pool._broken:
            time.sleep(0.01)
        assert executor.submit(os.getpid).result() != first


def test_other_processes_of_the_caller_outlive_a_sweep_that_is_stopped():
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        executor = Processes(1)
        own = executor.submit(os.getpid).result()
        executor.shutdown(cancel_futures=True)
        assert other.is_alive() and not Path(f"/proc/{own}").exists()
    finally:
        other.kill()
        other.join()


def test_a_bad_run_is_a_failed_record_with_its_reason_and_the_sweep_goes_on(tmp_path, monkeypatch):
    runs = [HOT, DIVERGES, FINE]
    failed = sweep.sweep(runs, tmp_path, ROOT, 1)
    assert {found.run for found in failed} == {HOT, DIVERGES}
    hot, diverged, fine = sweep.survey(runs, tmp_path, ROOT).records
    assert "features of norm 0" in hot.reason and "is not finite" in diverged.reason and fine.reason is None
    assert hot.accuracy is None and diverged.accuracy is None
    monkeypatch.setattr(sweep, "Processes", None)
    assert sweep.sweep(runs, tmp_path, ROOT, 1) == []  # a failed run is a result and not repeated


def sweep_inline(monkeypatch, runs, folder, dies=()):
    executor = Inline(dies=dies)
    monkeypatch.setattr(sweep, "Processes", lambda n: executor)
    return sweep.sweep(runs, folder, ROOT, 1), executor.worked


def test_a_run_that_always_kills_its_worker_is_tried_twice_and_then_failed(tmp_path, monkeypatch):
    other = RUNS[1]
    (failed,), worked = sweep_inline(monkeypatch, [FINE, other], tmp_path, dies=(FINE,))
    assert worked.count(FINE) == 2 and worked.count(other) == 1
    assert failed.run == FINE and "its worker was killed (out of memory?), 2 times" in failed.reason
    first, second = sweep.survey([FINE, other], tmp_path, ROOT).records
    assert first == failed and second.reason is None


@pytest.mark.parametrize("error", [UserError("too few images"), IndexError("no such task"), SystemExit("left")])
def test_a_seed_whose_stream_cannot_be_built_is_a_failed_record(error, tmp_path, monkeypatch):
    from benchmarks import streams

    runs = [Run.of({"name": "splitdigits", "order": "seeded"}, "class", {"name": "naive"}, TRAIN, s) for s in (1, 2, 3)]
    build = streams.build

    def picky(stream, scenario, seed, root):
        if seed == 2:
            raise error
        return build(stream, scenario, seed, root)

    monkeypatch.setattr(streams, "build", picky)
    (failed,), worked = sweep_inline(monkeypatch, runs, tmp_path)
    assert worked == runs and failed.run.seed == 2 and str(error) in failed.reason
    assert [found.reason is None for found in sweep.survey(runs, tmp_path, ROOT).records] == [True, False, True]


def test_data_that_are_gone_stop_the_sweep_and_fail_no_run(tmp_path, monkeypatch):
    from benchmarks import streams

    runs = [Run.of({"name": "splitdigits", "order": "seeded"}, "class", {"name": "naive"}, TRAIN, s) for s in (1, 2, 3)]
    build = streams.build

    def gone(*_):
        raise UserError("the data are gone")

    def until_then(stream, scenario, seed, root):
        if seed == 2:
            monkeypatch.setattr(worker.data, "load", gone)
            gone()
        return build(stream, scenario, seed, root)

    monkeypatch.setattr(streams, "build", until_then)
    with pytest.raises(UserError, match="naive class seed 2: the data are gone"):
        sweep_inline(monkeypatch, runs, tmp_path)
    assert [found and found.reason for found in sweep.survey(runs, tmp_path, ROOT).records] == [None, None, None]
    assert len(sweeps.versions(tmp_path)) == 1


def test_an_error_in_a_method_is_a_failed_record_that_names_the_place(tmp_path, monkeypatch):
    import methods.ewc

    def broken(self, theta, task):
        raise KeyError("no such thing")

    monkeypatch.setattr(methods.ewc.EWC, "after_task", broken)
    (failed,), worked = sweep_inline(monkeypatch, RUNS[:2], tmp_path)
    assert worked == RUNS[:2]
    assert (
        failed.reason == f"KeyError: 'no such thing' ({Path(__file__).name}, line {broken.__code__.co_firstlineno + 1})"
    )


def test_a_diverged_run_keeps_the_tasks_before(tmp_path, monkeypatch):
    from benchmarks import learner

    fit = learner.fit

    def diverging(method, theta, task, *rest):
        if task.index == 2:
            raise learner.Diverged("the loss is not finite")
        return fit(method, theta, task, *rest)

    monkeypatch.setattr(learner, "fit", diverging)
    (failed,), _ = sweep_inline(monkeypatch, [FINE], tmp_path)
    assert [any(c is not None for c in row) for row in failed.correct] == [False, True, True, False, False, False]


def test_what_cannot_begin_stops_the_sweep_before_any_training(tmp_path, monkeypatch):
    odd = Run.of({"name": "splitdigits", "tasks": 3}, "class", {"name": "naive"}, TRAIN, 1)
    executor = Inline()
    monkeypatch.setattr(sweep, "Processes", lambda n: executor)
    with pytest.raises(UserError, match="naive class seed 1: tasks must divide"):
        sweep.sweep([FINE, odd], tmp_path, ROOT, 1)
    assert executor.worked == [] and not sweeps.versions(tmp_path)


@pytest.fixture
def job(tmp_path):
    """The first run, for a worker's work to be done in this process."""
    context = Context("cpu", "abc", data.fingerprint("digits", ROOT), RUNS[0].digest)
    return Job(RUNS[0], "data", context, str(tmp_path / "run.pt"))


def do(job):
    return Outcome.from_text(worker.work(job.to_text())).records[0]


@pytest.mark.parametrize("stops", [(2,), (1, 3)], ids=["once", "twice"])
def test_a_run_that_is_stopped_goes_on_from_its_last_task(job, stops, monkeypatch):
    from benchmarks import learner

    whole = do(job)
    monkeypatch.setattr(worker, "CHECKPOINT_EVERY", 0.0)
    fit, trained, due = learner.fit, [], list(stops)

    def stopping(method, theta, task, *rest):
        if due and task.index == due[0]:
            due.pop(0)
            raise KeyboardInterrupt
        trained.append(task.index)
        return fit(method, theta, task, *rest)

    monkeypatch.setattr(learner, "fit", stopping)
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            do(job)
    again = do(job)
    assert trained == [0, 1, 2, 3, 4]
    assert again.correct == whole.correct and again.seeds == whole.seeds


def test_checkpoints_go_when_the_record_is_there(tmp_path, monkeypatch):
    folder = tmp_path / ".checkpoints"
    folder.mkdir()
    left = folder / f"{locks.name(FINE)}-0123456789abcdef-d.pt"
    left.write_bytes(b"of older code")
    sweep_inline(monkeypatch, [FINE], tmp_path)
    assert not left.exists()


def test_a_run_that_another_sweep_has_is_left_to_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "PATIENCE", 0.0)
    lock = FileLock(tmp_path / ".locks" / f"{locks.name(FINE)}.lock")
    Path(lock.lock_file).parent.mkdir()
    lock.acquire()
    Path(lock.lock_file).write_text("another machine, process 7", encoding="utf-8")
    done = []

    def another(seconds):
        """The other sweep writes its record while this one waits."""
        done.append(record.load(tmp_path / RUNS[1].place))
        found = replace(done[0], run=FINE, digest=FINE.digest)
        record.save(found, tmp_path / FINE.place)
        lock.release()

    monkeypatch.setattr(sweep.time, "sleep", another)
    _, worked = sweep_inline(monkeypatch, RUNS[:2], tmp_path)
    assert worked == [RUNS[1]] and len(done) == 1
    assert "another machine, process 7" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("content", ["", '{"schema": 1, "run": {', "<html>"])
def test_a_damaged_record_is_set_aside(tmp_path, content):
    file = tmp_path / RUNS[0].place
    file.parent.mkdir(parents=True)
    file.write_text(content, encoding="utf-8")
    state = sweep.survey(RUNS[:2], tmp_path, ROOT)
    ((aside, fault),) = state.damaged
    assert state.records == [None, None] and state.stale == [] and str(file) in fault
    assert aside.read_text(encoding="utf-8") == content and aside.parent == file.parent and not file.exists()
    assert sweep.survey(RUNS[:2], tmp_path, ROOT).damaged == []


@pytest.mark.parametrize(
    "other",
    [replace(FINE, seed=2), replace(FINE, scenario="task"), replace(FINE, train=replace(FINE.train, lr=1.0)), RUNS[1]],
    ids=["seed", "scenario", "option", "method"],
)
def test_a_record_that_lies_where_another_belongs_is_set_aside(two_at_once, tmp_path, other):
    found = record.load(two_at_once[0] / FINE.place)
    record.save(replace(found, run=other), tmp_path / FINE.place)
    state = sweep.survey([FINE], tmp_path, ROOT)
    assert state.records == [None] and len(state.damaged) == 1 and "of another run" in state.damaged[0][1]


def test_a_stale_record_is_named_and_kept(two_at_once, tmp_path):
    found = record.load(two_at_once[0] / FINE.place)
    file = tmp_path / FINE.place
    for change in ({"digest": "another"}, {"data": "another"}):
        record.save(replace(found, **change), file)
        state = sweep.survey([FINE], tmp_path, ROOT)
        assert (state.records, state.stale, state.damaged) == ([None], [file], [])
    record.save(found, file)
    assert sweep.survey([FINE], tmp_path, ROOT).records == [found]


@pytest.mark.parametrize("where", ["file/results", "file"])
def test_a_results_folder_that_cannot_be_written(tmp_path, where, monkeypatch):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=f"{tmp_path / where}") as error:
        sweep_inline(monkeypatch, RUNS[:1], tmp_path / where)
    assert "\n" not in str(error.value) and (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_locks_that_is_a_file(tmp_path, monkeypatch):
    (tmp_path / ".locks").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="cannot lock runs in the results folder") as error:
        sweep_inline(monkeypatch, RUNS[:1], tmp_path)
    assert "\n" not in str(error.value)


def test_a_job_and_an_outcome_come_back(job):
    assert Job.from_text(job.to_text()) == job
    outcome = Outcome((), "no such data", ("a note",))
    assert Outcome.from_text(outcome.to_text()) == outcome
    assert json.loads(job.to_text())["run"] == job.run.to_json()


def test_what_killed_sweeps_left_goes_and_what_is_at_work_stays(tmp_path):
    held, free = (FileLock(tmp_path / ".locks" / f"{name}.lock") for name in ("held", "free"))
    old, new = tmp_path / "s" / "task" / ".a.json.x", tmp_path / "s" / "task" / ".b.json.x"
    mine = tmp_path / "s" / "task" / "mine.json"
    for folder in (tmp_path / ".locks", old.parent):
        folder.mkdir(parents=True)
    for file in (old, new, mine, Path(free.lock_file)):
        file.write_text("", encoding="utf-8")
    held.acquire()
    long_ago = time.time() - 2 * locks.DAY
    for path in (old, mine):
        os.utime(path, (long_ago, long_ago))
    locks.clear_leftovers(tmp_path)
    assert new.exists() and mine.exists() and Path(held.lock_file).exists()
    assert not (old.exists() or Path(free.lock_file).exists())
    held.release()

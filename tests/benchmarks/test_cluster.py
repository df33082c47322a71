"""Sweeps on a real scheduler and real workers on loopback. Records are those of a sweep here, whatever fails."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

if find_spec("distributed") is None:
    pytest.skip("the optional package distributed is not installed (make cluster-setup)", allow_module_level=True)

from benchmarks import cluster, cluster_worker, data, engine, record, sweep, worker
from benchmarks.files import ROOT as CHECKOUT
from benchmarks.images import ARRAYS
from benchmarks.run import Run
from benchmarks.worker import Context, Job, Outcome
from methods.base.errors import UserError
from tests.support import clusters, sweeps
from tests.support.clusters import ENDLESS, ENDLESS_TOO, EXITS, KILLS, STOPS, run_of
from tests.support.sweeps import RUNS as TWELVE
from tests.support.sweeps import TRAIN, Inline

ROOT = Path("data")
RUNS = [TWELVE[i] for i in (0, 1, 3, 6, 7)]  # class- and task-incremental, two methods, two seeds
SAME = ("run", "reason", "correct", "curve", "added", "total", "n_parameters", "seeds", "data", "digest", "memory")


@pytest.fixture(scope="module")
def lent(tmp_path_factory):
    """A scheduler with two workers in a copy with faults. A sweep has begun before there was a worker."""
    folder, marks, results = (tmp_path_factory.mktemp(name) for name in ("parts", "marks", "first"))
    copy = clusters.faulty_copy(folder / "copy", marks)
    with clusters.parts(folder) as (scheduler, add):
        head, address = scheduler()
        first = sweeps.sweep(results, address, RUNS)
        add(address, "--nworkers", "2", cwd=copy, DATA=str(folder))
        output = sweeps.finish(first)
        assert first.returncode == 0, output
        begin = SimpleNamespace(folder=results, output=output)
        yield SimpleNamespace(address=address, add=add, scheduler=scheduler, head=head, marks=marks, first=begin)


def attempts(lent, seed):
    return sorted(lent.marks.glob(f"{seed}-*"))


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def stored(runs, folder):
    return [record.load(folder / run.place) for run in runs]


def test_records_are_those_of_a_local_sweep_to_the_bit(lent, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "Processes", Inline)
    assert sweep.sweep(RUNS, tmp_path, ROOT, 1) == []
    for here, there in zip(stored(RUNS, tmp_path), stored(RUNS, lent.first.folder), strict=True):
        assert [getattr(here, name) for name in SAME] == [getattr(there, name) for name in SAME]
        assert there.machine["threads"] == 1 and there.versions == here.versions and there.warnings == here.warnings
    files = [file for file in lent.first.folder.rglob("*") if file.is_file()]
    assert sorted(files) == sorted(lent.first.folder / run.place for run in RUNS)


def test_a_sweep_waits_for_the_first_worker_and_says_so(lent):
    assert lent.first.output.count("no worker is at") <= 1 and "Traceback" not in lent.first.output


def test_a_run_that_takes_too_long_is_stopped_and_its_worker_is_used_again(lent, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "LIMIT", 1.5)
    (failed,) = sweep.sweep([run_of(ENDLESS)], tmp_path, ROOT, lent.address)
    assert failed.reason == "its worker took more than 0.000417 hours, 3 times"
    assert len(attempts(lent, ENDLESS)) == 3 and are_still(attempts(lent, ENDLESS))
    assert sweep.sweep([run_of(3)], tmp_path, ROOT, lent.address) == []
    for mark in attempts(lent, ENDLESS):
        os.kill(int(mark.name.split("-")[2]), 0)  # the process lives
        mark.unlink()


def test_late_workers_and_ctrl_c(lent, tmp_path):
    """Two runs hold two workers. One of other code comes late and is refused, one of ours comes and is used."""
    runs = [run_of(ENDLESS), run_of(ENDLESS_TOO), RUNS[1], RUNS[2]]
    process = sweeps.sweep(tmp_path, lent.address, runs)
    wait_until(lambda: attempts(lent, ENDLESS) and attempts(lent, ENDLESS_TOO))
    odd = clusters.working_copy(tmp_path / "odd")
    clusters.change(odd / "methods" / "ewc.py", "\n\n\n@dataclass", "\n\nX = 1\n\n\n@dataclass")
    other = lent.add(lent.address, "--name", "odd", cwd=odd)
    other.said("Registered to")
    time.sleep(2)
    assert sweeps.versions(tmp_path) == {}
    late = lent.add(lent.address, "--name", "late")
    sweeps.wait_for(tmp_path, 2, process)
    process.send_signal(signal.SIGINT)
    output = " ".join(sweeps.finish(process).split())
    other.kill()
    late.kill()
    assert process.returncode != 0 and "KeyboardInterrupt" in output
    assert are_still([*attempts(lent, ENDLESS), *attempts(lent, ENDLESS_TOO)]) and tasks(lent.address) == 0
    assert output.count("worker odd is not used") == 1 and "worker late" not in output
    assert f"there, {RUNS[1].digest} here" in output
    assert [found.reason for found in stored(runs[2:], tmp_path)] == [None, None]


def test_a_worker_without_the_data_says_so_once(lent, tmp_path, capsys):
    for file in ARRAYS:
        values = np.zeros((4, 2, 2), np.uint8) + 200 if "images" in file else np.arange(4) % 2
        (tmp_path / "tiny").mkdir(exist_ok=True)
        np.save(tmp_path / "tiny" / file, values)
    run = Run.of({"name": "arrays", "data": "tiny", "tasks": 2}, "task", {"name": "naive"}, TRAIN, 1)
    with pytest.raises(UserError, match=r"none of the workers of .* can be used: the data set \./tiny: cannot read"):
        sweep.sweep([run], tmp_path / "results", tmp_path, lent.address)
    error = " ".join(capsys.readouterr().err.split())
    assert error.count("is not used: the data set ./tiny: cannot read") == 1
    assert data.fingerprint("./tiny", tmp_path) in error


def test_faults_of_runs(lent, tmp_path):
    """One run kills its worker each time, one is interrupted, one stops its worker's process once, two are fine."""
    runs = [run_of(seed) for seed in (KILLS, 1, STOPS, EXITS, 2)]
    failed = {found.seed: found.reason for found in sweep.sweep(runs, tmp_path, ROOT, lent.address)}
    assert set(failed) == {KILLS, EXITS}
    assert failed[KILLS] == "its worker died or was cut off (out of memory?), 3 times"
    assert failed[EXITS].startswith("its worker gave nothing back (KeyboardInterrupt")
    assert {run.seed: len(attempts(lent, run.seed)) for run in runs} == {KILLS: 3, STOPS: 2, EXITS: 3, 1: 0, 2: 0}
    assert [found.reason for found in stored([runs[1], runs[2], runs[4]], tmp_path)] == [None] * 3
    assert tasks(lent.address) == 0


@pytest.fixture
def placed(lent, tmp_path):
    """A function: a run -> its future, its call and the process of its worker, once it has been placed."""
    from distributed import Client

    said = []
    with Client(lent.address, set_as_default=False) as client:
        executor = cluster.Cluster(lent.address, said.append)

        def place(run):
            pids = client.run(os.getpid)
            future = executor.submit(worker.work, sweep._job([run], tmp_path, ROOT, "cpu", "abc").to_text())
            wait_until(lambda: executor._placed)
            (call,) = executor._placed.values()
            wait_until(lambda: call.name in client.run_on_scheduler(keys))
            return future, call, pids[call.address]

        yield SimpleNamespace(client=client, executor=executor, place=place)
        executor.shutdown(cancel_futures=True)


def test_a_run_that_only_waited_on_a_worker_that_died_is_not_to_blame(placed):
    client = placed.client
    addresses = list(client.run(os.getpid))
    others = [client.submit(time.sleep, 4, workers=[address], pure=False) for address in addresses]
    wait_until(lambda: [*client.run(busy).values()] == [True] * len(others))
    future, call, process = placed.place(run_of(4))
    os.kill(process, signal.SIGKILL)
    assert Outcome.from_text(future.result(60)).records[0].reason is None and call.moves == 1


def test_a_run_whose_worker_is_retired_gives_one_record(placed):
    future, call, _ = placed.place(run_of(6, epochs=40))
    wait_until(lambda: call.name in placed.executor._begun)
    retired = call.address
    placed.client.retire_workers([retired])
    assert Outcome.from_text(future.result(60)).records[0].reason is None
    wait_until(lambda: retired not in placed.client.scheduler_info(n_workers=-1)["workers"])


def test_the_make_targets_listen_on_loopback_alone(lent, tmp_path):
    said = [
        f"PYTHON={sys.executable}",
        "-o",
        f"{CHECKOUT}/.venv/.ready",
        "-o",
        ".venv/.ready",
        "--no-print-directory",
    ]
    plain = {name: value for name, value in os.environ.items() if name not in ("LISTEN", "DATA", "MAKEFLAGS")}
    starts = [["cluster-scheduler", "PORT=0"], ["cluster-worker", f"CLUSTER={lent.address}", "JOBS=2"]]
    for start in starts:
        process = subprocess.Popen(
            ["make", *said, *start], cwd=CHECKOUT, env=plain, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            n = 2 if "cluster-scheduler" in start else 5  # a nanny and a worker listen on two ports and on one, or more
            wait_until(lambda process=process, n=n: len(clusters.listening(process.pid)) >= n)
            assert set(clusters.listening(process.pid)) == {"127.0.0.1"}
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_no_scheduler(tmp_path, capsys, monkeypatch):
    from paper_tables.__main__ import main

    monkeypatch.setattr(engine, "CONNECT", 0.5)
    command = ["table", "splitdigits", "--cluster", "tcp://127.0.0.1:1", "--results", str(tmp_path)]
    assert main(command) == 2
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("error: no scheduler answers at CLUSTER=tcp://127.0.0.1:1")
    )
    assert main([*command, "--jobs", "2"]) == 2
    assert "JOBS=2 and CLUSTER exclude each other" in capsys.readouterr().err


def test_a_scheduler_that_would_try_again_by_itself_is_refused(lent, tmp_path):
    part, address = lent.scheduler(failures="3")
    with pytest.raises(UserError, match="has allowed-failures 3 and worker-ttl 6"):
        sweep.sweep(RUNS[:1], tmp_path, ROOT, address)
    part.kill()


def test_a_killed_scheduler_ends_the_sweep_and_another_goes_on(lent, tmp_path):
    """This is the last test with these parts."""
    runs, address = RUNS, lent.address
    process = sweeps.sweep(tmp_path, address, [*runs, run_of(ENDLESS)])
    sweeps.wait_for(tmp_path, 2, process)
    lent.head.kill()
    output = " ".join(sweeps.finish(process).split())
    assert process.returncode != 0 and f"the scheduler at {address} is gone" in output
    before = sweeps.versions(tmp_path)
    assert len(before) >= 2 and sweeps.damaged(tmp_path) == []
    assert list((tmp_path / ".locks").glob("*")) == []
    assert lent.scheduler(port=address.rpartition(":")[2])[1] == address
    lent.add(address)
    assert sweep.sweep([*runs, run_of(5)], tmp_path, ROOT, address) == []
    after = sweeps.versions(tmp_path)
    assert len(after) == len(runs) + 1 and {file: after[file] for file in before} == before


def test_the_engine_is_imported_for_a_cluster_alone():
    code = "import sys, benchmarks.sweep; print(sorted({'distributed', 'benchmarks.cluster'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def tasks(address):
    """How many tasks the scheduler holds a moment later."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        end = time.monotonic() + 10
        while (n := len(client.run_on_scheduler(keys))) and time.monotonic() < end:
            time.sleep(0.1)
        return n


def keys(dask_scheduler):
    return list(dask_scheduler.tasks)


def busy(dask_worker):
    return bool(dask_worker.state.executing)


keys.__module__ = busy.__module__ = "__main__"  # sent whole: the scheduler has no tests


def are_still(marks):
    """Whether nobody touches these files any more."""
    time.sleep(0.3)
    before = [mark.stat().st_mtime_ns for mark in marks]
    time.sleep(0.5)
    return bool(marks) and before == [mark.stat().st_mtime_ns for mark in marks]


def test_a_scheduler_imports_no_torch_to_pass_calls_on():
    code = "import sys, benchmarks.cluster_worker; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What a worker is asked, and a function that has it done in this process with some of it changed."""
    monkeypatch.setattr(cluster_worker, "CHECKPOINTS", tmp_path / "checkpoints")
    context = Context("cpu", "abc", data.fingerprint("digits", ROOT), RUNS[0].digest)
    job = Job(RUNS[0], "/nowhere/of/the/submitter", context, "/nowhere/of/the/submitter/run.pt")

    def do(versions=None, job=job, name="a", what="work"):
        known = cluster_worker.all_versions() | (versions or {})
        text = json.dumps({"name": name, "topic": "t", "do": what, "job": job.to_text(), "versions": known})
        return json.loads(cluster_worker.call(text))

    return SimpleNamespace(job=job, do=do)


def test_a_worker_names_both_sides_of_what_differs(asked):
    job, context = asked.job, asked.job.context
    assert asked.do({"torch": "0.0.1"})["refused"] == [["torch", cluster_worker.all_versions()["torch"], "0.0.1"]]
    assert asked.do({"python": "2.7"})["refused"][0][0] == "python"
    changed = {
        "the digest of the code": replace(context, digest="other"),
        "the data set digits": replace(context, data="other"),
        "the device cuda:77": replace(context, device="cuda:77"),
    }
    for what, other in changed.items():
        ((found, there, here),) = asked.do(job=replace(job, context=other))["refused"]
        assert found == what and there and here and there != here


def test_a_worker_whose_code_was_edited_does_no_more(asked, monkeypatch):
    monkeypatch.setattr(cluster_worker, "SOURCES", "as it was")
    assert asked.do()["refused"] == [["the code", "edited after the worker was started", "as it stands"]]


def test_a_run_that_this_code_cannot_read_is_refused(asked):
    text = asked.job.to_text().replace('"naive"', '"newer"')
    odd = SimpleNamespace(to_text=lambda: text)
    ((what, there, _),) = asked.do(job=odd)["refused"]
    assert what == "the code" and "newer" in there


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, ValueError("odd")])
def test_whatever_a_run_raises_is_a_failed_record(asked, monkeypatch, error):
    def raises(text):
        raise error

    monkeypatch.setattr(worker, "work", raises)
    monkeypatch.setattr(worker, "check", raises)
    found = Outcome.from_text(asked.do()["outcome"]).records[0]
    name = error.__name__ if isinstance(error, type) else type(error).__name__
    assert found.run == RUNS[0] and found.reason.startswith(name)
    assert Outcome.from_text(asked.do(what="check")["outcome"]) == Outcome()


def test_a_run_sets_what_another_task_has_changed_and_reports_it(asked):
    import torch

    wanted, seen = Outcome.from_text(asked.do()["outcome"]).records[0], []

    def after_another():
        torch.set_num_threads(2)
        torch.set_flush_denormal(False)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(7)
        seen.append(cluster_worker.measured())
        seen.append(asked.do())

    threads = torch.get_num_threads()
    thread = threading.Thread(target=after_another)
    try:
        thread.start()
        thread.join()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
    before, answer = seen
    assert before == {"threads": 2, "denormals": "kept"}
    assert answer["measured"] == {"threads": 1, "denormals": "flushed"} == engine.measured_here() | {"threads": 1}
    found = Outcome.from_text(answer["outcome"]).records[0]
    assert [getattr(found, name) for name in SAME] == [getattr(wanted, name) for name in SAME]


def test_a_call_that_was_stopped_before_it_began_does_nothing(asked, monkeypatch):
    import asyncio

    monkeypatch.setattr(worker, "work", None)
    assert asyncio.run(cluster_worker.stop(["before"])) == []
    assert asked.do(name="before") == {"fault": "Stopped: "}


def test_the_state_of_a_long_run_is_the_workers_own_and_goes_at_its_end(asked, monkeypatch, tmp_path):
    seen = []

    def work(text):
        job = Job.from_text(text)
        Path(job.checkpoint).write_bytes(b"half")
        seen.append(job)
        return Outcome().to_text()

    monkeypatch.setattr(worker, "work", work)
    monkeypatch.setenv("DATA", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    old = tmp_path / "checkpoints" / "old.pt"
    old.touch()
    os.utime(old, (1, 1))
    asked.do()
    assert [(job.root, job.checkpoint) for job in seen] == [(str(tmp_path), str(tmp_path / "checkpoints" / "run.pt"))]
    assert list((tmp_path / "checkpoints").iterdir()) == []

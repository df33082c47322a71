"""A small sweep in processes of its own, for the tests that start two at once or kill one."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future

from benchmarks import record, worker
from benchmarks.files import ROOT
from benchmarks.run import Run
from benchmarks.worker import Job

TRAIN = {"net": "mlp-16", "optimizer": "adam", "lr": 1e-3, "optimizer_state": "keep", "batch": 32, "epochs": 8}
RUNS = [
    Run.of({"name": "splitdigits"}, scenario, method, TRAIN, seed)
    for scenario in ("class", "task")
    for seed in (1, 2, 3)
    for method in ({"name": "naive"}, {"name": "ewc", "lam": 100.0})
]
SWEEP = """
import json, sys
from pathlib import Path
from benchmarks.run import Run
from benchmarks.sweep import sweep
if __name__ == "__main__":
    runs, where = [Run.of(**run) for run in json.loads(sys.argv[1])], sys.argv[3]
    sys.exit(len(sweep(runs, Path(sys.argv[2]), Path("data"), int(where) if where.isdecimal() else where)))
"""
COMMAND = """
import sys
from pathlib import Path
if __name__ == "__main__":
    from paper_tables import declaration
    from paper_tables.__main__ import main
    declaration.load.__defaults__ = (Path(sys.argv[1]),)
    sys.exit(main(sys.argv[2:]))
"""


class Inline(Executor):
    """An executor without processes, in which the work of some runs ends in an error of the pool."""

    tries = 2

    def __init__(self, n=1, dies=()):
        self.n, self.dies, self.worked = n, dies, []

    def submit(self, function, text):
        future, run = Future(), Job.from_text(text).run
        self.worked += [run] if function is worker.work else []
        if function is worker.work and run in self.dies:
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(function(text))
        return future


def start(script, *arguments):
    """A process in a group of its own, its output read through one pipe that its workers hold too."""
    ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a child of a background shell would ignore Ctrl-C
    try:
        return subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, ignored)


def sweep(folder, jobs, runs=RUNS):
    """A sweep of the runs that has begun."""
    return start(SWEEP, json.dumps([run.to_json() for run in runs]), folder, jobs)


def finish(process):
    """What a process and its workers printed; an error if one of them still holds the pipe after a while."""
    try:
        return process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def versions(folder):
    """Each record under `folder` with what changes when it is written again."""
    found = {}
    for file in folder.glob("[!.]*/*/*.json"):
        status = file.stat()
        found[file.relative_to(folder).as_posix()] = (status.st_ino, status.st_mtime_ns)
    return found


def wait_for(folder, n, process):
    """Wait until `n` records are there and the process is still at work."""
    end = time.monotonic() + 120
    while len(versions(folder)) < n:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.005)


def workers(process):
    """The ids of the processes that work for a sweep, the oldest first. They are children of the sweep's server."""
    (server,) = (child for child, name in _children(process.pid).items() if "forkserver" in name)
    return list(_children(server))


def _children(process):
    """Children of a process: their commands by their ids."""
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True).stdout.split()
    return {int(child): open(f"/proc/{child}/cmdline", encoding="utf-8").read() for child in found}


def damaged(folder):
    """Records under `folder` that are not whole."""
    return [file for file in folder.glob("[!.]*/*/*.json") if not isinstance(record.load(file), record.Record)]

"""A real scheduler and real workers in processes of their own, for the tests of sweeps on a cluster.

The workers of most tests run in a working copy with a fault for each of a few seeds. The fault is in a file outside the
digest, so that a submitter takes the copy for its like.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.files import ROOT
from tests.support.sweeps import RUNS

KILLS, EXITS, ENDLESS, ENDLESS_TOO, STOPS = 66, 67, 68, 69, 70  # seeds
FAULT = """
def _fault(asked):
    seed = json.loads(asked["job"])["run"]["seed"]
    if asked["do"] == "check" or seed not in {SEEDS}:
        return
    folder = Path({folder!r})
    seen = len(list(folder.glob(f"{{seed}}-*")))
    mark = folder / f"{{seed}}-{{seen}}-{{os.getpid()}}"
    mark.touch()
    time.sleep(0.3)
    if seed == {KILLS}:
        os.kill(os.getpid(), 9)
    if seed == {EXITS}:
        raise KeyboardInterrupt
    if seed == {STOPS} and not seen:
        os.kill(os.getpid(), 19)
    while seed in {ENDLESS}:
        mark.touch()
        time.sleep(0.01)


def call("""


def run_of(seed, epochs=None):
    """A small run of this seed."""
    train = replace(RUNS[0].train, epochs=epochs) if epochs else RUNS[0].train
    return replace(RUNS[0], seed=seed, train=train)


def working_copy(folder):
    """A copy of the code, to be started in."""
    for package in ("benchmarks", "methods"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def change(file, old, new):
    """Put `new` for `old` in a file."""
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{file} no longer holds {old!r}"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def faulty_copy(folder, marks):
    """A working copy with the faults. They leave a mark for each time that a run of such a seed begins."""
    copy = working_copy(folder)
    seeds = {"KILLS": KILLS, "EXITS": EXITS, "ENDLESS": (ENDLESS, ENDLESS_TOO), "STOPS": STOPS}
    fault = FAULT.format(**seeds, SEEDS=(KILLS, EXITS, ENDLESS, ENDLESS_TOO, STOPS), folder=str(marks))
    file, first = copy / "benchmarks" / "cluster_worker.py", "    from benchmarks import worker\n"
    change(file, "\ndef call(", fault)
    change(file, first, f"{first}\n    _fault(asked)\n")
    return copy


class Part:
    """A scheduler or a worker, in a process group of its own. Its output is kept in a file."""

    def __init__(self, log, module, *arguments, cwd=ROOT, **variables):
        self.log = log
        plain = {name: value for name, value in os.environ.items() if name not in ("DATA", "PYTHONPATH")}
        with log.open("w", encoding="utf-8") as output:
            where = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *where],
                cwd=cwd,
                env=plain | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, pattern, seconds=60):
        """Wait until the output matches, and return the match."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.log.read_text(encoding="utf-8"))):
            assert time.monotonic() < end and self.process.poll() is None, self.log.read_text(encoding="utf-8")
            time.sleep(0.05)
        return found

    def kill(self):
        """End the whole group at once, stopped processes, too."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def listening(group):
    """The addresses, one a port, on which processes of this group listen (Linux, IPv4; IPv6 as hexadecimal digits)."""
    sockets = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.getpgid(int(link.parts[2])) == group and (target := os.readlink(link)).startswith("socket:["):
                sockets.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, status, *rest = line.split()
            if status == "0A" and rest[5] in sockets:
                address = local.partition(":")[0]
                whole = bytes.fromhex(address)[::-1]
                found.append(".".join(map(str, whole)) if table == "tcp" else address)
    return found


@contextmanager
def parts(folder):
    """Lend (start a scheduler -> its part and address, start a worker -> its part). All are ended after."""
    made = []

    def scheduler(port=0, failures="0"):
        variables = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": failures}
        variables["DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL"] = "6s"
        made.append(Part(folder / f"{len(made)}.log", "dask_scheduler", "--port", str(port), **variables))
        return made[-1], made[-1].said(r"Scheduler at: +(tcp://\S+)")[1]

    def worker(address, *arguments, cwd=ROOT, **variables):
        options = [address, "--nthreads", "1", "--memory-limit", "0", "--local-directory", str(folder), *arguments]
        one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
        made.append(Part(folder / f"{len(made)}.log", "dask_worker", *options, cwd=cwd, **one | variables))
        return made[-1]

    try:
        yield scheduler, worker
    finally:
        for part in made:
            part.kill()

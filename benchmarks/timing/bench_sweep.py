"""Time what a sweep costs beside its training: python -m benchmarks.timing.bench_sweep [runs, 2000 by default]

The runs are tiny, one batch a task. So the figures are those of the machinery: a run goes out, its
record comes back and is written. Each line is a sweep of its own with warm workers: 1 and 2 processes, then 1, 2 and 4
workers of a cluster whose parts all are on this machine (where the optional package is installed). The overhead of a
run is the wall time of its place of work that its record does not account for. What the parent and the scheduler use of
a processor for each run bounds a sweep on many workers. The parent's memory is measured after 10, 100, ... runs.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import machine, record, sweep
from benchmarks.executors import Processes
from benchmarks.files import ROOT
from benchmarks.progress import Line
from benchmarks.run import Run
from methods.base.errors import UserError

RUNS, SIZES = 2000, (10, 100)
TRAIN = {"net": "mlp-8", "optimizer": "sgd", "lr": 0.1, "optimizer_state": "keep", "batch": 32, "epochs": 1}
STREAM = {"name": "splitdigits", "tasks": 2, "examples": 20}
LOOPBACK = ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]


def runs(n: int) -> list[Run]:
    """Return n runs that differ in their seed."""
    first = Run.of(STREAM, "class", {"name": "naive"}, TRAIN, 1)
    return [replace(first, seed=seed) for seed in range(1, n + 1)]


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[tuple[str, int]]:
    """Lend the address and the process of a scheduler that has workers, all in processes of this machine."""
    made = []

    def start(module: str, *arguments: str) -> Path:
        log = folder / f"{module}.log"
        variables = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
        variables |= {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        with log.open("w", encoding="utf-8") as output:
            command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *LOOPBACK]
            made.append(
                subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stderr=output, start_new_session=True)
            )
        return log

    try:
        log, end = start("dask_scheduler", "--port", "0"), time.monotonic() + 60
        while "Scheduler at:" not in (said := log.read_text(encoding="utf-8")):
            if time.monotonic() > end or made[0].poll() is not None:
                raise UserError(f"the scheduler does not start: {' '.join(said.split())[-300:]}")
            time.sleep(0.1)
        address = said.split("Scheduler at:")[1].split()[0]
        start("dask_worker", address, "--nworkers", str(workers), "--nthreads", "1", "--memory-limit", "0")
        yield address, made[0].pid
    finally:
        for process in reversed(made):
            os.killpg(process.pid, signal.SIGTERM)
        for process in made:
            process.wait(60)


def cpu_seconds(process: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(executor: Executor, work: list[Run], folder: Path, say) -> float:
    """Do the runs on an executor, and return the seconds that it took."""
    jobs = [sweep._job([run], folder, Path("data"), "cpu", "bench") for run in work]
    begun = time.perf_counter()
    desk = sweep._Desk(executor, folder, say)
    with Line(Console(stderr=True), len(jobs)) as line:
        desk.serve(jobs, line)
    if desk.failed:
        raise UserError(f"a run of the benchmark failed: {desk.failed[0].reason}")
    return time.perf_counter() - begun


def measure(
    executor: Executor, kind: str, places: int, sizes: list[int], folder: Path, say, scheduler: int | None = None
) -> list[list[str]]:
    """Return a line for each number of runs, on warm workers. scheduler: its process, where there is one."""
    serve(executor, runs(4 * places), folder / "warm", say)
    lines, processes = [], [os.getpid(), *([scheduler] if scheduler else [])]
    for n in sizes:
        work, results = runs(n), folder / str(n)
        before = [cpu_seconds(process) for process in processes]
        seconds = serve(executor, work, results, say)
        used = [cpu_seconds(process) - first for process, first in zip(processes, before, strict=True)]
        done = [record.load(results / run.place).seconds for run in work]
        inside = sum(sum(spent for phase, spent in phases.items() if phase != "data") for phases in done)
        cells = [f"{places} {kind}", str(n), f"{n / seconds:.1f}", f"{1000 * (seconds * places - inside) / n:.1f}"]
        cells += [f"{1000 * spent / n:.1f}" for spent in used] + [""] * (2 - len(used))
        lines.append([*cells, f"{machine.memory_mb():.0f}"])
    return lines


def main() -> None:
    """Measure, and print the table."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    console = Console()
    table = Table(
        "places of work",
        "runs",
        "runs a second",
        "overhead (ms)",
        "parent CPU (ms)",
        "scheduler CPU (ms)",
        "parent (MiB)",
    )

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    before = machine.memory_mb()
    for n in (1, 2):
        with tempfile.TemporaryDirectory() as folder, Processes(n) as executor:
            sizes = [*(size for size in SIZES if size < total and n == 1), total]
            for cells in measure(executor, "processes", n, sizes, Path(folder), say):
                table.add_row(*cells)
    if find_spec("distributed") is None:
        say("cluster workers are not measured: the package distributed is not installed (make cluster-setup)")
    else:
        from benchmarks.cluster import Cluster

        for n in (1, 2, 4):
            with tempfile.TemporaryDirectory() as folder, cluster(n, Path(folder)) as (address, scheduler):
                executor = Cluster(address, say)
                while len(executor._workers) < n:
                    time.sleep(0.5)
                try:
                    for cells in measure(executor, "on a cluster", n, [total], Path(folder), say, scheduler):
                        table.add_row(*cells)
                finally:
                    executor.shutdown(cancel_futures=True)
    console.print(table)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    say(f"the parent held {before:.0f} MiB before the first run; cores: {cores}")


if __name__ == "__main__":
    main()

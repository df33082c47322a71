"""Time what a sweep costs beside its training: python -m benchmarks.timing.bench_sweep [runs, 2000 by default]

The runs are tiny, one batch a task. So the figures are those of the machinery: a run goes out, its
record comes back and is written. Each line is a sweep of its own with warm workers: 1 and 2 processes, then 1, 2 and 4
workers of a cluster whose parts all are on this machine (where the optional package is installed). The overhead of a
run is the wall time at each place of work that its record does not account for. The parent's memory is measured after
10, 100, ... runs in one process, beside what it was before the first.
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

from benchmarks import record, sweep
from benchmarks.executors import Processes
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
def cluster(workers: int, folder: Path) -> Iterator[str]:
    """Lend the address of a scheduler with its workers, all in processes of this machine."""
    made = []

    def start(module: str, *arguments: str) -> Path:
        log = folder / f"{module}.log"
        variables = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
        variables |= {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
        with log.open("w", encoding="utf-8") as output:
            command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments, *LOOPBACK]
            made.append(
                subprocess.Popen(
                    command, cwd=record.ROOT, env=os.environ | variables, stderr=output, start_new_session=True
                )
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
        yield address
    finally:
        for process in reversed(made):
            os.killpg(process.pid, signal.SIGTERM)
        for process in made:
            process.wait(60)


def memory_mb() -> float:
    """Return the resident memory of this process, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def serve(executor: Executor, work: list[Run], folder: Path, say) -> float:
    """Do the runs on an executor, and return the seconds that it took."""
    jobs = [sweep._job(run, folder, Path("data"), "cpu", "bench") for run in work]
    begun = time.perf_counter()
    desk = sweep._Desk(executor, folder, say)
    desk.serve(jobs, lambda run: None)
    if desk.failed:
        raise UserError(f"a run of the benchmark failed: {desk.failed[0].reason}")
    return time.perf_counter() - begun


def line(kind: str, places: int, n: int, seconds: float, folder: Path, work: list[Run]) -> list[str]:
    """Return a line of the table. The overhead is what a run costs its place of work beyond what its record says."""
    inside = sum(sum(record.load(folder / run.place).seconds.values()) for run in work)
    overhead = (seconds * places - inside) / n
    return [f"{places} {kind}", str(n), f"{n / seconds:.1f}", f"{1000 * overhead:.1f}", f"{memory_mb():.0f}"]


def measure(executor: Executor, kind: str, places: int, sizes: list[int], folder: Path, say) -> list[list[str]]:
    """Return a line for each number of runs, on workers that have done as many runs as there are before."""
    serve(executor, runs(4 * places), folder / "warm", say)
    lines = []
    for n in sizes:
        work = runs(n)
        lines.append(line(kind, places, n, serve(executor, work, folder / str(n), say), folder / str(n), work))
    return lines


def main() -> None:
    """Measure, and print the table."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    console = Console()
    table = Table("places of work", "runs", "runs a second", "overhead a run (ms)", "parent (MiB)")

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    before = memory_mb()
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
            with tempfile.TemporaryDirectory() as folder, cluster(n, Path(folder)) as address:
                executor = Cluster(address, say)
                while len(executor._workers) < n:
                    time.sleep(0.5)
                try:
                    for cells in measure(executor, "cluster workers", n, [total], Path(folder), say):
                        table.add_row(*cells)
                finally:
                    executor.shutdown(cancel_futures=True)
    console.print(table)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    say(f"the parent held {before:.0f} MiB before the first run; cores: {cores}")


if __name__ == "__main__":
    main()

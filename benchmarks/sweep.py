"""Many runs on a pool of processes, one thread each; whatever happens, finished runs are kept and the same command
goes on.

Every run writes its own record when it is done, so that an interrupted or killed sweep loses at most the runs in
flight. A lock per run keeps two sweeps in one folder from doing the same run at once.
"""

import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import data, record, streams
from benchmarks.record import Damaged, Record
from benchmarks.run import Context, check_device, commit, digest, execute
from benchmarks.stream import pack, unpack
from methods.base.errors import UserError

KEEP_MEMORY = 1 << 30  # bytes that glibc keeps for the next step instead of giving them back and faulting them in again


@dataclass(frozen=True)
class State:
    """What lies in the results folder for some runs."""

    records: list[Record | None]  # in the order of the runs; None: missing or stale
    stale: list[Path]
    damaged: list[Path]  # where unreadable files have been moved to


def survey(runs: list[dict], folder: Path, root: Path) -> State:
    """The usable record of each resolved run; damaged files are set aside."""
    records, stale, damaged = [], [], []
    for run in runs:
        file = record.path(folder, run)
        try:
            found = record.load(file)
        except Damaged:
            damaged.append(record.set_aside(file))
            found = None
        if found is not None and (found.digest != digest(run) or found.data != fingerprint(run, root)):
            stale.append(file)
            found = None
        records.append(found)
    return State(records, stale, damaged)


def fingerprint(run: dict, root: Path) -> str:
    """Identity of the data that a run reads."""
    return data.fingerprint(streams.data_name(run["stream"]), root)


def sweep(runs: list[dict], folder: Path, root: Path, jobs: int, device: str = "cpu") -> None:
    """Do the runs whose records are missing or stale, `jobs` at a time.

    Ctrl-C stops the workers and raises KeyboardInterrupt.
    """
    runs = list({record.path(folder, run): run for run in runs}.values())  # what several rows measure, once
    todo = [run for run, found in zip(runs, survey(runs, folder, root).records, strict=True) if found is None]
    if not todo:
        return
    check_device(device)
    console = Console(stderr=True)
    _sweep_leftovers(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        spool = tempfile.TemporaryDirectory(prefix=f".streams-{os.getpid()}-", dir=folder)
    except OSError as error:
        raise UserError(f"cannot write to the results folder {folder}: {error.strerror}") from error
    with spool as place:
        console.print(f"{len(todo)} of {len(runs)} runs to do, {jobs} at a time; building the streams ...")
        jobs_to_do = _spool(todo, root, Path(place) / "streams.pt", device)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        ) as progress:
            bar = progress.add_task("training", total=len(todo))
            _drive(jobs_to_do, folder, jobs, _announcer(progress, bar, console, len(todo)))


def _announcer(progress: Progress, bar, console: Console, total: int) -> Callable[[str], None]:
    """Counts a finished run; where there is no terminal to draw a bar on, says so in a line now and then."""
    start, done, said = time.monotonic(), 0, 0.0

    def announce(line: str) -> None:
        nonlocal done, said
        done += 1
        progress.update(bar, advance=1, description=line)
        now = time.monotonic() - start
        if not console.is_terminal and (now - said > 30 or done == total):
            said = now
            console.print(f"{done} of {total} runs, {now:.0f} s gone, about {now / done * (total - done):.0f} s left")

    return announce


def _spool(todo: list[dict], root: Path, file: Path, device: str) -> list["Job"]:
    """Build the streams of the runs and write them where the workers map them; each array once."""
    built, packed, jobs = {}, [], []
    sha = commit()
    for run in todo:
        start = time.perf_counter()
        stream = streams.build(run["stream"], run["scenario"], run["seed"], root)
        seconds = time.perf_counter() - start
        if id(stream) not in built:
            built[id(stream)] = len(packed), seconds
            packed.append(pack(stream))
        index, seconds = built[id(stream)]
        jobs.append(Job(run, file, index, Context(device, sha, fingerprint(run, root), digest(run)), seconds))
    try:
        torch.save(packed, file)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot write the streams to {file.parent}: {error}") from error
    return jobs


@dataclass(frozen=True)
class Job:
    """A run and what a worker needs for it."""

    run: dict
    streams: Path
    index: int
    context: Context
    seconds_of_data: float

    @property
    def label(self) -> str:
        """For the progress display."""
        return f"{self.run['method']['name']} {self.run['scenario']} seed {self.run['seed']}"


def _drive(todo: list[Job], folder: Path, jobs: int, announce: Callable[[str], None]) -> None:
    context = multiprocessing.get_context("spawn")
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        os.environ.setdefault(name, str(KEEP_MEMORY))  # the workers' allocator reads it when they start
    with ProcessPoolExecutor(min(jobs, len(todo)), context, _begin_worker) as pool:
        try:
            waiting: dict[Future, Job] = {pool.submit(_work, job, folder, 0.0): job for job in todo}
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    job = waiting.pop(future)
                    if future.result():
                        announce(job.label)
                    else:  # another sweep is at it: come back when the rest is done
                        waiting[pool.submit(_work, job, folder, 5.0)] = job
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed (out of memory?); finished runs are kept, the same command goes on"
            ) from error
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_worker() -> None:
    """One thread; a worker leaves Ctrl-C to its parent and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # moments of an unused head fade into denormals, which are many times slower
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(job: Job, folder: Path, patience: float) -> bool:
    """Do the run and write its record; False if another process still has it after `patience` seconds."""
    file = record.path(folder, job.run)
    name = f"{file.stem}-{job.run['scenario']}-{job.run['stream']['name']}"
    lock = folder / ".locks" / f"{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / ".checkpoints" / f"{name}-{job.context.digest}-{job.context.data}.pt"
    try:
        with FileLock(lock, timeout=patience):
            found = record.load(file) if file.is_file() else None
            if found is None or (found.digest, found.data) != (job.context.digest, job.context.data):
                stream = unpack(_load(job.streams)[job.index])
                record.save(execute(job.run, stream, job.context, job.seconds_of_data, checkpoint), file)
                for left in checkpoint.parent.glob(f"{name}-*.pt"):  # those of other code or data too
                    left.unlink(missing_ok=True)
            return True
    except Timeout:
        return False


@lru_cache(maxsize=1)
def _load(file: Path) -> list[dict]:
    return torch.load(file, mmap=True, weights_only=True)


def _sweep_leftovers(folder: Path) -> None:
    """Remove the mapped streams of sweeps that were killed."""
    for place in folder.glob(".streams-*"):
        pid = int(re.match(r"\.streams-(\d+)-", place.name)[1])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            shutil.rmtree(place, ignore_errors=True)
        except PermissionError:
            pass

"""A sweep does many runs, several at a time. Whatever happens, finished runs are kept, and the same command goes on.

The process that asks for a sweep hands out runs and writes each record when it comes back. An interrupted or killed
sweep loses at most the runs in flight. A run that fails is a failed record with its reason. A run whose worker dies is
tried once more, and is then a failed record too. A lock for each run keeps two sweeps in one folder from doing the same
run at once.
"""

import os
import platform
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import data, machine, record, streams, worker
from benchmarks.executors import Processes
from benchmarks.files import set_aside
from benchmarks.record import Damaged, Outdated, Record
from benchmarks.run import Run
from benchmarks.worker import Context, Job, Outcome
from methods.base.errors import UserError

TRIES = 2  # of a run whose worker dies
DAY = 24 * 3600.0  # seconds
PATIENCE = 5.0  # seconds between two looks at a run that another sweep has


class Refused(UserError):
    """A run cannot be done. The error says why."""

    def __init__(self, run: Run, reason: str | None):
        super().__init__(f"{run}: {reason}")
        self.run = run


@dataclass(frozen=True)
class State:
    """Hold what lies in the results folder for some runs."""

    records: list[Record | None]  # in the order of the runs; None: missing or stale
    stale: list[Path]
    damaged: list[tuple[Path, str]]  # where unusable files have been moved to, and what was wrong with them


def survey(runs: list[Run], folder: Path, root: Path) -> State:
    """Return the usable record of each run. A file that is damaged or of another run is set aside."""
    records, stale, damaged = [], [], []
    for run in runs:
        file = folder / run.place
        try:
            found = record.load(file)
            if found is not None and found.run != run:
                raise Damaged(f"{file} is the record of another run ({found.run})")
        except Damaged as error:
            damaged.append((set_aside(file), str(error)))
            found = None
        except Outdated:
            stale.append(file)
            found = None
        if found is not None and (found.digest, found.data) != (run.digest, fingerprint(run, root)):
            stale.append(file)
            found = None
        records.append(found)
    return State(records, stale, damaged)


def fingerprint(run: Run, root: Path) -> str:
    """Return the identity of the data that a run reads."""
    return data.fingerprint(streams.data_set(run.stream), root)


def sweep(runs: list[Run], folder: Path, root: Path, jobs: int, device: str = "cpu") -> list[Record]:
    """Do the runs whose records are missing or stale, `jobs` at a time. Return the records of those that failed.

    Ctrl-C stops the workers and raises KeyboardInterrupt. A run that cannot begin stops the sweep before any training.
    """
    runs = list(dict.fromkeys(runs))  # a run that several rows measure is done once
    todo = [run for run, found in zip(runs, survey(runs, folder, root).records, strict=True) if found is None]
    if not todo:
        return []
    machine.check_device(device)
    for name in {streams.data_set(run.stream) for run in todo}:
        data.require(name, root)
    console = Console(stderr=True)
    console.print(f"{len(todo)} of {len(runs)} runs to do, {jobs} at a time")
    todo.sort(key=_stream_of)  # a worker keeps the stream of its last run
    _clear_leftovers(folder)
    commit = machine.commit()
    work = [_job(run, folder, root, device, commit) for run in todo]
    executor = Processes(min(jobs, len(work)))
    try:
        _check(executor, work, executor.n)
        desk = _Desk(executor, executor.n, folder, lambda text: console.print(text, markup=False, soft_wrap=True))
        with progress(console, len(work)) as announce:
            desk.serve(work, announce)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()
    return desk.failed


def _stream_of(run: Run) -> tuple:
    return run.stream.name, run.scenario, run.seed if streams.needs_seed(run.stream) else 0


def _job(run: Run, folder: Path, root: Path, device: str, commit: str) -> Job:
    context = Context(device, commit, fingerprint(run, root), run.digest)
    checkpoint = folder / ".checkpoints" / f"{_name(run)}-{context.digest}-{context.data}.pt"
    return Job(run, str(root.resolve()), context, str(checkpoint.resolve()))


def _name(run: Run) -> str:
    """Return the name of the files beside a run's record, which are its lock and its checkpoint."""
    return f"{run.place.stem}-{run.scenario}-{run.stream.name}"


def _check(executor: Executor, work: list[Job], at_a_time: int) -> None:
    """Refuse what is known to be impossible, before anything is trained. Refused names the run."""
    alike = {replace(job.run, seed=0): job for job in reversed(work)}  # the seed cannot make a run impossible
    waiting, inside = deque(reversed(alike.values())), {}
    while waiting or inside:
        while waiting and len(inside) < at_a_time:
            job = waiting.popleft()
            inside[executor.submit(worker.check, job.to_text())] = job
        for future in wait(inside, return_when=FIRST_COMPLETED).done:
            job = inside.pop(future)
            with suppress(BrokenExecutor):  # the run itself shows what is wrong
                if refusal := Outcome.from_text(future.result()).refusal:
                    raise Refused(job.run, refusal)


class _Desk:
    """Hand runs out to an executor, and write each record when it comes back."""

    def __init__(self, executor: Executor, at_a_time: int, folder: Path, say: Callable[[str], None]):
        self.executor, self.at_a_time, self.folder, self.say = executor, at_a_time, folder, say
        self.inside: dict[Future, tuple[Job, FileLock]] = {}
        self.deaths: Counter[Job] = Counter()
        self.failed: list[Record] = []
        self.holders = ""

    def serve(self, work: list[Job], announce: Callable[[Run], None]) -> None:
        """Do all of the work. `announce` is told of each run that is done."""
        waiting, elsewhere = deque(work), []  # elsewhere: runs that another sweep has
        try:
            while waiting or self.inside or elsewhere:
                while waiting and len(self.inside) < self.at_a_time:
                    self._hand_out(waiting.popleft(), elsewhere, announce)
                if self.inside:
                    for future in wait(self.inside, return_when=FIRST_COMPLETED).done:
                        self._take_in(future, waiting, announce)
                elif elsewhere:
                    self._wait_for(elsewhere)
                    waiting, elsewhere = deque(elsewhere), []
        finally:
            for _, lock in self.inside.values():
                _unlock(lock)

    def _wait_for(self, elsewhere: list[Job]) -> None:
        """Wait a while for runs that another sweep has. Say who has them when that changes."""
        holders = ", ".join(sorted({_holder(self.folder, job.run) for job in elsewhere}))
        if holders != self.holders:
            self.say(f"waiting for {len(elsewhere)} runs of another sweep ({holders})")
            self.holders = holders
        time.sleep(PATIENCE)

    def _hand_out(self, job: Job, elsewhere: list[Job], announce: Callable[[Run], None]) -> None:
        try:
            lock = _lock(self.folder, job.run)
        except Timeout:
            elsewhere.append(job)
            return
        _remove_unfinished(self.folder / job.run.place)
        if _is_done(job, self.folder):
            _unlock(lock)
            announce(job.run)
            return
        self.inside[self.executor.submit(worker.work, job.to_text())] = job, lock

    def _take_in(self, future: Future, waiting: deque[Job], announce: Callable[[Run], None]) -> None:
        job, lock = self.inside.pop(future)
        try:
            found = self._record_of(job, future)
            if found is None:
                waiting.append(job)
                return
            record.save(found, self.folder / job.run.place)
            for left in Path(job.checkpoint).parent.glob(f"{_name(job.run)}-*.pt"):  # also those of other code or data
                left.unlink(missing_ok=True)
        finally:
            _unlock(lock)
        if found.reason is not None:
            self.say(f"failed: {job.run}: {found.reason}")
            self.failed.append(found)
        announce(job.run)

    def _record_of(self, job: Job, future: Future) -> Record | None:
        """Return the record of a job that is done. Return None if its worker died and the job is to be tried again."""
        try:
            outcome = Outcome.from_text(future.result())
        except BrokenExecutor:
            self.deaths[job] += 1
            if self.deaths[job] < TRIES:
                self.say(f"the worker of {job.run} was killed (out of memory?): the run is tried again")
                return None
            return worker.failed(job, f"its worker was killed {TRIES} times (out of memory?)")
        for note in outcome.notes:
            self.say(note)
        if outcome.record is None:
            raise Refused(job.run, outcome.refusal)
        return outcome.record


def _is_done(job: Job, folder: Path) -> bool:
    """Return whether another sweep has done the run by now."""
    wanted = job.run, job.context.digest, job.context.data
    with suppress(Damaged, Outdated):
        found = record.load(folder / job.run.place)
        return found is not None and (found.run, found.digest, found.data) == wanted
    return False


def _lock(folder: Path, run: Run) -> FileLock:
    """Take the lock of a run and return it. Raise Timeout if another sweep has it."""
    file = folder / ".locks" / f"{_name(run)}.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, timeout=0)
        lock.acquire()
        file.write_text(f"{platform.node()}, process {os.getpid()}\n", encoding="utf-8")
    except OSError as error:
        if isinstance(error, Timeout):
            raise
        raise UserError(f"cannot lock runs in the results folder {folder}: {error.strerror or error}") from error
    return lock


def _unlock(lock: FileLock) -> None:
    """Give a lock back. Its file goes first. Whoever waits for it notices, and makes another."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _clear_leftovers(folder: Path) -> None:
    """Remove what killed sweeps left: locks that nobody holds, and unfinished files and mapped streams of a day ago."""
    for file in (folder / ".locks").glob("*.lock"):
        lock = FileLock(file, timeout=0)
        with suppress(OSError):  # Timeout is an OSError: somebody holds the lock
            lock.acquire()
            _unlock(lock)
    for left in (*folder.glob("*/*/.*.json.*"), *folder.glob("tables/.*.*.*"), *folder.glob(".streams-*")):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > DAY:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _holder(folder: Path, run: Run) -> str:
    """Return who has the lock of a run."""
    with suppress(OSError):
        return (folder / ".locks" / f"{_name(run)}.lock").read_text(encoding="utf-8").strip()
    return ""


def _remove_unfinished(file: Path) -> None:
    """Remove what a killed writer of this record left. Nobody else writes the record while its run is locked."""
    for left in file.parent.glob(f".{file.name}.*"):
        left.unlink(missing_ok=True)


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[object], None]]:
    """Lend what announces a finished run. A bar counts them, or without a terminal a line now and then."""
    begun, done, said = time.monotonic(), 0, 0.0
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("elapsed"), TimeElapsedColumn()
    left = TextColumn("left"), TimeRemainingColumn()
    with Progress(TextColumn("{task.description}"), *columns, *left, console=console) as bars:
        bar = bars.add_task("training", total=total)

        def announce(run: object) -> None:
            nonlocal done, said
            done += 1
            bars.update(bar, advance=1, description=str(run))
            now = time.monotonic() - begun
            if not console.is_terminal and (now - said > 30 or done == total):
                said = now
                rest = now / done * (total - done)
                console.print(f"{done} of {total} runs, {now:.0f} s gone, about {rest:.0f} s left")

        yield announce

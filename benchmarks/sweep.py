"""A sweep does many runs, several at a time. Whatever happens, finished runs are kept, and the same command goes on.

The process that asks for a sweep hands out runs and writes each record when it comes back. An interrupted or killed
sweep loses at most the runs in flight. A run that fails is a failed record with its reason. A run whose worker dies is
tried once more (on a cluster twice), and is then a failed record too. A lock for each run keeps two sweeps in one
folder from doing the same run at once.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from benchmarks import data, locks, machine, record, streams, worker
from benchmarks.executors import Lost, Processes, ended
from benchmarks.files import set_aside
from benchmarks.progress import Line
from benchmarks.record import Damaged, Outdated, Record
from benchmarks.run import Run
from benchmarks.worker import Context, Job, Outcome
from methods.base.errors import UserError

PATIENCE = 5.0  # seconds between two looks at a run that another sweep has
STACK = 20  # the most seeds that are trained together


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
    state = State([], [], [])
    for run in runs:
        file = folder / run.place
        try:
            found, is_stale = usable(folder, run, run.digest, fingerprint(run, root))
        except Damaged as error:
            state.damaged.append((set_aside(file), str(error)))
            found, is_stale = None, False
        state.records.append(found)
        state.stale.extend([file] if is_stale else [])
    return state


def usable(folder: Path, run: Run, sources: str | None, pixels: str | None) -> tuple[Record | None, bool]:
    """Return a run's record if these sources and pixels made it, and else None and whether there is a stale one.

    None stands for any sources or pixels.
    """
    file = folder / run.place
    try:
        found = record.load(file)
    except Outdated:
        return None, True
    if found is None:
        return None, False
    if found.run != run:
        raise Damaged(f"{file} is the record of another run ({found.run})")
    fits = sources in (None, found.digest) and pixels in (None, found.data)
    return (found, False) if fits else (None, True)


def missing(runs: list[Run], folder: Path, root: Path) -> list[Run]:
    """Return the runs that have no usable record. Unlike a survey, this moves nothing."""
    return [run for run in runs if not _is_done(folder, run, run.digest, fingerprint(run, root))]


def _is_done(folder: Path, run: Run, sources: str, pixels: str) -> bool:
    with suppress(Damaged):
        return usable(folder, run, sources, pixels)[0] is not None
    return False


def fingerprint(run: Run, root: Path) -> str:
    """Return the identity of the data that a run reads."""
    return data.fingerprint(streams.recipe(run.stream).data_set, root)


def sweep(
    runs: list[Run], folder: Path, root: Path, jobs: int | str, device: str = "cpu", curves: Path | None = None
) -> list[Record]:
    """Do the runs whose records are missing or stale. Return the records of those that failed.

    jobs: how many at a time, each in a process here, or the address of a cluster's scheduler (docs/cluster.md).
    curves: where each run writes its curves while it trains, in a folder of its own (tracking.py), or None.
    Ctrl-C stops the workers and raises KeyboardInterrupt. A run that cannot begin stops the sweep before any training.
    """
    runs = list(dict.fromkeys(runs))  # a run that several rows measure is done once
    todo = [run for run, found in zip(runs, survey(runs, folder, root).records, strict=True) if found is None]
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    if curves and (without := [run for run in set(runs) - set(todo) if not (curves / locks.name(run)).exists()]):
        say(f"{len(without)} of {len(runs)} runs were done before and leave no curves")
    if not todo:
        return []
    if not isinstance(jobs, str):
        machine.check_device(device)
    for name in {streams.recipe(run.stream).data_set for run in todo}:
        data.require(name, root)
    where = f"on {jobs}" if isinstance(jobs, str) else f"{jobs} at a time"
    say(f"{len(todo)} of {len(runs)} runs to do, {where}")
    todo.sort(key=_stream_of)  # a worker keeps the stream of its last run
    locks.clear_leftovers(folder)
    commit = machine.commit()
    work = [_job(together, folder, root, device, commit, curves) for together in _together(todo, device)]
    executor = _cluster(jobs, say) if isinstance(jobs, str) else Processes(min(jobs, len(work)))
    try:
        _check(executor, work)
        desk = _Desk(executor, folder, say)
        with Line(console, len(todo)) as line:
            desk.serve(work, line)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()
    return desk.failed


def _cluster(address: str, say: Callable[[str], None]) -> Executor:
    from benchmarks.cluster import Cluster  # apart, as the engine changes how exceptions leave the processes here

    return Cluster(address, say)


def _stream_of(run: Run) -> tuple:
    return run.stream.name, run.scenario, run.stream_seed or 0


def _together(runs: list[Run], device: str) -> list[list[Run]]:
    """Return the runs in groups. Those of a group differ in their seed alone and are trained together, as theta [R, P].

    On an accelerator a small network is bound by the launch of its kernels, so that R cost little more than one. On a
    CPU they cost R times as much.
    """
    if device == "cpu":
        return [[run] for run in runs]
    alike: dict[Run, list[Run]] = {}
    for run in runs:
        alike.setdefault(run.without_seed if run.make_method().stacks else run, []).append(run)
    return [group[n : n + STACK] for group in alike.values() for n in range(0, len(group), STACK)]


def _job(runs: list[Run], folder: Path, root: Path, device: str, commit: str, curves: Path | None = None) -> Job:
    context = Context(device, commit, fingerprint(runs[0], root), runs[0].digest)
    checkpoint = folder.resolve() / ".checkpoints" / "-"  # _part_of names it
    own = str(curves.resolve()) if curves else ""
    return _part_of(Job(runs[0], str(root.resolve()), context, str(checkpoint), curves=own), runs)


def _part_of(job: Job, runs: list[Run]) -> Job:
    """Return a job like this one that does only these of its runs."""
    name = f"{locks.name(runs[0])}-{job.context.digest}-{job.context.data}.pt"
    seeds = tuple(run.seed for run in runs[1:])
    return replace(job, run=runs[0], checkpoint=str(Path(job.checkpoint).with_name(name)), beside=seeds)


def _check(executor: Executor, work: list[Job]) -> None:
    """Refuse what is known to be impossible, before anything is trained. Refused names the run."""
    alike: dict[Run, Job] = {}
    for job in work:  # The first seed stands for all. A seed that alone is impossible gives a failed record.
        alike.setdefault(job.run.without_seed, job)
    jobs = list(alike.values())
    for n, future in ended(executor, worker.check, [(job.to_text(),) for job in jobs]):
        with suppress(BrokenExecutor):  # the run itself shows what is wrong
            if refusal := Outcome.from_text(future.result()).refusal:
                raise Refused(jobs[n].run, refusal)


class _Desk:
    """Hand runs out to an executor, and write each record when it comes back."""

    def __init__(self, executor: Executor, folder: Path, say: Callable[[str], None]):
        self.executor, self.folder, self.say = executor, folder, say
        self.inside: dict[Future, tuple[Job, list[FileLock]]] = {}
        self.deaths: Counter[Job] = Counter()
        self.failed: list[Record] = []
        self.holders = ""

    def serve(self, work: list[Job], line: Line) -> None:
        """Do all of the work. `line` shows how far it is."""
        waiting, elsewhere = deque(work), []  # elsewhere: runs that another sweep has
        try:
            while waiting or self.inside or elsewhere:
                while waiting and len(self.inside) < self.executor.n:
                    self._hand_out(waiting.popleft(), elsewhere, line)
                if self.inside:
                    for future in wait(self.inside, return_when=FIRST_COMPLETED).done:
                        self._take_in(future, waiting, line)
                elif elsewhere:
                    self._wait_for(elsewhere)
                    waiting, elsewhere = deque(elsewhere), []
        finally:
            for _, held in self.inside.values():
                self._release(held)

    @staticmethod
    def _release(held: list[FileLock]) -> None:
        for lock in held:
            locks.release(lock)

    def _wait_for(self, elsewhere: list[Job]) -> None:
        """Wait a while for runs that another sweep has. Say who has them when that changes."""
        holders = ", ".join(sorted({locks.holder(self.folder, job.run) for job in elsewhere}))
        if holders != self.holders:
            self.say(f"waiting for {len(elsewhere)} runs of another sweep ({holders})")
            self.holders = holders
        time.sleep(PATIENCE)

    def _hand_out(self, job: Job, elsewhere: list[Job], line: Line) -> None:
        """Give what is left to do of a job to the executor. Runs that another sweep has wait elsewhere."""
        mine, held = [], []
        for run in job.runs:
            try:
                lock = locks.acquire(self.folder, run)
            except Timeout:
                elsewhere.append(_part_of(job, [run]))
                continue
            locks.remove_unfinished(self.folder / run.place)
            if _is_done(self.folder, run, job.context.digest, job.context.data):  # by another sweep, by now
                locks.release(lock)
                line.end(run)
                continue
            mine.append(run)
            held.append(lock)
        if mine:
            left = _part_of(job, mine)
            for run in mine:
                line.begin(run)
            self.inside[self.executor.submit(worker.work, left.to_text())] = left, held

    def _take_in(self, future: Future, waiting: deque[Job], line: Line) -> None:
        job, held = self.inside.pop(future)
        try:
            records = self._records_of(job, future)
            if not records:
                for run in job.runs:
                    line.drop(run)
                waiting.append(job)
                return
            for found in records:
                record.save(found, self.folder / found.run.place)
                checkpoints = Path(job.checkpoint).parent.glob(f"{locks.name(found.run)}-*.pt")
                for left in checkpoints:  # also those of other code or data
                    left.unlink(missing_ok=True)
        finally:
            self._release(held)
        for found in records:
            if found.reason is not None:
                self.say(f"failed: {found.run}: {found.reason}")
                self.failed.append(found)
            line.end(found.run, failed=found.reason is not None)

    def _records_of(self, job: Job, future: Future) -> Sequence[Record]:
        """Return the records of a job that is done, or none if its worker died and the job is to be tried again."""
        try:
            outcome = Outcome.from_text(future.result())
        except BrokenExecutor as error:
            self.deaths[job] += 1
            why = error if isinstance(error, Lost) else "was killed (out of memory?)"
            if self.deaths[job] < self.executor.tries:
                self.say(f"the worker of {job.run} {why}: the run is tried again")
                return ()
            return worker.failed(job, f"its worker {why}, {self.deaths[job]} times")
        for note in outcome.notes:
            self.say(note)
        if not outcome.records:
            raise Refused(job.run, outcome.refusal)
        return outcome.records

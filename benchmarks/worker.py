"""A worker builds the stream of a run, trains, and gives back the record. Everything travels as JSON text."""

import json
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from benchmarks import data, locks, machine, numerics, record, streams
from benchmarks.checkpoint import Checkpoint
from benchmarks.learner import start
from benchmarks.record import Record
from benchmarks.run import Run
from benchmarks.stream import Stream
from benchmarks.trace import Trace
from methods.base.choice import Choice
from methods.base.errors import UserError

CHECKPOINT_EVERY = 60.0  # seconds; to do a short run again costs less than to write its state


@dataclass(frozen=True)
class Context:
    """Hold what a run cannot know by itself."""

    device: str
    commit: str
    data: str  # fingerprint of the data set
    digest: str  # of the sources when the sweep began; an edit during it does not pass for what ran


@dataclass(frozen=True)
class Job:
    """Hold a run and what a worker needs for it.

    checkpoint: the file for a long run's state, or "". beside: the seeds of runs that are alike but for it, and are
    trained together with it. curves: the folder in which each has one for its curves (tracking.py), or "".
    """

    run: Run
    root: str
    context: Context
    checkpoint: str = ""
    beside: tuple[int, ...] = ()
    curves: str = ""

    @property
    def runs(self) -> list[Run]:
        """Return all runs of the job."""
        return [self.run, *(replace(self.run, seed=seed) for seed in self.beside)]

    @property
    def identity(self) -> dict:
        """Return what tells a checkpoint from one of another run. A preset only names options, and tells nothing."""
        run = replace(self.run, method=replace(self.run.method, preset=None))
        where = {name: getattr(self.context, name) for name in ("digest", "data", "device")}
        return run.to_json() | where | ({"beside": list(self.beside)} if self.beside else {})

    def to_text(self) -> str:
        """Return the job as JSON."""
        return json.dumps({**vars(self), "run": self.run.to_json(), "context": asdict(self.context)})

    @classmethod
    def from_text(cls, text: str) -> "Job":
        """Return the job in a JSON text."""
        values = json.loads(text)
        values["run"], values["context"] = Run.of(**values["run"]), Context(**values["context"])
        return cls(**values | {"beside": tuple(values["beside"])})


@dataclass(frozen=True)
class Outcome:
    """Hold the records of a job's runs, or the reason why nothing was trained. notes: what the user should hear."""

    records: tuple[Record, ...] = ()
    refusal: str | None = None
    notes: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the outcome as JSON."""
        return json.dumps({**vars(self), "records": list(map(record.to_text, self.records))})

    @classmethod
    def from_text(cls, text: str) -> "Outcome":
        """Return the outcome in a JSON text."""
        values = json.loads(text)
        return cls(tuple(map(record.from_text, values["records"])), values["refusal"], tuple(values["notes"]))


def check(text: str) -> str:
    """Return an Outcome without records. It says whether the run of a job can begin: stream or method may refuse."""
    job = Job.from_text(text)
    try:
        stream, _ = _stream(job.run, job.root)
        job.run.make_method().check_stream(stream.n_tasks, stream.n_classes)
    except UserError as error:
        return Outcome(refusal=str(error)).to_text()
    return Outcome().to_text()


def work(text: str) -> str:
    """Do the runs of a job. Return an Outcome with their records."""
    numerics.settle()
    job = Job.from_text(text)
    try:
        built, seconds = zip(*(_stream(run, job.root) for run in job.runs), strict=True)
    except (Exception, SystemExit) as error:
        return _without_stream(job, error).to_text()
    saved = Checkpoint(Path(job.checkpoint), job.identity, every=CHECKPOINT_EVERY) if job.checkpoint else None
    curves = [_curves(job, job.runs)]
    found = execute(job.runs, built, job.context, sum(seconds) / len(seconds), saved, curves[0])
    if job.beside and found[0].reason is not None:  # what stops one replica stops all: each is done by itself
        curves = [_curves(job, [run]) for run in job.runs]
        alone = zip(job.runs, built, seconds, curves, strict=True)
        found = [execute([run], [stream], job.context, spent, None, own)[0] for run, stream, spent, own in alone]
    notes = [note for part in (saved, *curves) if part for note in part.notes]
    return Outcome(tuple(found), notes=tuple(notes)).to_text()


def _without_stream(job: Job, error: BaseException) -> Outcome:
    """Return what comes of a job whose stream cannot be built: failed records where its seed or its code is the cause.

    What holds for other runs, too, is a refusal: data that are gone, or options that no seed can serve.
    """
    try:
        data.load(streams.recipe(job.run.stream).data_set, Path(job.root))
    except UserError as gone:
        return Outcome(refusal=str(gone))
    if isinstance(error, UserError) and job.run.stream_seed is None:
        return Outcome(refusal=str(error))
    return Outcome(tuple(failed(job, reason_of(error))))


def _curves(job: Job, runs: Sequence[Run]):
    if not job.curves:
        return None
    from benchmarks.tracking import Curves  # here, as nobody else needs it

    return Curves([Path(job.curves) / locks.name(run) for run in runs])


def execute(
    runs: Sequence[Run],
    built: Sequence[Stream],
    context: Context,
    seconds_of_data: float,
    checkpoint: Checkpoint | None = None,
    curves=None,
) -> list[Record]:
    """Train and evaluate a run, or several that differ in their seed alone, together. Return their records.

    Whatever stops them gives failed records with the reason and the finished tasks.
    """
    machine.reset_peak_memory()
    run, R = runs[0], len(runs)
    seeds, trace, reason, diverged, n_parameters = tuple(run.seed for run in runs), Trace(), None, False, None
    try:
        method = run.make_method()
        if curves:
            curves.follow(method, trace, [len(test) for test in built[0].tests])
        n_parameters = start(method, built, run.train, seeds, context.device, trace, checkpoint)
    except (Exception, SystemExit) as error:
        reason, diverged = reason_of(error), isinstance(error, FloatingPointError)
    finally:
        if curves:
            curves.close()
    seconds = {"data": round(seconds_of_data, 3)} | {phase: round(s / R, 3) for phase, s in trace.seconds.items()}
    return [
        Record(
            schema=record.SCHEMA,
            run=run,
            reason=reason,
            correct=_of_replica(trace.correct, r),
            curve=_of_replica(trace.curve, r),
            added=trace.added,
            total=[len(test) for test in built[r].tests],
            n_parameters=n_parameters,
            seeds=trace.seeds(run.seed),
            seconds=seconds,
            peak_memory_mb=round(machine.peak_memory_mb(), 1),
            diverged=diverged,
            memory=None if reason else {name: held // R for name, held in trace.memory.items()},
            warnings=trace.warnings,
            replicas=R,
            **_made_by(context),
        )
        for r, run in enumerate(runs)
    ]


def _of_replica(counts: list[list] | None, r: int) -> list[list[int | None]] | None:
    return counts and [[count[r] if isinstance(count, list) else count for count in row] for row in counts]


def failed(job: Job, reason: str) -> list[Record]:
    """Return the failed records of a job that gave nothing back."""
    nothing = {"correct": None, "total": [], "n_parameters": None, "seeds": {}, "seconds": {}, "peak_memory_mb": 0.0}
    made_by = _made_by(job.context)
    return [Record(schema=record.SCHEMA, run=run, reason=reason, **nothing, **made_by) for run in job.runs]


def _made_by(context: Context) -> dict:
    """Return the fields of a record that say which code, data and machine made it."""
    made_on = {"versions": machine.versions(), "machine": machine.machine(context.device)}
    return made_on | {"commit": context.commit, "data": context.data, "digest": context.digest}


def reason_of(error: BaseException) -> str:
    """Say in one line why a run failed. Errors other than divergence and refusals get their place in the code."""
    text = " ".join(str(error).split())
    if isinstance(error, FloatingPointError | UserError):
        return text
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({Path(last.filename).name}, line {last.lineno})"


def _stream(run: Run, root: str) -> tuple[Stream, float]:
    """Return the stream of a run, and the seconds that it took to build. The last one is kept."""
    return _build(run.stream, run.scenario, run.stream_seed, root)


@lru_cache(maxsize=1)
def _build(stream: Choice, scenario: str, seed: int | None, root: str) -> tuple[Stream, float]:
    begun = time.perf_counter()
    built = streams.build(stream, scenario, seed, Path(root))
    return built, time.perf_counter() - begun

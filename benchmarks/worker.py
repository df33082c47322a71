"""A worker builds the stream of a run, trains, and gives back the record. Everything travels as JSON text."""

import json
import time
import traceback
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from benchmarks import machine, numerics, record, streams
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

    checkpoint: the file for a long run's state, or "". curves: the folder for its curves (tracking.py), or "".
    """

    run: Run
    root: str
    context: Context
    checkpoint: str = ""
    curves: str = ""

    def to_text(self) -> str:
        """Return the job as JSON."""
        return json.dumps({**vars(self), "run": self.run.to_json(), "context": asdict(self.context)})

    @classmethod
    def from_text(cls, text: str) -> "Job":
        """Return the job in a JSON text."""
        values = json.loads(text)
        return cls(**values | {"run": Run.of(**values["run"]), "context": Context(**values["context"])})


@dataclass(frozen=True)
class Outcome:
    """Hold a record, or the reason why nothing was trained. notes: what the user should hear."""

    record: Record | None
    refusal: str | None = None
    notes: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the outcome as JSON."""
        return json.dumps({**vars(self), "record": self.record and record.to_text(self.record)})

    @classmethod
    def from_text(cls, text: str) -> "Outcome":
        """Return the outcome in a JSON text."""
        values = json.loads(text)
        found = values["record"] and record.from_text(values["record"])
        return cls(found, values["refusal"], tuple(values["notes"]))


def check(text: str) -> str:
    """Return an Outcome without a record. It says whether the run of a job can begin: stream or method may refuse."""
    job = Job.from_text(text)
    try:
        stream, _ = _stream(job.run, job.root)
        job.run.make_method().check_stream(stream.n_tasks, stream.n_classes)
    except UserError as error:
        return Outcome(None, str(error)).to_text()
    return Outcome(None).to_text()


def work(text: str) -> str:
    """Do the run of a job. Return an Outcome with its record."""
    numerics.settle()
    job = Job.from_text(text)
    try:
        stream, seconds = _stream(job.run, job.root)
    except UserError as error:
        return Outcome(None, str(error)).to_text()
    identity = job.run.to_json() | {name: getattr(job.context, name) for name in ("digest", "data", "device")}
    saved = Checkpoint(Path(job.checkpoint), identity, every=CHECKPOINT_EVERY) if job.checkpoint else None
    curves = _curves(job.curves) if job.curves else None
    found = execute(job.run, stream, job.context, seconds, saved, curves)
    notes = [note for part in (saved, curves) if part for note in part.notes]
    return Outcome(found, notes=tuple(notes)).to_text()


def _curves(folder: str):
    from benchmarks.tracking import Curves  # here, as nobody else needs it

    return Curves(Path(folder))


def execute(
    run: Run,
    stream: Stream,
    context: Context,
    seconds_of_data: float,
    checkpoint: Checkpoint | None = None,
    curves=None,
) -> Record:
    """Train and evaluate. Whatever stops the run gives a failed record with the reason and the finished tasks."""
    machine.reset_peak_memory()
    trace, reason, diverged, n_parameters = Trace(), None, False, None
    try:
        method = run.make_method()
        if curves:
            curves.follow(method, trace, [len(test) for test in stream.tests])
        n_parameters = start(method, stream, run.train, run.seed, context.device, trace, checkpoint)
    except (Exception, SystemExit) as error:
        reason, diverged = reason_of(error), isinstance(error, FloatingPointError)
    finally:
        if curves:
            curves.close()
    seconds = {"data": round(seconds_of_data, 3)} | {phase: round(s, 3) for phase, s in trace.seconds.items()}
    return Record(
        schema=record.SCHEMA,
        run=run,
        reason=reason,
        correct=trace.correct,
        curve=trace.curve,
        added=trace.added,
        total=[len(test) for test in stream.tests],
        n_parameters=n_parameters,
        seeds=trace.seeds,
        seconds=seconds,
        peak_memory_mb=round(machine.peak_memory_mb(), 1),
        diverged=diverged,
        memory=None if reason else trace.memory,
        warnings=trace.warnings,
        **_made_by(context),
    )


def failed(job: Job, reason: str) -> Record:
    """Return the failed record of a run that gave nothing back."""
    nothing = {"correct": None, "total": [], "n_parameters": None, "seeds": {}, "seconds": {}, "peak_memory_mb": 0.0}
    return Record(schema=record.SCHEMA, run=job.run, reason=reason, **nothing, **_made_by(job.context))


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

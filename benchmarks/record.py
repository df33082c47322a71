"""A record is one JSON file per run. It explains itself, and nothing in it is derived.

A record holds every option of the run, the counts of right answers after each task, seeds by role, seconds by phase,
peak memory, versions, machine, commit, and a digest of the source files that can change the number. A record is stale
if its digest or its data no longer match. A stale record is listed and run again, never mixed in.
"""

import json
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import metrics
from benchmarks.files import write_atomically
from benchmarks.run import Run
from methods.base.errors import UserError
from methods.base.options import Count, CountOrZero, NonNegative, fitted, kinds

SCHEMA = 1
Counts = list[list[CountOrZero | None]]


class Outdated(UserError):
    """A record of a run that this version cannot describe: an option or a method has another name now."""


class Newer(UserError):
    """A record has a schema that this version does not know yet."""


class Damaged(UserError):
    """A file should hold a record and does not."""


@dataclass(frozen=True)
class Record:
    """Hold what is stored of a run. `reason` says why it failed. It is None for a finished run."""

    schema: int
    run: Run
    reason: str | None
    correct: Counts | None  # [T + 1][T]: right on test set j after k tasks; null: not applicable
    total: list[Count]  # [T] test examples
    n_parameters: Count | None
    seeds: dict[str, CountOrZero]
    seconds: dict[str, NonNegative]
    peak_memory_mb: NonNegative
    versions: dict[str, str]
    machine: dict[str, Any]
    commit: str
    data: str  # fingerprint of the data set
    digest: str  # of the sources
    memory: dict[str, CountOrZero] | None = None  # the most between two tasks: examples, bytes of state; None: unknown
    diverged: bool = False  # whether the run failed because training left the finite numbers
    warnings: list[str] | None = None  # what a reader of the number should know; None: not looked for
    added: list[CountOrZero] | None = None  # units that the method added to each hidden layer
    curve: Counts | None = None  # [T][b + 1]: right on test set k after b batches of it
    replicas: Count = 1  # R, how many seeds were trained together; `seconds` and `memory` are a share of theirs

    @property
    def seed(self) -> int:
        """Return the run's seed."""
        return self.run.seed

    @property
    def accuracy(self) -> np.ndarray | None:
        """Return accuracy [T + 1, T], NaN where not applicable, or None for a failed run."""
        if self.reason is not None:
            return None
        return metrics.numbers(self.correct) / np.array(self.total)


def to_text(record: Record) -> str:
    """Return the record as JSON, one field a line."""
    values = {field.name: getattr(record, field.name) for field in fields(record)} | {"run": record.run.to_json()}
    body = {key: json.dumps(value) for key, value in values.items()}
    if record.correct is not None:
        body["correct"] = "[\n    " + ",\n    ".join(json.dumps(row) for row in record.correct) + "\n  ]"
    return "{\n  " + ",\n  ".join(f'"{key}": {value}' for key, value in body.items()) + "\n}\n"


def from_text(text: str) -> Record:
    """Return the record in a JSON text. ValueError says what the text is instead."""

    def refuse(constant: str):
        raise ValueError(f"{constant} is not a number")

    try:
        values = json.loads(text, parse_constant=refuse)
        if not isinstance(values, dict):
            raise ValueError("it holds no fields")
        if (schema := values.get("schema")) != SCHEMA:
            kind = Newer if type(schema) is int and schema > SCHEMA else ValueError
            raise kind(f"it has record schema {schema!r}, this version reads {SCHEMA}")
        if not fitted("seed", Count)(values["run"]["seed"])[0]:
            raise ValueError("its seed is no whole number from 1")
        try:
            run = Run.of(**values["run"])
        except UserError as error:
            raise Outdated(str(error)) from error
        record = Record(**values | {"run": run})
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"its fields are not those of a record ({error})") from None
    for name, kind in kinds(Record).items():
        if name != "run" and not fitted(name, kind)(getattr(record, name))[0]:
            raise ValueError(f"its {name} has a value that no run gives")
    T = len(record.total)
    if record.correct is not None and [len(row) for row in record.correct] != [T] * (T + 1):
        raise ValueError(f"its counts are not [{T + 1}, {T}]")
    if record.curve is not None and [len(row) for row in record.curve] != [(run.train.curve or 0) + 1] * T:
        raise ValueError(f"its curve is not [{T}, {(run.train.curve or 0) + 1}]")
    if record.reason is None and record.correct is None:
        raise ValueError("it holds neither counts nor the reason why there are none")
    if record.reason is None:
        metrics.check(record.accuracy, record.total)
    return record


def save(record: Record, file: Path) -> None:
    """Write the record, whole or not at all."""
    write_atomically(file, to_text(record))


def load(file: Path) -> Record | None:
    """Return the record in `file`, or None without a file. Damaged names a file that is not a record."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise UserError(f"{file} is not a plain file: remove it, or use another results folder")
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; mend it or use another results folder") from error
    except UnicodeDecodeError as error:
        raise Damaged(f"{file} is not a record (truncated or damaged): {error}") from error
    try:
        return from_text(text)
    except Outdated as error:
        raise Outdated(f"{file} is of another version: {error}") from error
    except Newer as error:
        raise UserError(f"{file} is of a newer version: {error}; use another results folder") from None
    except ValueError as error:
        raise Damaged(f"{file} is not a record (truncated or damaged): {' '.join(str(error).split())}") from error

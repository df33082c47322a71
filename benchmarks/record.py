"""Records: one self-explaining JSON file per run; nothing in it is derived.

A record holds every option of the run, the counts of right answers after each task, seeds by role, seconds by phase,
peak memory, versions, machine, commit, and a digest of the source files that can change the number. A record whose
digest or data no longer match is stale: it is listed, never mixed in, and run again.
"""

import ast
import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np

import methods
from benchmarks import streams
from benchmarks.files import write_atomically
from benchmarks.learner import Train
from methods.base.errors import UserError

SCHEMA = 1
ROOT = Path(__file__).resolve().parent.parent
LOCAL, REFERENCE = ROOT / "results" / "local", ROOT / "results" / "reference"
PACKAGES = ("benchmarks", "methods")
TEXT_ONLY = {"methods/base/errors.py"}  # imported by a run, yet unable to change a number


class Damaged(UserError):
    """A file that should hold a record and does not."""


@dataclass(frozen=True)
class Record:
    """What is stored of a run. `reason` says why it failed, None for a finished run."""

    schema: int
    run: dict  # stream, scenario, method, train, seed: every option, resolved
    reason: str | None
    correct: list[list[int | None]] | None  # [T + 1][T]: right on test set j after k tasks; null: not applicable
    total: list[int]  # [T] test examples
    n_parameters: int | None
    seeds: dict[str, int]
    seconds: dict[str, float]
    peak_memory_mb: float
    versions: dict[str, str]
    machine: dict
    commit: str
    data: str  # fingerprint of the data set
    digest: str  # of the sources
    memory: dict | None = None  # the most between two tasks: examples stored, bytes of method state; None: not measured

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.run["seed"]

    @property
    def accuracy(self) -> np.ndarray | None:
        """Accuracy [T + 1, T], NaN where not applicable; None for a failed run."""
        if self.correct is None:
            return None
        return np.array([[np.nan if c is None else c for c in row] for row in self.correct]) / np.array(self.total)


def path(folder: Path, run: dict) -> Path:
    """Where the record of a resolved run lies under `folder`.

    The name is made of what differs from the defaults: an option that comes later, with what was done before it as its
    default, moves no record.
    """
    identity = {key: value for key, value in run.items() if key != "seed"}
    for part, known in _defaults(run).items():
        identity[part] = {k: value for k, value in run[part].items() if k not in known or value != known[k]}
    identity["method"].pop("preset", None)  # a name for options, which are here
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    return folder / run["stream"]["name"] / run["scenario"] / f"{run['method']['name']}-{short}-seed{run['seed']}.json"


def is_of(record: Record, run: dict) -> bool:
    """Whether a record that lies where the run's does is of it: made when no default was another than it is today."""
    for part in ("stream", "method", "train"):
        ours, theirs = json.loads(json.dumps(run[part])), record.run[part]
        if any(theirs.get(key, value) != value for key, value in ours.items() if key != "preset"):
            return False
    return True


def _defaults(run: dict) -> dict[str, dict]:
    return {
        "stream": streams.defaults(run["stream"]["name"]),
        "method": methods.defaults(run["method"]["name"]),
        "train": {field.name: field.default for field in fields(Train)},
    }


def save(record: Record, file: Path) -> None:
    """Write the record, whole or not at all."""
    body = {key: json.dumps(value) for key, value in asdict(record).items()}
    if record.correct is not None:
        body["correct"] = "[\n    " + ",\n    ".join(json.dumps(row) for row in record.correct) + "\n  ]"
    write_atomically(file, "{\n  " + ",\n  ".join(f'"{key}": {value}' for key, value in body.items()) + "\n}\n")


def load(file: Path) -> Record | None:
    """The record in `file`, None if there is none; a file that is not a record raises Damaged, naming it."""
    try:
        fields = json.loads(file.read_text())
        if fields.get("schema") != SCHEMA:
            raise Damaged(f"{file} has record schema {fields.get('schema')!r}, this version reads {SCHEMA}")
        return Record(**fields)
    except FileNotFoundError:
        return None
    except Damaged:
        raise
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}; mend it or use another results folder") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"{file} is not a record (truncated or damaged): {error}") from error


def set_aside(file: Path) -> Path:
    """Move a damaged file out of the way, keeping it; returns its new place."""
    aside = file.with_suffix(".damaged")
    os.replace(file, aside)
    return aside


@cache
def digest(*modules: str) -> str:
    """A digest of the sources of `modules` and of all of this suite that they import, comments and docstrings apart."""
    files, waiting = {}, [_file(module) for module in modules]
    while waiting:
        file = waiting.pop()
        name = file.relative_to(ROOT).as_posix()
        if name in files or name in TEXT_ONLY:
            continue
        tree = _without_docstrings(ast.parse(file.read_text()))
        files[name] = ast.unparse(tree)
        waiting += [_file(module) for module in _imports(tree)]
    text = "\0".join(f"{name}\0{source}" for name, source in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for module in found if module.split(".")[0] in PACKAGES and _file(module)}


def _file(module: str) -> Path | None:
    file = ROOT / (module.replace(".", "/") + ".py")
    return file if file.is_file() else None


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree

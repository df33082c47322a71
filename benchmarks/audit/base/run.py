"""Run the audit: each library in a process of its own environment, with a time limit, and its cells.

A process that crashes, hangs or answers garbage costs what it had not answered yet. Its home is a temporary folder.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.audit.base import problem
from benchmarks.audit.base.classify import NONE, NOT_RUN, Cell, classify
from benchmarks.audit.base.definitions import DEFINITIONS
from benchmarks.audit.base.environments import interpreter
from benchmarks.audit.base.library import find
from benchmarks.audit.base.quantities import QUANTITIES
from benchmarks.files import ROOT
from methods.base.errors import UserError

RUNNING: set[subprocess.Popen] = set()
LIMIT = 300  # seconds for a library
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
QUIET = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "WANDB_MODE": "disabled", "MPLBACKEND": "agg"}


@dataclass(frozen=True)
class Row:
    """A library's version and cells, one for each quantity."""

    name: str
    version: str
    cells: dict[str, Cell]


def audit(name: str, limit: float = LIMIT, worker: list[str] | None = None) -> Row:
    """Return the row of a library. `worker` is the command that answers, by default that of its environment."""
    library = find(name)
    with tempfile.TemporaryDirectory() as folder:
        work = problem.make()
        problem.save(work, Path(folder))
        try:
            command = worker or [interpreter(name), "-m", "benchmarks.audit.base.worker"]
            ended = _run([*command, name, folder], folder, limit)
            version, answers = read_answers(Path(folder) / "answers.jsonl")
        except UserError as error:
            ended, version, answers = str(error), "", {}
    cells = {}
    for quantity in QUANTITIES:
        if quantity not in library.entries:
            cells[quantity] = Cell(NONE)
            continue
        cell = classify(quantity, answers.get(quantity, {}), DEFINITIONS[quantity](work))
        cells[quantity] = Cell(NOT_RUN, text=ended) if cell.kind == NOT_RUN and ended else cell
    return Row(name, version, cells)


def _run(command: list[str], folder: str, limit: float) -> str:
    """Run a command to its end, and return how it ended. '' is well."""
    own = {**os.environ, **ONE_THREAD, **QUIET, "PYTHONPATH": str(ROOT), "HOME": folder}
    with open(Path(folder) / "output.txt", "w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=own, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        RUNNING.add(process)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"no answer after {limit:g} s"
        finally:
            _end(process)
        output.seek(0)
        lines = [line.strip() for line in output if line.strip()]
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}: {lines[-1][:200] if lines else 'no output'}" if status else ""


def _end(process: subprocess.Popen) -> None:
    """End the process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    RUNNING.discard(process)


def end_all() -> None:
    """End the libraries that are at work, as after Ctrl-C: they are no children of the terminal."""
    for process in list(RUNNING):
        _end(process)


def read_answers(file: Path) -> tuple[str, dict[str, dict[int, list[float] | str]]]:
    """Return the version, and {quantity: {case: values, or the line of an error}}. Lines of no use are left out."""
    version, answers = "", {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ():
        try:
            found = json.loads(line)
            if "version" in found:
                version = str(found["version"] or "")
                continue
            answer = str(found["error"]) if "error" in found else [float(value) for value in found["values"]]
            answers.setdefault(str(found["quantity"]), {})[int(found["case"])] = answer
        except (ValueError, TypeError, KeyError):
            continue
    return version, answers

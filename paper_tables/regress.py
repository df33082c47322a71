"""`regress` runs a table afresh and compares it with its gate references, by the rules of gate.py.

References lie in results/gate/<table>/, one JSON file for each kind of machine. A file holds the counts of every run of
the gate's seeds. References change only through `--accept --reason "..."`, which notes the reason in LEDGER.md beside
them. Where MNIST is in the data root, the rows of the digits run on a few hundred of its images, too, with the first
seed. What stands in a reference must be run: the gate fails if a row, a scenario or a method is gone.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Lines

from benchmarks import data, machine
from benchmarks.files import LOCAL, ROOT, read_text, shown, write_atomically
from benchmarks.record import Record
from benchmarks.sweep import survey, sweep
from methods.base.errors import UserError
from paper_tables import declaration, gate, reports
from paper_tables.declaration import Row, Table
from paper_tables.gate import ON_MNIST, Cell, Key, Outcome
from paper_tables.runs import Runs, measures, runs_of

NAME, SEEDS = "splitdigits", (1, 2)
MNIST = {"name": "splitmnist", "tasks": 5, "examples": 96}  # the rows of NAME run on it too
FOLDER = ROOT / "results" / "gate"
SCHEMA = 1
VERSIONS = ("torch", "numpy", "scipy")  # on which rounding depends
# What a reference file holds of a run.
FIELDS = ("row", "scenario", "seed", "metric", "value", "correct", "reason")


def regress(
    name: str,
    root: Path,
    jobs: int | str,
    device: str,
    reason: str | None,
    files: dict[str, Path],
    folder: Path = FOLDER,
) -> int:
    """Compare fresh runs with the references. Return 1 if a cell fails. A reason makes the fresh runs the reference.

    files: where else to report, by the form of the report ("junit", "json").
    """
    known, exact = references(folder / name, device)
    with_mnist = name == NAME and data.is_there("mnist", root)
    unseen = {key for outcomes in known for key in outcomes if _on_mnist(key) and not with_mnist}
    if reason is not None and not reason.strip():
        raise UserError('a new reference needs a reason: --accept --reason "why the numbers moved"')
    if reason is not None and unseen:
        raise UserError(f"the references of {name} hold runs on MNIST, which is not in {root}: make data-mnist")
    table = gated(declaration.load(name)) if with_mnist else declaration.load(name)
    if name != NAME and (taken := [row.label for row in table.rows if row.label.endswith(ON_MNIST)]):
        raise UserError(f"{name}: the label {taken[0]!r} ends as those of the gate's own rows do: change its end")
    runs = gate_runs(table)
    with _kept_if_interrupted(name, device) as results:
        sweep(list(runs.values()), results, root, jobs, device)
        fresh = outcomes(table, runs, survey(list(runs.values()), results, root).records)
    known = [{key: outcome for key, outcome in outcomes.items() if key not in unseen} for outcomes in known]
    cells = gate.compare(known, fresh, exact)
    lines = _print(name, cells, known, exact)
    if unseen:
        lines.append(f"MNIST is not in {root}: {len(unseen)} runs on it are not compared (make data-mnist)")
        Console().print(lines[-1], markup=False, soft_wrap=True)
    reports.write(files, name, cells, lines)
    reports.for_github(name, cells, lines)
    if reason is not None:
        accept(name, fresh, cells, device, reason, folder / name)
        return 0
    return int(not cells or any(not cell.passes for cell in cells))


@contextmanager
def _kept_if_interrupted(name: str, device: str) -> Iterator[Path]:
    """Give a folder for the runs of one comparison. It is removed at its end, and stays if that is not reached.

    The next comparison goes on from there, if it is on the same machine with the same packages.
    """
    folder = LOCAL / ".regress" / f"{name}-{hashlib.sha256(json.dumps(kind(device)).encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder.with_suffix(".lock"), timeout=0).acquire()
    except Timeout as error:
        raise UserError(f"another process compares {name} in this folder: wait until it has ended") from error
    with lock:
        yield folder
        shutil.rmtree(folder)


def gated(table: Table) -> Table:
    """Return the table with each of its rows once more, on a few hundred images of Split MNIST."""

    def there(label: str | None) -> str | None:
        return label and label + ON_MNIST

    def on_mnist(row: Row) -> Row:
        steps = row.train["epochs"] * math.ceil(MNIST["examples"] / row.train["batch"])  # MNIST counts in steps
        train = {**row.train, "epochs": None, "steps": steps}
        return replace(row, label=there(row.label), reference=there(row.reference), stream=MNIST, train=train)

    return replace(table, rows=table.rows + tuple(map(on_mnist, table.rows)))


def gate_runs(table: Table) -> Runs:
    """Return the runs that the gate compares, by row, scenario and seed. On MNIST a row runs with the first seed."""
    return {key: run for key, run in runs_of(table, SEEDS).items() if key[2] == SEEDS[0] or not _on_mnist(key)}


def _on_mnist(key: Key) -> bool:
    return key[0].endswith(ON_MNIST)


def outcomes(table: Table, runs: Runs, records: list[Record | None]) -> dict[Key, Outcome]:
    """Return what came of the runs that exist, by row, scenario and seed."""
    rows = {row.label: row for row in table.rows}
    by_key = dict(zip(runs, records, strict=True))
    return {key: _outcome(rows[key[0]], found, by_key, key) for key, found in by_key.items() if found is not None}


def _outcome(row: Row, found: Record, by_key: dict[Key, Record | None], key: Key) -> Outcome:
    correct = None if found.correct is None else tuple(map(tuple, found.correct))
    if found.reason is not None:
        return Outcome(row.metric, None, correct, found.reason)
    against = by_key.get((row.reference, *key[1:]))
    (measure,) = measures(row.metric, [found], [against] if against else [], row.reference)
    return Outcome(row.metric, None if measure.reason else measure.percent, correct, measure.reason)


def references(folder: Path, device: str) -> tuple[list[dict[Key, Outcome]], bool]:
    """Return (references, exact): those of a machine like this one and True, or those of every kind and False."""
    files = [_load(file) for file in sorted(folder.glob("*.json"))]
    here = [found["outcomes"] for found in files if found["kind"] == kind(device)]
    return (here, True) if here else ([found["outcomes"] for found in files], False)


def kind(device: str) -> dict:
    """Return what counts depend on beside the code: the machine and the versions of the packages that compute."""
    versions = machine.versions()
    here = machine.machine(device)
    del here["threads"]  # those of this process; a run has one
    return {"machine": here, "versions": {name: versions[name] for name in VERSIONS}}


def _load(file: Path) -> dict:
    try:
        found = json.loads(read_text(file))
        if found["schema"] != SCHEMA:
            raise ValueError(f"its schema is {found['schema']!r}, this version reads {SCHEMA}")
        runs = [dict(zip(FIELDS, run, strict=True)) for run in found["runs"]]
        return {"kind": found["kind"], "outcomes": {(r["row"], r["scenario"], r["seed"]): _from_json(r) for r in runs}}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file} is not a gate reference ({error}): take it from git again") from error


def _from_json(run: dict) -> Outcome:
    correct = None if run["correct"] is None else tuple(map(tuple, run["correct"]))
    return Outcome(run["metric"], run["value"], correct, run["reason"])


def accept(name: str, fresh: dict[Key, Outcome], cells: list[Cell], device: str, reason: str, folder: Path) -> None:
    """Make the fresh outcomes the reference of this kind of machine, and note the reason.

    If a cell has failed, the references of other kinds belong to other code. They are removed and must be made anew.
    """
    reason = " ".join(reason.split())
    here = kind(device)
    on = [here["machine"][name] for name in ("cpu", "capability", "device")]
    stem = re.sub(r"[^a-z0-9]+", "-", " ".join(on).removesuffix(" cpu").lower()).strip("-")
    moved = [cell for cell in cells if not cell.passes and cell.state != "no reference"]
    for file in folder.glob("*.json") if moved else ():
        file.unlink()
    runs = [json.dumps([*key, o.metric, o.value, o.correct, o.reason]) for key, o in fresh.items()]
    head = f'"schema": {SCHEMA},\n"kind": {json.dumps(here)},\n"commit": {json.dumps(machine.commit())}'
    write_atomically(folder / f"{stem}.json", f'{{\n{head},\n"runs": [\n' + ",\n".join(runs) + "\n]\n}\n")
    ledger = folder / "LEDGER.md"
    before = read_text(ledger) if ledger.exists() else f"# Why the references of {name} are what they are\n"
    new = sum(cell.state == "no reference" for cell in cells)
    what = [f"{c.row} {c.scenario} {_percent(c.old)} -> {_percent(c.new)}" for c in moved]
    what = ", ".join([*what, *([f"{new} new cells"] if new else [])]) or "nothing moved"
    write_atomically(ledger, f"{before}\n- {stem}: {reason} ({what})\n")
    if failed := [key for key, outcome in fresh.items() if outcome.value is None]:
        row, scenario, seed = failed[0]
        text = f"runs without a number in the new reference: {len(failed)}, first {row}, {scenario}, seed {seed}"
        Console(stderr=True).print(text, markup=False, soft_wrap=True)
    Console(stderr=True).print(f"accepted: commit {shown(folder)}, and say in CHANGELOG.md what moved and why")


def _print(name: str, cells: list[Cell], known: list[dict[Key, Outcome]], exact: bool) -> list[str]:
    """Print the cells and what is to be known of the comparison. Return the latter, line by line."""
    lines = Lines("row", "scenario", "old", "new", "shift", "", title=f"{name}, seeds {SEEDS}, percent")
    for cell in cells:
        shift = "" if cell.shift != cell.shift else f"{cell.shift:+.2f}"
        lines.add_row(escape(cell.row), cell.scenario, _percent(cell.old), _percent(cell.new), shift, cell.state)
    console = Console(width=100)
    console.print(lines)
    text = summary(cells, known, exact)
    for line in text:
        console.print(line, markup=False, soft_wrap=True)
    return text


def summary(cells: list[Cell], known: list[dict[Key, Outcome]], exact: bool) -> list[str]:
    """Say how many cells are in which state, why some fail, and how sure the gate is."""
    states = [cell.state for cell in cells]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "none: nothing was run"
    where = "a machine like this one" if exact else f"other machines ({len(known)} kinds)"
    text = [f"{len(cells)} cells against references of {where}: {counted}"]
    text += [f"{cell.row}, {cell.scenario}: {cell.state}: {cell.why}" for cell in cells if not cell.passes]
    if not exact and len(known) > 1:
        alarms, shift = gate.rates(known)
        text.append(
            f"By simulation from the references: an untouched table fails in {100 * alarms:.1f} % of machines of a new "
            f"kind; a shift of {shift:.2g} points in all runs of a row is found in {100 * gate.POWER:g} %."
        )
    return text


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"

"""Regression on metrics: the digits table run afresh and compared, cell by cell, with the committed reference records.

On the machine that made a reference (CPU model and capability, versions, threads) its counts of right answers must
come out again exactly. Elsewhere rounding differs, training amplifies it, and the mean over the seeds may move by up
to TOLERANCE points either way: a limit on both sides, because a leak that helps is a regression too.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Lines

from benchmarks import metrics, record
from benchmarks.record import Record
from benchmarks.sweep import survey, sweep
from paper_tables import declaration
from paper_tables.references import references
from paper_tables.runs import Runs, runs_of

NAME, SEEDS = "splitdigits", (1, 2)
TOLERANCE = 1.0  # points of a cell's mean over the seeds; how it was set: CONTRIBUTING.md


@dataclass(frozen=True)
class Cell:
    """A row's scenario, old and new: percent, means over the seeds; None where there is no finished run."""

    label: str
    scenario: str
    old: float | None
    new: float | None
    exact: bool  # the reference comes from a machine like this one
    same: bool  # the counts are equal in every seed

    @property
    def state(self) -> str:
        """What is to be said of the cell."""
        if self.old is None:
            return "no reference"
        if self.same:
            return "same"
        if self.exact or self.new is None or abs(self.new - self.old) > TOLERANCE + 1e-9:
            return "MOVED"
        return "within tolerance"


def regress(root: Path, jobs: int, device: str, accept: bool) -> int:
    """Compare fresh runs with the references: 1 if a cell moved or has none. `accept` makes them the reference."""
    declared = declaration.load(NAME)
    runs = runs_of(declared, SEEDS)
    with tempfile.TemporaryDirectory() as folder:
        sweep(list(runs.values()), Path(folder), root, jobs, device)
        fresh = survey(list(runs.values()), Path(folder), root).records
    cells = compare(declared, runs, references(runs), fresh)
    _print(cells)
    if accept:
        for new in fresh:
            record.save(new, record.REFERENCE / new.run.place)
        Console().print("accepted: commit results/reference, and say in CHANGELOG.md what moved and why")
        return 0
    return int(any(cell.state in ("MOVED", "no reference") for cell in cells))


def compare(declared: declaration.Table, runs: Runs, old: list[Record | None], new: list[Record | None]) -> list[Cell]:
    """One cell for each row and scenario of the table."""
    measures = {row.label: metrics.find(row.metric) for row in declared.rows}
    groups: dict[tuple[str, str], list[tuple[Record | None, Record | None]]] = {}
    for (label, scenario, _), before, after in zip(runs, old, new, strict=True):
        groups.setdefault((label, scenario), []).append((before, after))
    cells = []
    for (label, scenario), pairs in groups.items():
        known = [(before, after) for before, after in pairs if before is not None]
        means = [_mean([pair[side] for pair in known or pairs], measures[label]) for side in (0, 1)]
        exact = bool(known) and all(_alike(before, after) for before, after in known)
        same = len(known) == len(pairs) and all(_counts(before) == _counts(after) for before, after in known)
        cells.append(Cell(label, scenario, *means, exact, same))
    return cells


def _counts(kept: Record | None):
    return kept and (kept.correct, kept.reason)


def _alike(old: Record, new: Record | None) -> bool:
    versions = ("torch", "numpy")
    return new is not None and (old.machine, *(old.versions[name] for name in versions)) == (
        new.machine,
        *(new.versions[name] for name in versions),
    )


def _mean(records: list[Record | None], measure) -> float | None:
    values = [measure(r.accuracy, r.total).percent for r in records if r is not None and r.reason is None]
    return sum(values) / len(values) if values and len(values) == len(records) else None


def _print(cells: list[Cell]) -> None:
    lines = Lines("row", "scenario", "old", "new", "shift", "", title=f"{NAME}, seeds {SEEDS}, percent")
    for cell in cells:
        both = cell.old is not None and cell.new is not None
        shift = f"{cell.new - cell.old:+.2f}" if both else ""
        lines.add_row(cell.label, cell.scenario, *map(_percent, (cell.old, cell.new)), shift, cell.state)
    console = Console(width=100)
    console.print(lines)
    states = [cell.state for cell in cells]
    summary = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    where = (
        "a machine like this one" if all(cell.exact for cell in cells if cell.old is not None) else "another machine"
    )
    console.print(f"{len(cells)} cells against references of {where}: {summary}")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"

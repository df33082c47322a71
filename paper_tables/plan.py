"""PLAN=1 trains nothing. It says how many runs a table lacks, how long they take, and which data and memory they need.

Times and memory are those of the committed reference records of the same row and scenario, on the machines that made
them. A row without such a record is named instead.
"""

from itertools import chain
from pathlib import Path

import numpy as np

from benchmarks import data, streams
from benchmarks.files import shown
from benchmarks.progress import duration
from benchmarks.record import Record
from benchmarks.run import Run
from benchmarks.sweep import missing
from paper_tables.complete import first_seeds
from paper_tables.declaration import Table
from paper_tables.references import references
from paper_tables.runs import finished_of, runs_of


def plan(table: Table, seeds: str | None, folder: Path, root: Path, jobs: int) -> str:
    """Return what the runs of these seeds still need, a line each. Of SEEDS=auto this is the first look."""
    runs = runs_of(table, first_seeds(table, seeds))
    distinct = list(dict.fromkeys(runs.values()))  # rows share runs
    todo = missing(distinct, folder, root)
    if not todo:
        return f"{table.name}: nothing to do, all of its {len(distinct)} runs are done."
    known = _known(table)
    timed = [run for run in todo if run.without_seed in known]
    lines = [f"{table.name}: {len(todo)} of {len(distinct)} runs to do, {jobs} at a time."]
    if timed:
        alike = [known[run.without_seed] for run in timed]
        total = sum(float(np.median([sum(r.seconds.values()) for r in records])) for records in alike)
        most = min(jobs, len(todo))
        memory = max(r.peak_memory_mb for records in alike for r in records)
        lines.append(
            f"Time: about {duration(total / min(jobs, len(timed)))} for {len(timed)} runs "
            f"({duration(total)} of one core), by the median of their reference records."
        )
        lines.append(f"Memory: up to {memory / 1000:.1f} GB for a run, {most * memory / 1000:.1f} GB for {most}.")
    untimed = set(todo) - set(timed)
    unknown: dict[str, dict[str, None]] = {}  # scenarios by row, in their order
    for (label, scenario, _), run in runs.items():
        if run in untimed:
            unknown.setdefault(label, {})[scenario] = None
    if unknown:
        rows = ", ".join(f"{label} ({', '.join(scenarios)})" for label, scenarios in unknown.items())
        lines.append(f"No reference record tells how long these take: {rows}.")
    for name in sorted({streams.recipe(run.stream).data_set for run in todo}):
        where = "comes with scikit-learn" if name == "digits" else f"is in {shown(root)}"
        lines.append(f"Data: {name} {where if data.is_there(name, root) else f'is fetched into {shown(root)} first'}.")
    return "\n".join(lines)


def _known(table: Table) -> dict[Run, list[Record]]:
    """Return the finished reference records of each run, whatever its seed."""
    known: dict[Run, list[Record]] = {}
    for record in finished_of(chain.from_iterable(references(table).results.values())):
        known.setdefault(record.run.without_seed, []).append(record)
    return known

"""What the page shows of each table: its cells, and of each cell the numbers, the runs and the command behind it."""

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

import methods
from benchmarks.record import Record
from benchmarks.run import Run
from benchmarks.standard_sets import DEFAULT_ROOT
from paper_tables import render
from paper_tables.caption import ALONE, MARKS, ORIGINS, UNJUDGED, WAITING, caption, usual_n
from paper_tables.declaration import Row, Table
from paper_tables.figures.courses import Course, courses
from paper_tables.ledger import NotSearched
from paper_tables.published import Published
from paper_tables.references import recorded
from paper_tables.report.drawings import Interval, Strip
from paper_tables.runs import finished_of, measures

FAILED, BARE = "failed", "no published number"
STATES = (*MARKS, UNJUDGED, FAILED, WAITING, ALONE, BARE)  # what can be said of a cell, in the order of sorting


@dataclass(frozen=True)
class Ran:
    """Hold one run behind a cell: its measure in percent, or why there is none, and its record."""

    value: float | None
    reason: str | None
    record: Record

    @property
    def machine(self) -> str:
        """Return processor, device and threads."""
        parts = {"cpu": "unknown processor", "device": "", "threads": None} | self.record.machine
        threads = f"{parts['threads']} threads" if parts["threads"] != 1 else "1 thread"
        return ", ".join(filter(None, [str(parts["cpu"]), str(parts["device"]), threads if parts["threads"] else ""]))


@dataclass(frozen=True)
class Cell:
    """Hold a cell of the page. `line` is its line of render.frame."""

    id: str
    line: tuple
    row: Row
    paper: Published | None
    ours: str  # as the Markdown table has it
    theirs: str
    state: str  # one of STATES
    runs: list[Ran]
    strength: str
    options: dict[str, str]  # by what they are options of
    command: str
    interval: Interval | None
    strip: Strip | None


@dataclass(frozen=True)
class Page:
    """Hold a table of the page. `frame` is None, and `caption` is empty, where no run is recorded."""

    table: Table
    cells: list[Cell]
    frame: pd.DataFrame | None
    caption: list[str]
    hours: float
    faults: list[str]  # records that cannot be used, each with its reason
    courses: list[Course]  # what its figures are drawn from


def of(table: Table, folder: Path, root: Path = DEFAULT_ROOT) -> Page:
    """Return what the page shows of a table by the records in `folder`. `root` holds the data."""
    found = recorded(table, folder, root)
    results = found.results
    frame = render.frame(table, results)
    asked = len(found.seeds) or table.seeds
    usual = usual_n(frame)
    rows = {row.label: row for row in table.rows}
    cells = []
    for number, line in enumerate(frame.itertuples(), start=1):
        row = rows[line.row]
        ours, joint = (results.get((label, line.scenario), []) for label in (row.label, row.reference))
        behind = _runs(row, ours, joint)
        sides = render.sides(table, line, asked, usual)
        run = _first(row, line.scenario)
        paper = row.paper.get(line.scenario)
        cells.append(
            Cell(
                id=f"{table.name}-{number}",
                line=line,
                row=row,
                paper=paper,
                ours=sides["ours"],
                theirs=sides["paper"],
                state=_state(line),
                runs=behind,
                strength=_strength(table, row, run),
                options=_options(run),
                command=_command(table, row, [ran.record.seed for ran in behind]),
                interval=Interval.of(line),
                strip=Strip.of([ran.value for ran in behind if ran.value is not None], paper),
            )
        )
    notes = caption(table, frame, found.seeds, found.stale) if results else []
    return Page(table, cells, frame if results else None, notes, found.hours, found.faults, courses(results))


def _runs(row: Row, records: list[Record], references: list[Record]) -> list[Ran]:
    finished = finished_of(records)
    measured = iter(measures(row.metric, finished, references, row.reference))
    ran = []
    for each in records:
        if each.reason is not None:
            ran.append(Ran(None, each.reason, each))
        else:
            measure = next(measured)
            ran.append(Ran(measure.percent if measure.reason is None else None, measure.reason, each))
    return ran


def _state(line) -> str:
    if line.verdict:
        return line.verdict
    if not line.runs:
        return ALONE
    if not line.ours_n:
        return FAILED if line.failed else WAITING
    return UNJUDGED if line.cell else BARE


def _first(row: Row, scenario: str) -> Run | None:
    """Return the run of seed 1, or None without a method or before its search is done."""
    try:
        return row.run(scenario, 1) if row.method else None
    except NotSearched:
        return None


def _strength(table: Table, row: Row, run: Run | None) -> str:
    """Say how strong the method is, and where that comes from."""
    if row.method is None:
        return ""
    option = methods.find(row.method["name"]).strength
    value = f"{_option(option, run.method.options[option])}, " if run and option else ""
    if row.origin is None:
        return f"{value}{'a default of the method' if value else 'this method has no option to choose'}"
    text = f"{value}{'from ' if row.origin not in ('none', 'searched') else ''}{ORIGINS.get(row.origin, row.origin)}"
    for name, values in row.search.items():
        text += f"; {name}: {len(values)} values from {min(values):g} to {max(values):g} on held-out training data"
        text += f", paper_tables/searches/{table.name}.csv" if run else f", to be done: make tune-{table.name}"
    return text


def _options(run: Run | None) -> dict[str, str]:
    """Return the options of stream, method and training as texts."""
    if run is None:
        return {}
    groups = {"stream": run.stream.to_json(), "method": run.method.to_json(), "training": asdict(run.train)}
    return {
        group: ", ".join(_option(name, value) for name, value in options.items() if value is not None)
        for group, options in groups.items()
    }


def _option(name: str, value: object) -> str:
    if name == "name":
        return str(value)
    if isinstance(value, float):
        return f"{name} = {value:g}"
    return f"{name} = {value if isinstance(value, str) else json.dumps(value)}"


def _command(table: Table, row: Row, seeds: list[int]) -> str:
    """Return the command that does the runs of a row again, as a shell takes it. make takes a $ where $$ stands."""
    if row.method is None:
        return ""
    words = ["make", f"table-{table.name}", f"ROWS={row.label}", *([f"SEEDS={_span(seeds)}"] if seeds else [])]
    return " ".join(shlex.quote(word.replace("$", "$$")) for word in words)


def _span(seeds: list[int]) -> str:
    """Return seeds as SEEDS takes them: "1-10", "1-3,7" or "7,"."""
    spans: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"{text}," if text.isdecimal() else text

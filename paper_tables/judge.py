"""`judge` gives the verdicts of the tables on anybody's runs. They are in a CSV with the columns cell, seed, value.

A cell is named as in published/*.csv, and a value is in percent or in percentage points. The margin is that of the
table that cites the cell. A cell that no table cites gets MARGIN. A file is one look at its runs.
"""

import csv
import io
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.files import read_text
from benchmarks.markdown import bullets
from benchmarks.markdown import table as markdown_table
from methods.base.errors import UserError
from paper_tables import declaration, published
from paper_tables.caption import MARKS, comparisons, meanings
from paper_tables.declaration import Row, Table
from paper_tables.published import LEAST_ACCURACY, Published, check_percent
from paper_tables.render import WIDTH, interval, mean_and_std
from paper_tables.verdict import MAX_MARGIN, columns, verdict

COLUMNS = ["cell", "seed", "value"]
HEADER = ["cell", "ours", "paper", "difference", "interval", "margin", "verdict", "note"]
MARGIN = 1.0  # points
SECONDHAND = "the published number is second-hand, from a text or a rerun that is not the authors'"
FRACTIONS = "if these are fractions, write 100 times as much"
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"

Citations = dict[str, tuple[Table, Row]]  # by the name of the published cell


def judge(file: Path) -> str:
    """Return the verdict on each cell of `file` as Markdown. UserError names the file and the line of a mistake."""
    known = published.load()
    runs = read(file, known)
    cells = frame(runs, known, citations([declaration.load(name) for name in declaration.names()]))
    return _markdown(file, cells)


def read(file: Path, known: dict[str, Published]) -> dict[str, list[float]]:
    """Return the values of each cell, in the order of the file."""
    text = read_text(file).removeprefix("\ufeff")  # spreadsheets begin a file with this mark
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    lines = ([field.strip() for field in line] for line in reader if any(map(str.strip, line)))
    values: dict[tuple[str, int], float] = {}
    try:
        _check_header(next(lines, None))
        for line in lines:
            cell, seed, value = _run(line, known)
            if (cell, seed) in values:
                raise ValueError(f"repeats seed {seed} of {cell}: give each run once")
            values[cell, seed] = value
        if not values:
            raise ValueError("no run follows the header: add a line for each, cell, seed, value")
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file}, line {max(1, reader.line_num)}: {error}") from None
    runs: dict[str, list[float]] = {}
    for (cell, _), value in values.items():
        runs.setdefault(cell, []).append(value)
    return runs


def _check_header(header: list[str] | None) -> None:
    if header is None:
        raise ValueError(f"the file is empty: its first line must be {','.join(COLUMNS)}")
    if header != COLUMNS:
        missing = [column for column in COLUMNS if column not in header]
        without = f", without {' and '.join(missing)}" if missing else ""
        raise ValueError(f"the first line must be {','.join(COLUMNS)}, got {','.join(header)!r}{without}")


def _run(line: list[str], known: dict[str, Published]) -> tuple[str, int, float]:
    """Return cell, seed and value of a line."""
    if len(line) != len(COLUMNS):
        raise ValueError(f"{len(line)} fields, expected {len(COLUMNS)}: {','.join(COLUMNS)}")
    name, seed, text = line
    cell = published.find(known, name)
    if cell.mean is None:
        raise ValueError(f"the published cell {name!r} holds no number: leave it out")
    if not re.fullmatch("[0-9]{1,18}", seed):
        raise ValueError(f"seed {seed!r} must be a whole number >= 0")
    value = float(text) if re.fullmatch(NUMBER, text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"value {text!r} is not a finite number such as 97.71: leave out a run that failed")
    _check_range(cell, text, value)
    return name, int(seed), value


def _check_range(cell: Published, text: str, value: float) -> None:
    """Refuse what is neither an accuracy in percent nor a difference of accuracies in points."""
    if "acc" in cell.metric:
        check_percent(f"value {text} of {cell.metric}", value)
    elif not cell.metric.endswith("points"):
        raise ValueError(f"{cell.cell!r} is {cell.metric}, which is not in percent and gets no verdict: leave it out")
    elif not -100 <= value <= 100:
        raise ValueError(f"value {text} of {cell.metric} must be -100 to 100 points")


def citations(tables: list[Table]) -> Citations:
    """Return the table and the row that cite each cell. Of several tables, take the one with the smallest margin."""
    cited: Citations = {}
    for table in sorted(tables, key=lambda table: table.margin, reverse=True):
        for row in table.rows:
            cited |= {cell.cell: (table, row) for cell in row.paper.values()}
    return cited


def frame(runs: dict[str, list[float]], known: dict[str, Published], cited: Citations) -> pd.DataFrame:
    """Return one line for each cell: both sides, difference, interval and verdict, in percent or points."""
    return pd.DataFrame([_line(values, known[cell], *cited.get(cell, (None, None))) for cell, values in runs.items()])


def _line(values: list[float], paper: Published, table: Table | None, row: Row | None) -> dict:
    reason = row.no_verdict if row else None
    judged = None if reason else verdict(values, paper, table.margin if table else MARGIN)
    return {
        "cell": paper.cell,
        "ours": f"{mean_and_std(np.mean(values), np.std(values, ddof=1) if len(values) > 1 else math.nan)} "
        f"({len(values)})",
        "paper": f"{mean_and_std(paper.mean, math.nan if paper.std is None else paper.std, paper.decimals)} "
        f"({'n?' if paper.n is None else paper.n})",
        **columns(judged),
        "table": table.name if table else "no table",
        "note": "; ".join(
            filter(None, [reason or judged.note, _doubt(values, paper), paper.secondhand and SECONDHAND])
        ),
    }


def _doubt(values: list[float], paper: Published) -> str | None:
    """Return a warning if the values may be fractions. A few points are possible, so they are not refused."""
    mean = float(np.mean(values))
    if np.abs(values).max() <= LEAST_ACCURACY and abs(100 * mean - paper.mean) < abs(mean - paper.mean):
        return FRACTIONS
    return None


def _markdown(file: Path, cells: pd.DataFrame) -> str:
    body = []
    for cell in cells.itertuples():
        word = f"{MARKS[cell.verdict]} {cell.verdict}{'†' if cell.dagger else ''}" if cell.verdict else "–"
        shown = cell.verdict not in ("", "unconfirmed")
        difference = f"{cell.difference:+z.2f}" if shown else "–"
        margin = f"{cell.margin:.2f} ({cell.table})" if shown else "–"
        between = interval(cell.low, cell.high)
        body.append([cell.cell, cell.ours, cell.paper, difference, between, margin, word, cell.note])
    notes = [
        f"Ours: the runs of {file.name}. Mean ± sample standard deviation (number of runs), in percent or points; "
        "published spreads are converted to it (n?: the paper does not say).",
        *meanings(cells, looks=1),
        f"Margin: that of the table in brackets; {MARGIN:g} point where no table cites the cell; twice the paper's "
        f"standard error where that is more (at most {MAX_MARGIN:g}), plus the reading error of a figure. A single run "
        "of the paper has no margin but the reading error.",
        *comparisons(cells, looks=1),
    ]
    return f"{markdown_table(HEADER, body, left=[True] + [False] * 6 + [True])}\n\n{bullets(notes, WIDTH)}"

"""The audit as a table and a picture: what each library computes under the names of the field.

`make audit` measures it (benchmarks/audit) and writes results/tables/audit.{md,csv,png}. With LIBS=a,b only these
libraries are measured, and the files go to results/local/tables.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.audit.base import library
from benchmarks.audit.base.classify import (
    BATCH,
    CONSTANT,
    EXACT,
    KINDS,
    NO_EFFECT,
    NONE,
    NOT_RUN,
    OTHER,
    REFUSED,
    holds,
)
from benchmarks.audit.base.problem import NUMBERS, SIZES, P
from benchmarks.audit.base.quantities import FISHERS, METHODS, METRICS, QUANTITIES
from benchmarks.audit.base.run import Row, audit, end_all
from benchmarks.files import LOCAL
from benchmarks.markdown import table as markdown_table
from paper_tables import drawing
from paper_tables.audit_picture import figure

COLUMNS = ["library", "version", "quantity", "kind", "of", "error", "factor", "at_1", "at_8", "at_64", "text"]
KNOWN = {"1/2": 0.5, "2": 2.0, "T^2": NUMBERS["T"] ** 2, "N": SIZES[0], "N/(N-1)": SIZES[0] / (SIZES[0] - 1)}
KNOWN |= {"1/gamma": 1 / NUMBERS["gamma"], "2/gamma": 2 / NUMBERS["gamma"], "2/P": 2 / P}
HEADER = ["", "measured", "what it computes", "where"]
LONG = 90  # of an error's line
GRIDS = {"Methods": (METHODS,), "Metrics": (METRICS,), "Fisher diagonals": (FISHERS,)}


def main(names: list[str] | None, jobs: int, folder: Path | None = None) -> int:
    """Measure the libraries, by default all, and write the files. Return 1 if words claim what was not measured."""
    whole = names is None
    for name in names or ():
        library.find(name)  # refuses an unknown one before any is measured
    rows = measure(library.names() if whole else names, jobs)
    found = numbers(rows)
    folder = folder or (drawing.FOLDER if whole else LOCAL / "tables")
    drawing.write(folder, "audit", page(found), figure(found), {"": found})
    wrong = contradictions(found)
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


def measure(names: list[str], jobs: int) -> list[Row]:
    """Return the rows of the libraries, in the order of their labels. Each says when it is done, and what is left."""
    pool, rows, start = ThreadPoolExecutor(jobs), [], time.monotonic()
    waiting = {pool.submit(audit, name): name for name in names}
    try:
        for done in as_completed(waiting):
            rows.append(done.result())
            left = (time.monotonic() - start) / len(rows) * (len(names) - len(rows))
            text = f"{len(rows)} of {len(names)}: {waiting[done]} {rows[-1].version}, about {left:.0f} s left"
            print(text, file=sys.stderr)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        while not all(each.done() for each in waiting):  # one may have begun meanwhile
            end_all()
            time.sleep(0.05)
    return sorted(rows, key=lambda row: library.find(row.name).label.lower())


def numbers(rows: list[Row]) -> pd.DataFrame:
    """Return a line for each cell that a library has."""
    lines = []
    for row in rows:
        for quantity, cell in row.cells.items():
            if cell.kind != NONE:
                at = (*cell.by_batch, np.nan, np.nan, np.nan)[:3]
                known = [row.name, row.version, quantity, cell.kind, cell.of, cell.error, cell.factor]
                lines.append([*known, *at, cell.text])
    found = pd.DataFrame(lines, columns=COLUMNS)
    digits = ["error", "factor", "at_1", "at_8", "at_64"]
    found[digits] = found[digits].map(lambda value: float(drawing.DIGITS % value))  # as the CSV has them
    return found


def read(file: Path) -> pd.DataFrame:
    """Return the numbers of a CSV."""
    texts = dict.fromkeys(["library", "version", "quantity", "kind", "of", "text"], str)
    return pd.read_csv(file, dtype=texts).fillna(dict.fromkeys(texts, ""))


def contradictions(found: pd.DataFrame) -> list[str]:
    """Return a line for each cell whose words claim what the measurement does not show. Cells not run are left out."""
    lines = []
    for cell in found.itertuples():
        entry = library.find(cell.library).entries[cell.quantity]
        if cell.kind != NOT_RUN and not holds(entry.claim, cell):
            shown = f"{cell.kind}, {said(cell)}"
            lines.append(f"{cell.library}, {cell.quantity}: the words claim {entry.claim!r}, measured is {shown!r}")
    return lines


def said(cell) -> str:
    """Return the figures of a cell in a few words."""
    of = f" ({cell.of})" if cell.of else ""
    if cell.kind == EXACT:
        words = f"relative error {cell.error:.0e}{of}"
    elif cell.kind == CONSTANT:
        words = f"x {factor(cell.factor)}{of}"
    elif cell.kind == BATCH:
        words = (
            "x {}, {}, {} at batch sizes 1, 8, 64".format(*(f"{at:.3g}" for at in (cell.at_1, cell.at_8, cell.at_64)))
            + of
        )
    elif cell.kind == OTHER and not np.isnan(cell.error):
        words = f"relative error {cell.error:.2g}{of}"
    else:
        return cell.text if len(cell.text) <= LONG else f"{cell.text[:LONG]}..."
    return f"{words}; {cell.text}" if cell.text else words


def factor(value: float) -> str:
    """Return a factor, with its name where it has one."""
    names = [name for name, known in KNOWN.items() if np.isclose(value, known, rtol=1e-3)]
    return f"{value:.4g}" if not names or names[0] == f"{value:g}" else f"{value:.4g} = {names[0]}"


def page(found: pd.DataFrame) -> str:
    """Return the page: the picture, how to read it, a grid for each group, and what is behind each cell."""
    parts = [INTRODUCTION.format(rows=found.library.nunique(), cells=len(found), kinds=_counts(found))]
    for title, groups in GRIDS.items():
        quantities = [name for name, quantity in QUANTITIES.items() if quantity.group in groups]
        own = found[found.quantity.isin(quantities)]
        if len(own):
            parts.append(f"## {title}\n\n{_grid(own, quantities)}")
    parts.append("## Cell by cell\n\nThe words and the places are those of the version named.")
    for title, cells in by_library(found).items():
        lines = [[*texts, f"`{where}`"] for *texts, where in cells]
        parts.append(f"### {title}\n\n{markdown_table(HEADER, lines, [True] * 4)}")
    return "\n\n".join(parts) + "\n"


def by_library(found: pd.DataFrame) -> dict[str, list[tuple[str, str, str, str]]]:
    """Return for each library and version its cells: quantity, what was measured, words, place in the source."""
    cells = {}
    for name, own in found.groupby("library", sort=False):
        one = library.find(name)
        cells[f"{one.label} {own.version.iloc[0]}".strip()] = [
            (QUANTITIES[cell.quantity].title, f"{cell.kind}: {said(cell)}", entry.words, entry.where)
            for cell in own.itertuples()
            for entry in [one.entries[cell.quantity]]
        ]
    return cells


def _counts(found: pd.DataFrame) -> str:
    counts = found.kind.value_counts()
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts.get(kind))


def _grid(found: pd.DataFrame, quantities: list[str]) -> str:
    cells = {(cell.library, cell.quantity): cell for cell in found.itertuples()}
    used = [name for name in quantities if any(quantity == name for _, quantity in cells)]
    lines = []
    for name in dict.fromkeys(found.library):
        row = [cells.get((name, quantity)) for quantity in used]
        lines.append([library.find(name).label, *("-" if cell is None else short(cell) for cell in row)])
    return markdown_table(["", *(QUANTITIES[name].title for name in used)], lines, [True] * (len(used) + 1))


def short(cell) -> str:
    """Return what a cell of a grid says."""
    words = {EXACT: "exact", OTHER: "other", BATCH: "batch size", NO_EFFECT: "no effect", REFUSED: "refused"}
    return f"x {cell.factor:.3g}" if cell.kind == CONSTANT else words.get(cell.kind, cell.kind)


INTRODUCTION = """# What libraries compute under these names

![What libraries compute](audit.png)

A number that cannot be reproduced often comes from a library whose EWC, SI or *forgetting* is another quantity than the
paper's. Here the libraries' own code computes each quantity on a tiny problem: the same weights, batches and labels in
float64, on a CPU with one thread. Each answer is measured against the definition of this suite. No cell is typed.
{rows} libraries, {cells} cells: {kinds}.

- *exact*: the definition, to rounding. Where the literature has two readings, the cell names the one that is met.
- *times a constant*: the definition times one factor. A strength has to absorb it.
- *another quantity*: no factor makes it the definition.
- *depends on the batch size*: the factors at batch sizes 1, 8 and 64 differ, though the definition knows no batches.
- *no effect*: 0, or a gradient that is the same at every strength.
- *refused*: the library raised an error on valid input.
- *not run*: the package could not be installed or imported here, or gave no answer in time.

A penalty is measured with importances that are handed to it, and an importance in the first task after given steps. So
a wrong importance does not show in the penalty's cell. `make audit` measures all again, each library in an environment
of its own (`LIBS=avalanche,gmumcl` narrows it). What follows for users stands in [the traps](../../docs/traps.md)."""

"""BESIDE=reference shows committed reference rows beside rows of one's own, and the differences between them.

A row of one's own is compared with each reference row, scenario by scenario, both by the measure of one's own row:

    d = mine - reference

Runs of the same stream, scenario and seed are pairs: they begin with the same weights and see the same batches. With
two pairs or more, d is the mean over the pairs, with a paired t interval. Otherwise it is the difference of the two
means, with Welch's interval. The words are corrected for the number of comparisons by Holm's method.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from benchmarks.markdown import bullets
from benchmarks.markdown import table as markdown_table
from benchmarks.record import Record
from methods.base.errors import UserError, unknown
from paper_tables import render, student
from paper_tables.declaration import Row, Table
from paper_tables.references import references
from paper_tables.runs import Results, finished_of, measures
from paper_tables.verdict import error_of

REFERENCE = "reference"  # the only value of BESIDE
SUFFIX = f" ({REFERENCE})"
RATE = 0.05  # of one false word or more, over all comparisons
HEADER = ["row", "against", "scenario", "difference", "95 % interval", "n", "verdict"]


@dataclass(frozen=True)
class Beside:
    """The reference rows of a table, labelled as such, with their committed records."""

    rows: tuple[Row, ...]
    results: Results

    def shown(self, table: Table, results: Results) -> tuple[Table, pd.DataFrame, str]:
        """Return the table with the reference rows below its own, its frame, and the differences as Markdown."""
        both = results | self.results
        whole = replace(table, rows=table.rows + self.rows)
        return whole, render.frame(whole, both), markdown(list(compare(table.rows, self.rows, both)))


@dataclass(frozen=True)
class Difference:
    """Mine minus reference in points, NaN where it is undefined; `p` is two-sided and not corrected."""

    row: str
    against: str
    scenario: str
    n: str = "–"
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


def find(what: str, table: Table, rows: str | None) -> Beside:
    """Return the rows of the whole `table` that have reference records. `rows` names those that are trained."""
    if what != REFERENCE:
        raise unknown("BESIDE", what, [REFERENCE])
    if rows is None:
        raise UserError(f"BESIDE={REFERENCE} needs ROWS=<your rows>: they alone are trained")
    found, results = [], {}
    for row in table.rows:
        if kept := references(replace(table, rows=(row,))).results:
            results |= {(_label(label), scenario): records for (label, scenario), records in kept.items()}
            found.append(replace(row, label=_label(row.label), reference=row.reference and _label(row.reference)))
    if not found:
        raise UserError(f"table {table.name} has no reference records: leave out BESIDE")
    if taken := {row.label for row in table.rows} & {row.label for row in found}:
        raise UserError(f"table {table.name}: the row label {min(taken)!r} is that of a reference: rename the row")
    return Beside(tuple(found), results)


def _label(label: str) -> str:
    return f"{label}{SUFFIX}"


def compare(own: tuple[Row, ...], others: tuple[Row, ...], results: Results) -> Iterator[Difference]:
    """Compare each row of `own` with each of `others`, scenario by scenario."""
    for mine in (row for row in own if row.method):
        for scenario in mine.scenarios:
            ours = results.get((mine.label, scenario), [])
            values = _values(mine.metric, ours, results.get((mine.reference, scenario), []))
            for other in (row for row in others if scenario in row.scenarios):
                joint = results.get((mine.reference and _label(mine.reference), scenario), [])
                theirs = _values(mine.metric, results.get((other.label, scenario), []), joint)
                yield Difference(mine.label, other.label, scenario, **_difference(values, theirs, _one(ours)))


def _values(metric: str, records: list[Record], joint: list[Record]) -> dict:
    """Return the measure in percent, by the stream and the seed of each finished run."""
    finished = finished_of(records)
    measured = zip(finished, measures(metric, finished, joint), strict=True)
    return {(record.run.stream, record.seed): m.percent for record, m in measured if m.reason is None}


def _one(records: list[Record]) -> float:
    """Return one test example in points. A smaller spread cannot be told from none, and counts as one example."""
    return max((100 / sum(record.total) for record in finished_of(records)), default=0.0)


def _difference(mine: dict, theirs: dict, floor: float) -> dict:
    """Return the fields of a Difference, from the values by key. Standard deviations are at least `floor`."""
    pairs = sorted(mine.keys() & theirs.keys(), key=lambda key: key[1])
    if len(pairs) > 1:
        d = np.array([mine[key] - theirs[key] for key in pairs])
        return {"n": f"{len(d)} pairs"} | _interval(d.mean(), [d], floor)
    sides = [np.array(list(side.values())) for side in (mine, theirs)]
    numbers = {"n": " and ".join(str(len(side)) for side in sides)}
    if not all(map(len, sides)):
        return numbers
    difference = sides[0].mean() - sides[1].mean()
    if min(map(len, sides)) == 1:
        return numbers | {"difference": float(difference)}
    return numbers | _interval(difference, sides, floor)


def _interval(difference: float, samples: list[np.ndarray], floor: float) -> dict:
    """Return a 95 % t interval and its p-value. Two samples have Welch's degrees of freedom."""
    error, freedom = error_of(*((max(sample.std(ddof=1), floor), len(sample)) for sample in samples))
    half = student.isf(RATE / 2, freedom) * error
    p = 2 * student.sf(abs(difference) / error, freedom)
    ends = {"low": difference - half, "high": difference + half, "p": p}
    return {"difference": float(difference)} | {name: float(value) for name, value in ends.items()}


def told_apart(ps: list[float], rate: float = RATE) -> list[bool]:
    """Return by Holm's method which of m p-values count.

    The k-th smallest counts if it is at most rate / (m - k + 1), and so are all smaller ones with their own k. A NaN is
    no test: it does not count, and m leaves it out.
    """
    tested = sorted((p, i) for i, p in enumerate(ps) if not math.isnan(p))
    told = [False] * len(ps)
    for k, (p, i) in enumerate(tested):
        if p > rate / (len(tested) - k):
            break
        told[i] = True
    return told


def word(difference: Difference, told: bool) -> str:
    """Return what is said of a difference."""
    if math.isnan(difference.difference):
        return "–"
    if not told:
        return "not told apart"
    return "higher" if difference.difference > 0 else "lower"


def markdown(differences: list[Difference]) -> str:
    """Return the differences as a table, with how they are to be read."""
    ps = [d.p for d in differences]
    body = []
    told = told_apart(ps)
    for d, apart in zip(differences, told, strict=True):
        mean = "–" if math.isnan(d.difference) else f"{d.difference:+z.2f}"
        body.append([d.row, d.against, d.scenario, mean, render.interval(d.low, d.high), d.n, word(d, apart)])
    tested = sum(not math.isnan(p) for p in ps)
    close = sum(p <= RATE for p in ps) - sum(told)
    notes = [
        "Difference: row minus reference in points, both by the measure of the row. Rows marked (reference) are all "
        "committed records that there are; none of them was trained here.",
        "Pairs are runs of the same stream and seed: their interval is that of a paired t test. Where n names two "
        "numbers of runs, there are fewer than two pairs: the interval is Welch's, and needs two runs on both sides.",
        f"Higher and lower: by Holm's correction over the {tested} comparisons that have an interval, at most "
        f"{100 * RATE:g} % for one false word or more. Each interval is for itself, without correction: {close} of "
        "them leave out 0 where the word is not told apart. More seeds can settle these.",
    ]
    table = markdown_table(HEADER, body, left=[True] * 3 + [False] * 4)
    return f"## Differences between methods\n\n{table}\n\n{bullets(notes, render.WIDTH)}\n"

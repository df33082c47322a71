"""Published numbers stand in published/, one CSV a paper and one row a cell. The column `cell` names the cell.

Means and spreads are in percent or in percentage points. The column `reading_error` is ours. Where a value was measured
in a figure, the column holds how far off the measurement may be, in points. It is blank where the paper prints the
number.
"""

import csv
import io
import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from benchmarks.files import read_text
from benchmarks.metrics import AFTER
from methods.base.errors import UserError, unknown
from paper_tables import student

FOLDER = Path(__file__).parent / "published"
KINDS = ("sem", "std", "std_pop", "ci95", "none")
COLUMNS = ["cell", "paper", "table", "benchmark", "scenario", "method", "metric"]
COLUMNS += ["mean", "spread", "spread_kind", "n_seeds", "reading_error", "verified", "source", "notes"]
TEXTS = [*COLUMNS[:7], "spread_kind", "source", "notes"]  # the columns that are kept as they are
# What the column `metric` calls our measures.
METRICS = {
    "average_accuracy": "avg_acc_final",
    "micro_accuracy": "avg_acc_final",
    "average_incremental_accuracy": "avg_incremental_acc",
    "backward_transfer": "bwt_points",
    "backward_transfer_over_all_tasks": "bwt_points",
    "forgetting": "forgetting_points",
    "forgetting_since_learnt": "forgetting_points",
    "worst_forgetting_since_learnt": "forgetting_worst_points",
    "intransigence": "intransigence_points",
    "learning_accuracy": "learning_acc",
    "lca_10": "lca10",
}
SECONDHAND = "secondary:"  # what the column `source` then begins with
MAX_RUNS = 1_000_000  # behind a published mean
LEAST_ACCURACY = 1.0  # percent; an accuracy up to here was written as a fraction


@dataclass(frozen=True)
class Published:
    """Hold a cell of a published table, with mean and spread in percent or percentage points."""

    cell: str
    scenario: str
    metric: str
    mean: float | None  # None: a placeholder, or a range such as "1e5-1e6"
    spread: float | None
    spread_kind: str
    n: int | None
    verified: bool
    source: str
    notes: str
    resolution: float  # of the last printed digit of the mean
    reading_error: float = 0.0  # points; for a value measured in a figure
    paper: str = ""
    table: str = ""  # of the paper
    benchmark: str = ""
    method: str = ""  # as the paper names it

    @property
    def decimals(self) -> int:
        """Return how many digits the paper prints after the point of the mean."""
        return round(-math.log10(self.resolution))

    @property
    def secondhand(self) -> bool:
        """Say whether the number is from a text or a rerun that is not the authors' own."""
        return self.source.startswith(SECONDHAND)

    @property
    def std(self) -> float | None:
        """Return the sample standard deviation over the paper's runs, or None if its spread and n do not give it."""
        if self.spread is None or self.spread_kind == "none":
            return None
        if self.spread_kind == "std":
            return self.spread
        if self.n is None or self.n < 2:
            return None
        if self.spread_kind == "std_pop":
            return self.spread * math.sqrt(self.n / (self.n - 1))
        sem = self.spread if self.spread_kind == "sem" else self.spread / student.isf(0.025, self.n - 1)
        return float(sem * math.sqrt(self.n))


def metric_of(name: str) -> str | None:
    """Return what the column `metric` calls our measure `name`, or None if no paper of ours has it."""
    if name.startswith(AFTER):
        return f"avg_acc_after_{name.removeprefix(AFTER)}_tasks"
    return METRICS.get(name)


def load(folder: Path = FOLDER) -> dict[str, Published]:
    """Return every published cell of a folder by name. UserError names file and line of a malformed or repeated row."""
    cells: dict[str, Published] = {}
    for path in sorted(folder.glob("*.csv")):
        reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
        try:
            if next(reader, None) != COLUMNS:
                raise ValueError(f"the columns must be {','.join(COLUMNS)}")
            for values in reader:
                published = _cell(values)
                if published.cell in cells:
                    raise ValueError(f"repeats the cell {published.cell!r}")
                cells[published.cell] = published
        except (ValueError, csv.Error) as error:
            raise UserError(f"{path.name}, line {reader.line_num}: {error}") from None
    return cells


def find(cells: dict[str, Published], name: str) -> Published:
    """Return the cell of that name. UserError names the nearest one."""
    if name not in cells:
        raise unknown("published cell", name, get_close_matches(name, cells, n=3, cutoff=0.0))  # not all the hundreds
    return cells[name]


def check_percent(what: str, accuracy: float) -> None:
    """Refuse what is no accuracy in percent."""
    if 0 < accuracy <= LEAST_ACCURACY:
        raise ValueError(f"{what} looks like a fraction: write {100 * accuracy:g} percent")
    if not 0 <= accuracy <= 100:
        raise ValueError(f"{what} must be 0 to 100 percent")


def _cell(values: list[str]) -> Published:
    if len(values) != len(COLUMNS):
        raise ValueError(f"{len(values)} fields, expected {len(COLUMNS)}")
    row = dict(zip(COLUMNS, values, strict=True))
    number = _number(row["mean"], "mean") if not re.fullmatch(r"\S*\d-\d\S*", row["mean"]) else None
    if number is not None and "acc" in row["metric"]:
        check_percent(f"mean {row['mean']} of {row['metric']}", number)
    spread, reading_error = _number(row["spread"], "spread"), _number(row["reading_error"], "reading_error")
    if row["spread_kind"] not in KINDS:
        raise ValueError(f"spread_kind {row['spread_kind']!r} is none of {', '.join(KINDS)}")
    if (spread is None) != (row["spread_kind"] == "none") or (spread or 0) < 0:
        raise ValueError(f"spread {row['spread']!r} does not go with spread_kind {row['spread_kind']!r}")
    if (reading_error or 0) < 0:
        raise ValueError(f"reading_error must be points >= 0 or blank, got {row['reading_error']!r}")
    if row["verified"] not in ("yes", "no"):
        raise ValueError(f"verified must be yes or no, got {row['verified']!r}")
    if not re.fullmatch("([1-9][0-9]{0,6})?", row["n_seeds"]) or int(row["n_seeds"] or 1) > MAX_RUNS:
        raise ValueError(f"n_seeds must be 1 to {MAX_RUNS} or blank, got {row['n_seeds']!r}")
    if not row["cell"]:
        raise ValueError("the cell has no name")
    decimals = len(row["mean"].partition(".")[2])
    return Published(
        **{column: row[column] for column in TEXTS},
        mean=number,
        spread=spread,
        n=int(row["n_seeds"]) if row["n_seeds"] else None,
        verified=row["verified"] == "yes",
        resolution=10.0**-decimals,
        reading_error=reading_error or 0.0,
    )


def _number(text: str, name: str) -> float | None:
    if text == "":
        return None
    if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,12}|e[0-9]{1,2})?", text):
        raise ValueError(f"{name} {text!r} is not a number as a table prints it, such as 97.71")
    return float(text)

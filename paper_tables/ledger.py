"""The ledger of a search is paper_tables/searches/<table>.csv. It has one line for every trial, whatever came of it.

A trial trains with one value of an option, on seeds that no table reports. It is scored on a tenth of the training data
that is held out from training, never on test data. Every value is tried on the first seed. Those that come within GAP
points of the best there are tried on the others. Of these the value with the best mean over the seeds is taken, the
smallest among equals. A value with which a run failed is not taken.
"""

import csv
import io
import sys
from pathlib import Path

import pandas as pd

from benchmarks import stream
from benchmarks.files import read_text, write_atomically
from methods.base.errors import UserError

FOLDER = Path(__file__).parent / "searches"
SEEDS = (101, 102, 103)
GAP = 5.0  # percentage points
HELD_OUT = {0.1: "a tenth"}[stream.HELD_OUT]  # in words
# The score is in percent, and empty for a run that failed. The last three are those of the trial's record.
COLUMNS = ["row", "scenario", "option", "value", "seed", "score", "commit", "data", "digest"]


class NotSearched(UserError):
    """The search of a table is still to be done."""


def declared(row: dict, where: str) -> dict[str, tuple[float, ...]]:
    """Return the values to try of each option that the [[row]] has searched, checked. Equal numbers are one value."""
    search, origin = row.get("search", {}), row.get("strength")
    if set(search) != {option for option, value in row.get("method", {}).items() if value == "searched"}:
        raise UserError(
            f'{where}: write lam = "searched" in method, and the values to try in search = {{ lam = [1, 10] }}'
        )
    if bool(search) != (origin == "searched"):
        raise UserError(f'{where}: strength = "searched" and search need one another')
    if len(search) > 1:
        raise UserError(f"{where}: search one option at a time: give {' or '.join(search)} a value")
    if search and "reference" in row:
        raise UserError(f"{where}: a search cannot be scored against the runs of another row: leave out one of the two")
    return {option: _numbers(option, values, where) for option, values in search.items()}


def _numbers(option: str, values: object, where: str) -> tuple[float, ...]:
    """Return the values as numbers. They must be two different finite ones or more."""
    listed = values if isinstance(values, list) else []
    finite = [type(value) in (int, float) and abs(value) <= sys.float_info.max for value in listed]
    numbers = tuple(dict.fromkeys(map(float, listed))) if all(finite) else ()
    if len(numbers) < 2:
        raise UserError(f"{where}: search of {option} must list two different numbers or more, got {values!r}")
    return numbers


def read(name: str, folder: Path = FOLDER) -> pd.DataFrame:
    """Return the trials of a table, or none if it was not searched."""
    file = folder / f"{name}.csv"
    if not file.exists():
        return pd.DataFrame(columns=COLUMNS)
    text = read_text(file)
    try:
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        if header != COLUMNS:
            raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
        trials = pd.DataFrame(lines, columns=COLUMNS).replace({"score": {"": "nan"}})
        return trials.astype({"value": float, "seed": int, "score": float})
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file} is not a ledger ({error}): remove it, then make tune-{name}") from None


def write(name: str, trials: list[dict], folder: Path = FOLDER) -> Path:
    """Write every trial of a table. Return the file."""
    file = folder / f"{name}.csv"
    write_atomically(file, pd.DataFrame(trials, columns=COLUMNS).to_csv(index=False))
    return file


def best(trials: pd.DataFrame, name: str, row: str, scenario: str, option: str, values: tuple) -> float | None:
    """Return the best of `values` by the ledger of table `name`. Raise NotSearched if a trial is missing."""
    mine = trials[(trials.row == row) & (trials.scenario == scenario) & (trials.option == option)]
    done = {(trial.value, trial.seed): trial.score for trial in mine.itertuples()}
    wanted = [(value, SEEDS[0]) for value in values]
    kept = contenders({value: done[value, SEEDS[0]] for value in values if (value, SEEDS[0]) in done})
    wanted += [(value, seed) for value in kept for seed in SEEDS[1:]]
    if missing := [trial for trial in wanted if trial not in done]:
        raise NotSearched(
            f"{option} of {row}, {scenario}-incremental, is not searched yet ({len(missing)} of "
            f"{len(wanted)} trials are missing): make tune-{name}"
        )
    means = {value: sum(done[value, seed] for seed in SEEDS) / len(SEEDS) for value in sorted(kept)}
    finished = {value: mean for value, mean in means.items() if mean == mean}
    if not finished:
        raise NotSearched(
            f"{option} of {row}, {scenario}-incremental: every run of the search failed: try other values"
        )
    return max(finished, key=finished.get)


def contenders(scores: dict[float, float | None]) -> list[float]:
    """Return the values whose first scores are worth trying on the other seeds. Failed ones are not."""
    finished = {value: score for value, score in scores.items() if score is not None and score == score}
    return [value for value, score in finished.items() if score >= max(finished.values()) - GAP]

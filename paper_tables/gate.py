"""The rules of the gate on metrics say whether fresh runs still give what the references hold, and how sure it is.

A reference is a run's counts of right answers, kept for machines of several kinds. On a machine of one of these kinds
the counts and the value of every run must be equal ("exact"). Elsewhere rounding differs and training amplifies it.
There a run may differ, and a row of the table has moved ("tolerant") if one of these holds:

    shift   the mean over seeds of a scenario moved by more than TOLERANCE points, up or down
    alone   this row's runs differ, and those of most others do not. Of its n runs k differ, and P(X >= k) is below
            ALPHA / rows for X ~ Bin(n, p). Take the half of the other rows with the fewest differing runs: p is the
            share that differs there. If a larger share of this row's runs differs between the machines of its
            references, p is that share. So one fault may touch up to half of the rows. A row and the same row on MNIST
            count as one: a fault of a method touches both

In both tiers a cell fails if it has no reference, no fresh run, or a value that is not a number, unless the reference
was accepted with the same failure. What cannot be compared has not passed.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

TOLERANCE = 1.0  # points of a cell's mean over the seeds
WEIGHT = 2.0  # the share of all rows counts for so many runs in the share of one row
ON_MNIST = ", on MNIST"  # how the label of a row ends that runs on a second stream
POWER = 0.95  # the share of tables in which a detectable shift fails
ALPHA = 0.01  # the chance that `alone` fires in any row of an untouched table
PASSES = ("same", "within tolerance")

Key = tuple[str, str, int]  # row label, scenario, seed


@dataclass(frozen=True)
class Outcome:
    """Hold what came of a run: the row's measure in percent, the counts behind it, and why it failed, if it did."""

    metric: str
    value: float | None  # None or NaN: there is none
    correct: tuple | None
    reason: str | None = None

    @property
    def counts(self) -> tuple:
        """Return what must be equal on one machine: the value too, as a metric may change where no count does."""
        return self.metric, self.correct, self.reason, round(self.value, 9) if _is_number(self.value) else None


@dataclass(frozen=True)
class Cell:
    """Hold a row's scenario: old and new mean over the seeds in percent, or None, and the verdict."""

    row: str
    scenario: str
    old: float | None
    new: float | None
    differing: int  # runs whose counts and value equal those of no reference
    runs: int
    state: Literal["same", "within tolerance", "MOVED", "no reference", "missing", "undefined"]
    why: str = ""

    @property
    def passes(self) -> bool:
        """Say whether the gate lets the cell through."""
        return self.state in PASSES

    @property
    def shift(self) -> float:
        """Return new minus old in points, or NaN if one is missing."""
        return np.nan if self.old is None or self.new is None else self.new - self.old


def compare(references: list[dict[Key, Outcome]], fresh: dict[Key, Outcome], exact: bool) -> list[Cell]:
    """Return one cell for each row and scenario that a reference or a fresh run has.

    references: the outcomes of each kind of machine. exact: the one reference is of a machine like this one.
    """
    cells = defaultdict(list)
    for key in dict.fromkeys([*(key for known in references for key in known), *fresh]):
        cells[key[:2]].append(key)
    judged = [_cell(name, keys, references, fresh, exact) for name, keys in cells.items()]
    return judged if exact else _alone(judged, references)


def _cell(name: tuple[str, str], keys: list[Key], references: list[dict], fresh: dict, exact: bool) -> Cell:
    old = {key: [known[key] for known in references if key in known] for key in keys}
    differing = sum(key not in fresh or fresh[key].counts not in [r.counts for r in old[key]] for key in keys)

    def found(state: str, why: str = "", means: tuple = (None, None)) -> Cell:
        return Cell(*name, *means, differing, len(keys), state, why)

    if any(not known for known in old.values()):
        return found("no reference", "a run has no reference: accept it, if it is meant to be there")
    if missing := [key for key in keys if key not in fresh]:
        return found("missing", f"the reference has the seeds {_seeds(missing)}, and no fresh run gives them")
    means = _mean([nearest(old[key], fresh[key]) for key in keys]), _mean([fresh[key] for key in keys])
    if not differing:
        return found("same", means=means)
    if any(fresh[key].metric != known.metric for key in keys for known in old[key]):
        return found("MOVED", "the row measures something else than its reference", means)
    if None in means:
        return found("undefined", "a value is not a number: " + _reasons([fresh[key] for key in keys]), means)
    if exact:
        return found("MOVED", f"{differing} of {len(keys)} runs differ on a machine like the reference's", means)
    if abs(means[1] - means[0]) > TOLERANCE + 1e-9:
        return found("MOVED", f"its mean moved by more than {TOLERANCE:g} points", means)
    return found("within tolerance", means=means)


def nearest(known: list[Outcome], new: Outcome) -> Outcome:
    """Return the reference whose value is nearest to a fresh one."""

    def distance(outcome: Outcome) -> float:
        return abs(outcome.value - new.value) if _is_number(outcome.value) and _is_number(new.value) else np.inf

    equal = next((outcome for outcome in known if outcome.counts == new.counts), None)
    return equal or min(known, key=distance)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _mean(outcomes: list[Outcome]) -> float | None:
    values = [outcome.value for outcome in outcomes]
    return math.fsum(values) / len(values) if all(map(_is_number, values)) else None


def _reasons(outcomes: list[Outcome]) -> str:
    reasons = [outcome.reason or "undefined" for outcome in outcomes if not _is_number(outcome.value)]
    return "; ".join(dict.fromkeys(reasons)) or "that of the reference"


def _seeds(keys: list[Key]) -> str:
    return ", ".join(str(seed) for _, _, seed in keys)


def _alone(cells: list[Cell], references: list[dict]) -> list[Cell]:
    """Return the cells. Those of a row that moved alone have failed."""
    rows = defaultdict(list)
    for cell in cells:
        rows[_on_both(cell.row)].append(cell)
    counts = {row: (sum(c.differing for c in own), sum(c.runs for c in own)) for row, own in rows.items()}
    expected, failed = between(references), {}
    for row, (k, n) in counts.items():
        others = sorted((own for other, own in counts.items() if other != row), key=lambda own: own[0] / own[1])
        differ, runs = np.sum([(0, 0), *others[: -(-len(others) // 2)]], axis=0)
        p = max((differ + 1) / (runs + 2), expected.get(row, 0.0))
        chance = float(stats.binom.sf(k - 1, n, p)) if k else 1.0
        if chance < ALPHA / len(counts):
            failed[row] = f"{k} of this row's {n} runs differ, where {100 * p:.0f} % are expected: chance {chance:.1g}"
    return [
        Cell(**{**vars(cell), "state": "MOVED", "why": failed[_on_both(cell.row)]})
        if cell.state == "within tolerance" and _on_both(cell.row) in failed
        else cell
        for cell in cells
    ]


def _on_both(row: str) -> str:
    return row.removesuffix(ON_MNIST)


def between(references: list[dict[Key, Outcome]]) -> dict[str, float]:
    """Return the share of each row's runs that differs between any two kinds of machines, drawn to that of all rows.

    It is (k + WEIGHT q) / (n + WEIGHT) for k of a row's n runs, with q = (K + 1) / (N + 2) for all runs of all rows.
    """
    if len(references) < 2:
        return {}
    counts = defaultdict(lambda: np.zeros(2))
    for key in set.intersection(*map(set, references)):
        counts[_on_both(key[0])] += len({known[key].counts for known in references}) > 1, 1
    K, N = np.sum([(0, 0), *counts.values()], axis=0)
    return {row: float((k + WEIGHT * (K + 1) / (N + 2)) / (n + WEIGHT)) for row, (k, n) in counts.items()}


def rates(references: list[dict[Key, Outcome]], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return (false alarms, detectable shift) of the tolerant tier, simulated from the references of several kinds.

    False alarms are the share of untouched tables in which any cell fails. There each run differs as often as the runs
    of its row do between machines. It differs by a shift drawn from those that were seen between machines. The
    detectable shift is the smallest one that fails in POWER of the tables, in points. One row shifts by it in all its
    runs.
    """
    shared = set.intersection(*map(set, references))  # a kind may lack new rows
    shared = {key for key in shared if all(_is_number(known[key].value) for known in references)}
    references = [{key: known[key] for key in known if key in shared} for known in references]
    rng, keys = np.random.default_rng(seed), list(references[0])
    seen = [a[key].value - b[key].value for a in references for b in references if a is not b for key in keys]
    shifts = np.array([s for s in seen if s and np.isfinite(s)] or [0.0])
    chances = between(references)

    def simulated(touched: str | None = None, shift: float = 0.0) -> list[Cell]:
        fresh = {}
        for key in keys:
            known = references[rng.integers(len(references))][key]
            if _on_both(key[0]) == touched:
                fresh[key] = _shifted(known, shift)
            elif rng.random() < chances[_on_both(key[0])]:
                fresh[key] = _shifted(known, rng.choice(shifts))
            else:
                fresh[key] = known
        return compare(references, fresh, exact=False)

    alarms = np.mean([any(not cell.passes for cell in simulated()) for _ in range(draws)])
    row = max(chances, key=chances.get)  # the row whose runs differ most between machines hides a shift best

    def fails(shift: float) -> list[bool]:
        return [any(not cell.passes for cell in simulated(row, shift)) for _ in range(draws // 20)]

    return float(alarms), _detectable(fails)


def _shifted(outcome: Outcome, shift: float) -> Outcome:
    return Outcome(outcome.metric, outcome.value + shift, ("other", float(shift)), outcome.reason)


def _detectable(fails: Callable[[float], list[bool]]) -> float:
    """Return the smallest shift of a grid at which at least POWER fail."""
    grid = np.arange(0.05, 2 * TOLERANCE + 0.05, 0.05)
    return next((float(shift) for shift in grid if np.mean(fails(shift)) >= POWER), float("inf"))

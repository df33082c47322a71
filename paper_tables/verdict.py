"""A verdict judges a published cell by mean, sample standard deviation and number of runs on both sides.

    d = ours - paper        m = max(the table's margin, twice the paper's standard error), at most 3 points

    reproduced      the 90 % Welch interval of d lies inside [-m, m] (two one-sided tests at 5 %)
    differs         that interval is disjoint from [-m, m]
    inconclusive    anything else; a single run of ours always. Also where a run of ours failed and the others do not
                    differ: the mean of the runs that finished is chosen by their outcome
    compatible      none of these, and no number of our seeds can make it reproduced, whatever d, because the paper's
                    own error fills the margin: the 95 % interval of d holds 0. Or the paper gives a single run, or no
                    n: its value lies in our 95 % prediction interval for one run. The half-width stands beside the word
    unconfirmed     the published number was not checked against the paper: no verdict

A verdict is about the margin that is printed. Where the paper's error widens the margin, this margin is itself an
estimate. Yet the rates hold, because a false verdict needs an interval that misses the true difference on one side.

Where no spread of the paper's is known, STAND_IN times ours stands in for it. The rates then hold if the paper's spread
is at most that. It is so in 112 of the 117 judged cells that have five runs or more and whose paper prints its spread.
The paper's spread is at most ours alone in 70 of them. If ours alone stood in and the paper's were twice as large, the
rate would be 14 %.

Where our runs have the very class orders of the paper's, and the table says so (same_orders), the order is a block:
the interval is that of blocks.py. The margin is then not widened, as the paper's error from the orders cancels.

Adding seeds until a verdict falls is optional stopping. So a table that is to be looked at up to three times (LOOKS)
says so before the runs. Each look then uses its share of the error rate.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from methods.base.errors import UserError
from paper_tables import blocks, student
from paper_tables.published import Published

RATE = 0.05  # of false verdicts, of each kind, over all looks
LOOKS = (10, 20, 40)  # seeds
MAX_MARGIN = 3.0  # points
MAX_SEEDS = 1000  # beyond this, "more seeds" is no advice
STAND_IN = 2.0  # stands in for a spread that the paper does not give, in units of ours
FAILED = "a run of ours failed, and the mean of the others is no evidence for the paper's"
TOO_LARGE = "no number of our seeds settles it: the paper's own error is too large"
BORROWED = "no number of our seeds settles it: twice our spread, in place of the paper's, is too large"
TOO_NEAR = "no number of our seeds settles it, if the difference stays: it lies too near the margin"


@dataclass(frozen=True)
class Verdict:
    """Hold the word on n of our runs, and the interval of the difference in points. NaN: there is none."""

    word: str
    n: int
    difference: float
    low: float = math.nan
    high: float = math.nan
    margin: float = math.nan
    dagger: bool = False  # no spread of the paper's is known, or none within an order: ours stands in for it
    note: str | None = None
    open: bool = False  # whether more of our seeds can settle it


def columns(judged: Verdict | None) -> dict:
    """Return a verdict as columns of a frame, or what stands there where there is none."""
    shown = judged or Verdict("", 0, math.nan)
    interval = {name: getattr(shown, name) for name in ("difference", "low", "high", "margin")}
    return interval | {"verdict": shown.word, "dagger": shown.dagger, "open": shown.open}


def error_of(*sides):
    """Return the standard error of a sum or difference of means, and its degrees of freedom (Welch, Satterthwaite).

    Each side is the standard deviation and the number of the runs of a mean. Arrays broadcast.
    """
    squares = [np.square(std) / n for std, n in sides]
    freedom = sum(squares) ** 2 / sum(square**2 / (n - 1) for square, (_, n) in zip(squares, sides, strict=True))
    return np.sqrt(sum(squares)), freedom


def welch(difference, std, n, paper_std, paper_n, rate=RATE):
    """Return Welch's 1 - 2 * rate interval (low, high) of a difference of two means. Arrays broadcast."""
    error, freedom = error_of((std, n), (paper_std, paper_n))
    half = student.isf(rate, freedom) * error
    return difference - half, difference + half


def borrowed(difference, std, n, paper_n, rate=RATE):
    """Return the interval with STAND_IN * std for the paper's spread, which then brings no degree of freedom."""
    half = student.isf(rate, n - 1) * std * np.sqrt(1 / n + STAND_IN**2 / paper_n)
    return difference - half, difference + half


def prediction(difference, std, n, rate=RATE):
    """Return the interval of d. It holds 0 if the paper's run is in our 1 - rate prediction interval for one run."""
    half = student.isf(rate / 2, n - 1) * std * np.sqrt(1 + 1 / n)
    return difference - half, difference + half


def inside(low, high, margin):
    """Say whether the interval lies in [-margin, margin]."""
    return (low >= -margin) & (high <= margin)


def outside(low, high, margin):
    """Say whether the interval is disjoint from [-margin, margin]."""
    return (low > margin) | (high < -margin)


def verdict(
    ours: list[float],
    paper: Published,
    margin: float,
    looks: int = 1,
    orders: list[int] | None = None,
    failed: int = 0,
) -> Verdict:
    """Return the verdict on our finished runs (in percent) beside a published cell. `margin` is in points.

    orders: the number of each run's class order, where the paper has one run on each of these orders.
    failed: how many more runs of ours did not finish.
    """
    if not len(ours):
        raise UserError(f"{paper.cell}: there is no finished run to judge")
    if not np.isfinite(ours).all():
        raise UserError(f"{paper.cell}: runs to judge must be finite numbers, got {list(ours)}")
    n, difference, rate = len(ours), float(np.mean(ours)) - paper.mean, RATE / looks
    if not paper.verified:
        return Verdict("unconfirmed", n, difference, note="not checked against the paper")
    floor = paper.resolution / math.sqrt(12)  # a spread below the printed digits is not zero
    paper_std = None if paper.std is None else max(paper.std, floor)
    # One run of ours has no spread. For planning alone, the paper's spread stands in.
    std = max(float(np.std(ours, ddof=1)), floor) if n > 1 else paper_std

    if orders is not None:
        margin, dagger, agreement = min(margin, MAX_MARGIN) + paper.reading_error, True, "reproduced"
        design = blocks.of(ours, orders)
        if missing := blocks.lacking(design, paper.n):
            return Verdict("inconclusive", n, difference, margin=margin, dagger=dagger, note=missing, open=not failed)
        difference, within = design.mean - paper.mean, max(design.within, floor)
        interval = partial(design.interval, difference, within, times=STAND_IN, rate=rate)
    elif paper.n is None or paper.n == 1:
        margin, dagger, agreement = paper.reading_error, False, "compatible"
        interval = partial(prediction, difference, std, rate=rate)
    elif paper_std is None:
        margin, dagger, agreement = min(margin, MAX_MARGIN) + paper.reading_error, True, "reproduced"
        interval = partial(borrowed, difference, std, paper_n=paper.n, rate=rate)
    else:
        margin, dagger, agreement = widened(margin, paper_std, paper.n) + paper.reading_error, False, "reproduced"
        interval = partial(welch, difference, std, paper_std=paper_std, paper_n=paper.n, rate=rate)

    if n == 1 and failed:
        return Verdict("inconclusive", n, difference, margin=margin, dagger=dagger, note=FAILED)
    if n == 1:
        note, can_be_settled = "one seed has no spread, at least two are needed", True
        if agreement == "reproduced" and std is not None:
            settling, can_be_settled, _ = _settling(interval, n, difference, margin)
            note += f"; if ours spread as the paper's, {settling}"
        return Verdict("inconclusive", n, difference, margin=margin, dagger=dagger, note=note, open=can_be_settled)
    low, high = map(float, interval(n))
    if outside(low, high, margin):
        return Verdict("differs", n, difference, low, high, margin, dagger)
    if failed:
        return Verdict("inconclusive", n, difference, low, high, margin, dagger, FAILED)
    if agreement == "compatible" or inside(low, high, margin):
        return Verdict(agreement, n, difference, low, high, margin, dagger)
    note, can_be_settled, out_of_reach = _settling(interval, n, difference, margin)
    if out_of_reach and dagger:
        note = BORROWED
    wide_low, wide_high = map(float, interval(n, rate=rate / 2))
    if out_of_reach and wide_low <= 0 <= wide_high:
        return Verdict("compatible", n, difference, wide_low, wide_high, margin, dagger, note)
    return Verdict("inconclusive", n, difference, low, high, margin, dagger, note, can_be_settled)


def widened(margin: float, paper_std: float, paper_n: int) -> float:
    """Return the margin, or twice the paper's standard error if that is larger, at most MAX_MARGIN points."""
    return min(MAX_MARGIN, max(margin, 2 * paper_std / math.sqrt(paper_n)))


def _settling(interval: Callable, n: int, difference: float, margin: float) -> tuple[str, bool, bool]:
    """Say how many seeds of ours would settle the cell if means and spreads stayed as they are, and if any would.

    The last is whether the paper's error alone fills the margin.
    """

    def settled(n):
        low, high = interval(n)
        return inside(low, high, margin) | outside(low, high, margin)

    more = np.arange(n + 1, MAX_SEEDS + 1)
    enough = settled(more)
    if enough.any():
        return f"{more[enough.argmax()]} seeds would settle it", True, False
    low, high = interval(math.inf)
    if inside(low, high, margin) or outside(low, high, margin):
        return f"more than {MAX_SEEDS} seeds would settle it", True, False
    fills = (high - low) / 2 >= margin  # With endless runs of ours, only the paper's error is left.
    return (TOO_LARGE if fills else TOO_NEAR), False, fills

"""Where the marks of the small drawings lie, in percent of their width. The template draws them as SVG.

Percentages need no size, so a drawing is as wide as the room that it is given, and its text keeps its own size.
"""

import math
from dataclasses import dataclass

import pandas as pd
from matplotlib.colors import to_hex
from seaborn.utils import relative_luminance

from paper_tables.caption import ALONE, MARKS, UNJUDGED, WAITING
from paper_tables.plot import STYLES
from paper_tables.published import Published

EDGE = 1.15  # how far an axis goes beyond its outermost mark
NARROW = 7.0  # percent of the width: a shorter segment has no room for its number


@dataclass(frozen=True)
class Interval:
    """Hold the marks of ours minus paper beside 0 and the margin. None: there is none."""

    difference: float
    low: float | None
    high: float | None
    margin: tuple[float, float] | None
    zero: float = 50.0

    @classmethod
    def of(cls, line) -> "Interval | None":
        """Return the drawing of a line of render.frame that was judged."""
        if not line.verdict or line.verdict == "unconfirmed":
            return None
        marks = [line.difference, line.low, line.high, line.margin]
        reach = EDGE * max((abs(mark) for mark in marks if not math.isnan(mark)), default=1.0) or 1.0

        def at(value: float) -> float | None:
            return None if math.isnan(value) else round(50 + 50 * value / reach, 2)

        margin = None if math.isnan(line.margin) else (at(-line.margin), at(line.margin))
        return cls(at(line.difference), at(line.low), at(line.high), margin)


@dataclass(frozen=True)
class Strip:
    """Hold the marks of each of our runs, of their mean, and of the paper's mean with its spread."""

    runs: list[float]
    mean: float
    paper: float | None
    spread: tuple[float, float] | None
    ends: tuple[float, float]  # percent at the left and at the right

    @classmethod
    def of(cls, values: list[float], paper: Published | None) -> "Strip | None":
        """Return the drawing, or None without a run."""
        if not values:
            return None
        std = paper.std if paper and paper.std is not None else 0.0
        theirs = [paper.mean - std, paper.mean + std] if paper else []
        least, most = min([*values, *theirs]), max([*values, *theirs])
        pad = max(0.08 * (most - least), 0.05)
        left, right = least - pad, most + pad

        def at(value: float) -> float:
            return round(100 * (value - left) / (right - left), 2)

        spread = (at(theirs[0]), at(theirs[1])) if std else None
        mean = at(sum(values) / len(values))
        return cls([at(value) for value in values], mean, at(paper.mean) if paper else None, spread, (left, right))


@dataclass(frozen=True)
class Segment:
    """Hold a part of a bar of the scoreboard."""

    state: str
    count: int
    left: float
    width: float

    @property
    def text(self) -> str:
        """Return the count with the mark of the verdict, where there is room for them."""
        return f"{self.count} {MARKS.get(self.state, '')}".strip() if self.width >= NARROW else ""


def bars(counts: pd.DataFrame) -> dict[str, list[Segment]]:
    """Return the segments of each table's bar from scoreboard.counts. The longest bar is as wide as the drawing."""
    tables = counts.iloc[:-1]  # without the sum
    longest = max(1, tables.published.max())
    drawn = {}
    for name, line in tables.iterrows():
        of_state = {word: line[word] for word in (*MARKS, UNJUDGED)}
        of_state |= {WAITING: line.runnable - line.run, ALONE: line.published - line.runnable}
        left, segments = 0.0, []
        for state, count in of_state.items():
            width = 100 * count / longest
            if count:
                segments.append(Segment(state, int(count), round(left, 2), round(width, 2)))
            left += width
        drawn[name] = segments
    return drawn


def colours() -> dict[str, tuple[str, str]]:
    """Return the colour of each verdict in the figures, and black or white for text on it, by the higher contrast."""
    pairs = {}
    for word, (colour, _) in STYLES.items():
        ink = "#000" if relative_luminance(colour) > 0.179 else "#fff"  # both have the same contrast there, by WCAG 2
        pairs[word or UNJUDGED] = (to_hex(colour), ink)
    return pairs

"""A critical-difference diagram: the mean rank of each row, and bars over rows that cannot be told apart.

In each block the accuracies are ranked, the highest first; equal ones share the mean of their ranks. A block is a seed
that all ranked rows have finished. Friedman's test asks whether the rows differ at all. If they do, Nemenyi's test says
which pairs do: those whose mean ranks over N blocks of k rows differ by more than the critical difference

    CD = q sqrt(k (k + 1) / (6 N))      q: quantile of the studentised range over sqrt(2)

(Demsar, 2006). With fewer blocks than LEAST, or if Friedman's test finds nothing, nothing is told apart. Seeds are
blocks of one stream: what is told apart is told apart on this stream and in this protocol. Conover's test is not used,
as it is certain of differences after two seeds.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scikit_posthocs
from matplotlib.ticker import FixedLocator
from scipy import stats

from paper_tables import drawing
from paper_tables.declaration import Table
from paper_tables.figures import panels
from paper_tables.figures.courses import Course
from paper_tables.figures.panels import Drawn

ALPHA = 0.05
LEAST = 5  # blocks; with fewer nothing is said to differ
ROWS = 3  # are needed to compare
TICKS = 12  # of the axis, at most


@dataclass(frozen=True)
class Comparison:
    """Hold mean ranks [k] by row, N blocks, Friedman's p, and Nemenyi's p [k, k], which is 1 where nothing is told."""

    ranks: pd.Series
    blocks: int
    friedman: float
    nemenyi: pd.DataFrame

    @property
    def tells(self) -> bool:
        """Say whether any rows may be told apart."""
        return self.blocks >= LEAST and self.friedman < ALPHA

    @property
    def apart(self) -> int:
        """Return the number of pairs that are told apart."""
        return int((self.nemenyi.to_numpy() < ALPHA).sum()) // 2


def compare(accuracies: pd.DataFrame) -> Comparison:
    """Compare rows by their accuracies [block, row]. ValueError: one is missing, as of a run that failed."""
    if accuracies.isna().any(axis=None):
        rows = ", ".join(accuracies.columns[accuracies.isna().any()])
        raise ValueError(f"ranks need an accuracy of every row in every block; some are missing of {rows}")
    N, k = accuracies.shape
    if k < ROWS or N < 1:
        raise ValueError(f"ranks need {ROWS} rows and a block, got {k} rows and {N} blocks")
    ranks = accuracies.rank(axis=1, ascending=False)
    differ = (accuracies.nunique(axis=1) > 1).any()
    p = stats.friedmanchisquare(*accuracies.to_numpy().T).pvalue if differ and N > 1 else 1.0
    pairs = pd.DataFrame(1.0, index=accuracies.columns, columns=accuracies.columns)
    if N >= LEAST and p < ALPHA:
        pairs = scikit_posthocs.posthoc_nemenyi_friedman(ranks)
    return Comparison(ranks.mean(), N, float(p), pairs)


def critical_difference(k: int, N: int) -> float:
    """Return the difference of mean ranks that Nemenyi's test needs, for k rows in N blocks."""
    return stats.studentized_range.isf(ALPHA, k, np.inf) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * N))


def ranked(found: list[Course]) -> tuple[pd.DataFrame, list[Course]]:
    """Return the final accuracies [block, row] that can be ranked, and the courses that are left out.

    A row with a failed run is left out. Of the sets of LEAST seeds or more that rows have, the blocks are the one that
    keeps most runs. Where fewer than ROWS rows share one, the blocks are the seeds that all have in common.
    """
    sound = [course for course in found if not course.failed]
    sets = [set(course.seeds) for course in sound]
    shared = {frozenset(s): sum(s <= other for other in sets) for s in sets if len(s) >= LEAST}
    blocks = max(shared, key=lambda s: shared[s] * len(s), default=frozenset())
    if shared.get(blocks, 0) < ROWS:
        blocks = frozenset(set.intersection(*sets)) if sets else frozenset()
    chosen = [course for course in sound if blocks <= set(course.seeds)]
    columns = {c.label: pd.Series(c.final, index=c.seeds).reindex(sorted(blocks)) for c in chosen}
    return pd.DataFrame(columns), [course for course in found if course not in chosen]


def draw(table: Table, scenario: str, found: list[Course]) -> Drawn | None:
    """Return the diagram of a scenario, or None with fewer than ROWS rows or no seed in common."""
    accuracies, left_out = ranked(found)
    N, k = accuracies.shape
    if k < ROWS or N < 1:
        return None
    compared = compare(accuracies)
    methods = {course.label: course.method for course in found}
    marks = drawing.marks({label: methods[label] for label in accuracies})
    with drawing.canvas(7.6, 1.9 + 0.16 * k) as figure:
        axes = figure.subplots()
        axes.grid(False)
        artists = scikit_posthocs.critical_difference_diagram(
            compared.ranks,
            compared.nemenyi,
            alpha=ALPHA,
            ax=axes,
            label_fmt_left="{label}  {rank:.2f}\u00a0",
            label_fmt_right="\u00a0{rank:.2f}  {label}",
            label_props={"fontsize": 8},
            color_palette={label: drawing.style(methods[label]).colour for label in accuracies},
            marker_props={"s": 0},
            text_h_margin=0.03 * k,
        )
        for text in artists["labels"]:
            text.set_color("0.1")
        # scikit-posthocs 0.17.1 draws a bar through its rows in the order of a set, which differs between processes.
        for (bar,) in artists["crossbars"]:
            x, y = bar.get_data()
            bar.set_data([min(x), max(x)], y[:2])
        for label, rank in compared.ranks.items():
            axes.plot(rank, 0, markersize=7, zorder=4, clip_on=False, **marks[label])
        if compared.tells:
            low = min(text.get_position()[1] for text in artists["labels"]) - 1.2
            axes.plot([1, 1 + critical_difference(k, N)], [low, low], "|-", color="0.1", linewidth=1.5, markersize=8)
            axes.text(1 + critical_difference(k, N), low, "\u00a0\u00a0critical difference", va="center", fontsize=8)
        axes.set_xlim(1 - 0.05 * k, 1.05 * k)
        axes.spines["top"].set(bounds=(1, k), color="0.3")
        axes.xaxis.set_major_locator(FixedLocator(range(1, k + 1, math.ceil(k / TICKS))))
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(f"mean rank over {panels.span([N], 'seed')} (1: the highest accuracy)", fontsize=8)
        caption = _caption(compared, left_out)
        title = f"{table.title}: ranks by accuracy over all tasks{panels.of(table, scenario)}"
        panels.entitle(figure, title, caption)
    return Drawn(figure, caption, _see(compared))


def _caption(compared: Comparison, left_out: list[Course]) -> str:
    N, k = compared.blocks, len(compared.ranks)
    if N < LEAST:
        text = f"{panels.span([N], 'seed')}: nothing can be told apart with fewer than {LEAST}."
    elif not compared.tells:
        text = (
            f"Friedman's test over {N} seeds finds no difference (p = {compared.friedman:.2g}): nothing is told apart."
        )
    else:
        CD, pairs = critical_difference(k, N), k * (k - 1) // 2
        text = (
            f"Friedman's test over {N} seeds finds differences (p = {compared.friedman:.1g}). Rows under one bar "
            f"cannot be told apart: their mean ranks differ by less than CD = {CD:.2f} (Nemenyi, {100 * ALPHA:g} %). "
            f"Of {pairs} pairs {compared.apart} are told apart, on this stream and in this protocol."
        )
    failed = [course.label for course in left_out if course.failed]
    few = [course.label for course in left_out if not course.failed]
    text += f" Left out, as a run failed: {', '.join(failed)}." if failed else ""
    return text + (f" Left out, as they lack some of these seeds: {', '.join(few)}." if few else "")


def _see(compared: Comparison) -> str:
    ranks = compared.ranks.sort_values()
    best = ranks.index[0]
    if not compared.tells:
        return f"{best} has the best mean rank, {ranks.iloc[0]:.2f}, but nothing can be told apart."
    alike = [row for row in ranks.index[1:] if compared.nemenyi.loc[best, row] >= ALPHA]
    text = f"{best} has the best mean rank, {ranks.iloc[0]:.2f} of {len(ranks)} rows over {compared.blocks} seeds"
    return f"{text}, and cannot be told from {panels.listed(alike)}." if alike else f"{text}, ahead of all others."

"""The figure of a table: ours beside the paper's number, for each row and scenario.

A table of one measure has a panel for each scenario, and a line for each row. A table whose rows measure different
things has a panel for each measure with its own axis, and rows that measure the same runs share a line. Rows "after 1",
"after 2" and so on are a curve over tasks, in a panel for each method.
"""

import math
import textwrap

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmarks.metrics import AFTER, IN_POINTS
from paper_tables import alike, drawing, student
from paper_tables.caption import UNJUDGED
from paper_tables.declaration import Table
from paper_tables.drawing import BLUE, CYAN, GREEN, ORANGE, PURPLE, RED
from paper_tables.verdict import RATE

PAPER = {"color": "0.35", "marker": "D", "markersize": 4, "markerfacecolor": "white"}
# A verdict has its own colour and its own marker, so that neither is needed alone.
STYLES = {
    "reproduced": (GREEN, "o"),
    "compatible": (CYAN, "P"),
    "inconclusive": (ORANGE, "s"),
    "differs": (RED, "X"),
    "unconfirmed": (PURPLE, "v"),
    "": (BLUE, "d"),
}
NAMES = {"": UNJUDGED}
CHARACTERS = 11  # of a title to the inch
ENTRY = 1.2  # inches of the legend for one entry
ACROSS = 4  # panels of curves in a line, at most
NARROW = 1.8  # inches of such a panel
LINE = 0.3  # inches of a row
LABEL = 30  # characters of an axis' label in a line
APART = 0.08  # tasks that our curve is moved to the left, and the paper's marks to the right, so that both are seen
INTERVAL = f"{100 * (1 - 2 * RATE):g} %"  # of the intervals that a verdict is by
BARS = f"bars: {INTERVAL} confidence interval of the mean"
BANDS = f"bars and bands: {INTERVAL} confidence interval of the mean"


def figure(table: Table, cells: pd.DataFrame, dpi: int = 200) -> bytes:
    """Return a PNG of means with their 90 % confidence intervals. Colour and marker tell the verdict."""
    dots, curved = _parted(table, cells)
    grid = _grid(table, dots)
    rows = [list(dict.fromkeys(dots[dots.scenario.isin([s for s, _ in line])].group)) for line in grid]
    curves = [(s, g) for s in table.scenarios for g in dict.fromkeys(curved[curved.scenario == s].group)]
    width = 1.6 + 2.9 * max(map(len, grid)) if grid else 0.5 + NARROW * min(len(curves), ACROSS)
    lines = math.ceil(len(curves) / min(ACROSS, int(width / NARROW)))
    heights = [LINE * len(some) + 0.85 for some in rows] + [1.9 * lines] * (lines > 0)
    with drawing.canvas(width, sum(heights) + 1.0) as picture:
        parts = picture.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, line, some in zip(parts, grid, rows, strict=False):
            _dots(part, dots, line, some)
        if curves:
            _curves(parts[-1], table, curved, curves, lines)
        picture.suptitle(textwrap.fill(table.title, int(CHARACTERS * width)), fontsize=11)
        entries = int(width / ENTRY)
        picture.legend(
            handles=_legend(cells),
            loc="outside lower center",
            ncols=entries,
            title=BANDS if curves else BARS,
            frameon=False,
        )
        return drawing.png(picture, dpi)


def _parted(table: Table, cells: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells that are dots, and those of curves. The column `group` names the line or panel of each."""
    group = {row.label: name for name, rows in alike.groups(table).items() for row in rows}
    cells = cells.assign(group=cells.row.map(group))
    after = cells[cells.metric.str.startswith(AFTER)]
    curved = after[after.group.map(after.groupby("group").metric.nunique()) > 1]
    dots = cells.drop(curved.index)
    return dots if dots.metric.map(_kind).nunique() > 1 else dots.assign(group=dots.row), curved


def _grid(table: Table, dots: pd.DataFrame) -> list[list[tuple[str, str]]]:
    """Return the (scenario, measure) of each panel, line by line. Scenarios of one measure stand side by side."""
    measures = list(dict.fromkeys(dots.metric.map(_kind)))
    lines = [[(s, m) for m in measures] for s in table.scenarios if (dots.scenario == s).any()]
    return lines if len(measures) > 1 else [[panel for line in lines for panel in line]] if lines else []


def _dots(part, dots: pd.DataFrame, line: list[tuple[str, str]], rows: list[str]) -> None:
    """Draw a line of panels with the same rows."""
    panels = part.subplots(1, len(line), sharey=True, squeeze=False)[0]
    one_measure = len({measure for _, measure in line}) == 1
    for axes, (scenario, measure) in zip(panels, line, strict=True):
        here = dots[(dots.scenario == scenario) & (dots.metric.map(_kind) == measure)]
        _panel(axes, here, rows)
        unit = "points" if measure in IN_POINTS else "%"
        axes.set_xlabel(textwrap.fill(f"{_name(here.metric, measure)} ({unit})", LABEL))
        axes.set_title(f"{scenario}-incremental" if one_measure else "")
    if not one_measure:
        part.suptitle(f"{line[0][0]}-incremental", fontsize="medium")
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)


def _kind(metric: str) -> str:
    """Return what stands on one axis: both accuracies of the end, or the measure alone."""
    return "accuracy" if metric in ("average_accuracy", "micro_accuracy") else metric


def _name(metrics: pd.Series, kind: str) -> str:
    """Return the name of what is measured, in words."""
    return (metrics.iloc[0] if metrics.nunique() == 1 else kind).replace("_", " ")


def _panel(axes, cells, labels):
    shift = 0.17 if cells.paper_mean.notna().any() else 0.0
    for cell in cells.itertuples():
        line = labels.index(cell.group)
        if cell.ours_n:
            colour, marker = STYLES[cell.verdict]
            half = half_width(cell.ours_std, cell.ours_n)
            _point(axes, cell.ours_mean, line - shift, half, color=colour, marker=marker, markersize=6)
        if not math.isnan(cell.paper_mean):
            _point(axes, cell.paper_mean, line + (shift if cell.ours_n else 0.0), _paper_half(cell), **PAPER)
    drawing.lines(axes, len(labels), margin=0.08)
    left, right = axes.get_xlim()
    for cell in cells[cells.failed > 0].itertuples():  # on the side where our mark is not, at its height
        x, ha = (0.02, "left") if cell.ours_mean > (left + right) / 2 else (0.98, "right")
        where = {"transform": axes.get_yaxis_transform(), "ha": ha, "va": "center"}
        axes.text(x, labels.index(cell.group) - shift, f"failed {cell.failed}", color=RED, fontsize=8, **where)


def _curves(part, table: Table, cells: pd.DataFrame, curves: list[tuple[str, str]], lines: int) -> None:
    """Draw the accuracy after each task that has a row, in a panel for each group and scenario."""
    methods = {name: rows[0].method for name, rows in alike.groups(table).items()}
    across = math.ceil(len(curves) / lines)
    panels = part.subplots(lines, across, sharex=True, sharey=True, squeeze=False)
    for number, axes in enumerate(panels.flat):
        axes.set_visible(number < len(curves))
        if number < len(curves):
            scenario, group = curves[number]
            here = cells[(cells.scenario == scenario) & (cells.group == group)]
            method = methods[group]
            _curve(axes, here, drawing.style(method["name"]).colour if method else PAPER["color"])
            title = f"{group}, {scenario}" if len(table.scenarios) > 1 else group
            axes.set_title(textwrap.fill(title, 20), fontsize=9)
            axes.tick_params(labelbottom=number + across >= len(curves))
            axes.set_xlabel("tasks learnt" if number + across >= len(curves) else "", fontsize=8)
    for axes in panels[:, 0]:
        axes.set_ylabel("average accuracy (%)", fontsize=8)


def _curve(axes, cells: pd.DataFrame, colour) -> None:
    cells = cells.assign(after=cells.metric.str.removeprefix(AFTER).astype(int)).sort_values("after")
    ours = cells[cells.ours_n > 0]
    half = np.array([half_width(cell.ours_std, cell.ours_n) for cell in ours.itertuples()])
    axes.plot(ours.after - APART, ours.ours_mean, color=colour, linewidth=1.3)
    axes.fill_between(
        ours.after - APART, ours.ours_mean - half, ours.ours_mean + half, color=colour, alpha=0.2, linewidth=0
    )
    for cell in cells.itertuples():
        if cell.ours_n:
            mark, marker = STYLES[cell.verdict]
            axes.plot(cell.after - APART, cell.ours_mean, color=mark, marker=marker, markersize=6, zorder=3)
        if not math.isnan(cell.paper_mean):
            _point(axes, cell.after + APART, cell.paper_mean, _paper_half(cell), upright=True, **PAPER)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.1, y=0.1)
    sns.despine(ax=axes)


def _paper_half(cell) -> float:
    return math.nan if pd.isna(cell.paper_n) else half_width(cell.paper_std, cell.paper_n)


def _point(axes, x, y, half, upright=False, **style):
    bars = {} if math.isnan(half) else {"yerr" if upright else "xerr": half}
    axes.errorbar(x, y, **bars, capsize=2, elinewidth=1.2, linestyle="none", zorder=4 if upright else 3, **style)


def half_width(std, n) -> float:
    """Return half of the 90 % t interval of a mean, or of each of several. NaN: a single run has none."""
    return student.isf(RATE, n - 1) * std / math.sqrt(n) if n > 1 else math.nan


def _legend(cells) -> list[Line2D]:
    used = [word for word in STYLES if ((cells.verdict == word) & (cells.ours_n > 0)).any()]
    handles = []
    for word in used:
        colour, marker = STYLES[word]
        name = NAMES.get(word, word) if cells.paper_mean.notna().any() else "this suite"
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=6, linestyle="none", label=name))
    if cells.paper_mean.notna().any():
        handles.append(Line2D([], [], linestyle="none", label="published", **PAPER))
    return handles

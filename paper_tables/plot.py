"""The figure of a table has one panel a scenario and a line a row. Ours stands beside the paper's number."""

import io
import math
import textwrap

import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables import student
from paper_tables.declaration import Table

BLUE, ORANGE, GREEN, RED, PURPLE, *_, YELLOW, CYAN = sns.color_palette("colorblind")
PAPER = "0.35"
# A verdict has its own colour and its own marker, so that neither is needed alone.
STYLES = {
    "reproduced": (GREEN, "o"),
    "compatible": (CYAN, "P"),
    "inconclusive": (ORANGE, "s"),
    "differs": (RED, "X"),
    "unconfirmed": (PURPLE, "v"),
    "": (BLUE, "d"),
}
NAMES = {"": "no verdict"}
CHARACTERS = 11  # of a title to the inch
ENTRY = 1.2  # inches of the legend for one entry
BARS = "bars: 90 % confidence interval of the mean"


def figure(table: Table, cells: pd.DataFrame, dpi: int = 200) -> bytes:
    """Return a PNG of means with their 90 % confidence intervals, in percent. Colour and marker tell the verdict."""
    labels = [row.label for row in table.rows]
    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), sns.plotting_context("paper"):
        width = 1.6 + 2.9 * len(table.scenarios)
        drawing = Figure(figsize=(width, 1.7 + 0.3 * len(labels)), layout="constrained")
        FigureCanvasAgg(drawing)
        panels = drawing.subplots(1, len(table.scenarios), sharey=True, squeeze=False)[0]
        one = (cells.metric == table.metric).all()
        accuracies = all("accuracy" in metric for metric in cells.metric)
        measured = table.metric.replace("_", " ") if one else "accuracy" if accuracies else "the row's measure"
        for axes, scenario in zip(panels, table.scenarios, strict=True):
            _panel(axes, cells[cells.scenario == scenario], labels)
            axes.set_title(f"{scenario}-incremental")
            axes.set_xlabel(f"{measured} (%)")
        panels[0].set_yticks(range(len(labels)), labels)
        panels[0].set_ylim(len(labels) - 0.5, -0.5)
        drawing.suptitle(textwrap.fill(table.title, int(CHARACTERS * width)), fontsize=11)
        entries = int(width / ENTRY)
        drawing.legend(handles=_legend(cells), loc="outside lower center", ncols=entries, title=BARS, frameon=False)
        data = io.BytesIO()
        drawing.savefig(data, format="png", dpi=dpi)
    return data.getvalue()


def _panel(axes, cells, labels):
    shift = 0.17 if cells.paper_mean.notna().any() else 0.0
    for line in range(1, len(labels), 2):
        axes.axhspan(line - 0.5, line + 0.5, color="0.965", zorder=0)
    for cell in cells.itertuples():
        line = labels.index(cell.row)
        if cell.ours_n:
            colour, marker = STYLES[cell.verdict]
            half = half_width(cell.ours_std, cell.ours_n)
            _point(axes, cell.ours_mean, half, line - shift, color=colour, marker=marker, markersize=6)
        if not math.isnan(cell.paper_mean):
            half = math.nan if pd.isna(cell.paper_n) else half_width(cell.paper_std, cell.paper_n)
            style = {"color": PAPER, "marker": "D", "markersize": 4, "markerfacecolor": "white"}
            _point(axes, cell.paper_mean, half, line + (shift if cell.ours_n else 0.0), **style)
        if cell.failed:
            where = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
            axes.text(0.98, line, f"failed {cell.failed}", color=RED, fontsize=8, **where)
    axes.grid(False, axis="y")
    axes.margins(x=0.08)
    sns.despine(ax=axes, left=True)


def _point(axes, mean, half, line, **style):
    half = None if math.isnan(half) else half
    axes.errorbar(mean, line, xerr=half, capsize=2, elinewidth=1.2, linestyle="none", zorder=3, **style)


def half_width(std, n) -> float:
    """Return half of the 90 % t interval of a mean. NaN: a single run has none."""
    return student.isf(0.05, n - 1) * std / math.sqrt(n) if n > 1 else math.nan


def _legend(cells) -> list[Line2D]:
    used = [word for word in STYLES if ((cells.verdict == word) & (cells.ours_n > 0)).any()]
    handles = []
    for word in used:
        colour, marker = STYLES[word]
        name = NAMES.get(word, word) if cells.paper_mean.notna().any() else "this suite"
        handles.append(Line2D([], [], color=colour, marker=marker, markersize=6, linestyle="none", label=name))
    if cells.paper_mean.notna().any():
        style = {"color": PAPER, "marker": "D", "markersize": 4, "markerfacecolor": "white"}
        handles.append(Line2D([], [], linestyle="none", label="published", **style))
    return handles

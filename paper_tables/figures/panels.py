"""Figures of panels: how they are laid out, and where their title, legend and caption stand."""

import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables import drawing
from paper_tables.declaration import Table
from paper_tables.plot import half_width

ACROSS = 5  # panels in a line
TITLE = 18  # characters in a line of a panel's title
HEADING, TEXT = 11, 15  # characters of the figure's title and of its caption to the inch


@dataclass(frozen=True)
class Drawn:
    """Hold a figure, its caption, and what to see in it."""

    figure: Figure
    caption: str
    see: str


@contextmanager
def grid(
    n: int, width: float, height: float, below: str, beside: str, share: str = "xy"
) -> Iterator[tuple[Figure, list]]:
    """Lend a figure of n panels of this size in inches, and its axes.

    below, beside: the labels of the axes. share: which of the axes "x" and "y" all panels have in common.
    """
    lines, across = math.ceil(n / ACROSS), min(n, ACROSS)
    with drawing.canvas(max(5.0, width * across), height * lines + 1.3) as figure:
        axes = figure.subplots(lines, across, squeeze=False, sharex="x" in share, sharey="y" in share)
        for number, panel in enumerate(axes.flat):
            panel.set_visible(number < n)
            if number + across >= n:  # nothing is below it
                panel.set_xlabel(below, fontsize=8)
                panel.tick_params(labelbottom=True)
        for panel in axes[:, 0]:
            panel.set_ylabel(beside, fontsize=8)
        yield figure, list(axes.flat[:n])


def entitle(figure: Figure, title: str, caption: str, handles: list[Line2D] = ()) -> None:
    """Write the title above, and below it the legend and the caption."""
    width = figure.get_figwidth()
    figure.suptitle(textwrap.fill(title, int(HEADING * width), break_on_hyphens=False), fontsize=11)
    entries = max((len(handle.get_label()) for handle in handles), default=0)
    columns = max(1, min(len(handles), int(TEXT * width / (entries + 9))))
    looks = {"loc": "outside lower center", "frameon": False, "fontsize": 8, "title_fontsize": 8}
    lines = textwrap.fill(caption, int(TEXT * width), break_on_hyphens=False)
    figure.legend(handles=list(handles), ncols=columns, title=lines, **looks)


def of(table: Table, scenario: str) -> str:
    """Return the scenario as it ends a title, where the table has several."""
    return f", {scenario}-incremental" if len(table.scenarios) > 1 else ""


def named(label: str, scenario: str, several: bool) -> str:
    """Return the label of a row, with its scenario where there are several."""
    return f"{label} ({scenario}-incremental)" if several else label


def span(numbers: list[int], of: str) -> str:
    """Return "3 seeds", or "1 to 10 seeds"."""
    least, most = min(numbers), max(numbers)
    return f"{most} {of}{'' if most == 1 else 's'}" if least == most else f"{least} to {most} {of}s"


def listed(words: list[str]) -> str:
    """Return "A", "A and B" or "A, B and C"."""
    words = list(words)
    return " and ".join([*[", ".join(words[:-1])][: len(words) - 1], words[-1]])


def half_widths(values: np.ndarray) -> np.ndarray:
    """Return half of the 90 % t interval of the mean over runs [S, ...]. NaN: a single run has none."""
    if len(values) == 1:
        return np.full(values.shape[1:], np.nan)
    return half_width(values.std(0, ddof=1), len(values))

"""Accuracy after each task, a panel for each row, with the other rows in grey behind it.

After task k: 1/k sum_{j<=k} R[k, j], the mean over the tasks learnt so far, and R[k, 1], the first task. Joint training
is measured once, at the end: it has a point.
"""

import math
import textwrap

import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from paper_tables import drawing
from paper_tables.declaration import Table
from paper_tables.figures import panels
from paper_tables.figures.courses import Course
from paper_tables.figures.panels import Drawn
from paper_tables.plot import INTERVAL

MARKS = 10  # on a curve, at most
FIRST = (0, (1, 1.2))  # the line of the first task
SO_FAR = f"tasks learnt so far, with {INTERVAL} interval"


def draw(table: Table, scenario: str, found: list[Course]) -> Drawn:
    """Return a panel for each row of a scenario."""
    with panels.grid(len(found), 2.1, 1.75, "tasks learnt", "accuracy (%)") as (figure, axes_of):
        for course, axes in zip(found, axes_of, strict=True):
            after = np.arange(1, course.accuracy.shape[2] + 1)
            for other in found:
                if other is not course:
                    axes.plot(after, other.so_far.mean(0), color="0.85", linewidth=0.8, zorder=1)
            looks = drawing.style(course.method)
            mean, half = course.so_far.mean(0), panels.half_widths(course.so_far)
            line = {"color": looks.colour, "linewidth": 1.4}
            axes.plot(after, mean, marker=looks.marker, markersize=4, markevery=math.ceil(len(after) / MARKS), **line)
            axes.fill_between(after, mean - half, mean + half, color=looks.colour, alpha=0.25, linewidth=0)
            if not course.is_joint:
                axes.plot(after, course.first.mean(0), linestyle=FIRST, **line)
            axes.set_title(textwrap.fill(course.label, panels.TITLE), fontsize=9)
            axes.set_ylim(0, 102)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            sns.despine(ax=axes)
        caption = f"Means over {panels.span([len(course.seeds) for course in found], 'seed')}."
        handles = [
            Line2D([], [], color="0.3", marker="o", markersize=4, label=SO_FAR),
            Line2D([], [], color="0.3", linestyle=FIRST, label="first task"),
        ]
        if len(found) > 1:
            handles.append(Line2D([], [], color="0.85", label="the other rows, tasks learnt so far"))
        panels.entitle(figure, f"{table.title}: accuracy after each task{panels.of(table, scenario)}", caption, handles)
    return Drawn(figure, caption, _see(found))


def _see(found: list[Course]) -> str:
    several = sorted(
        [course for course in found if not course.is_joint] or found, key=lambda course: course.final.mean()
    )
    worst, best = several[0], several[-1]
    if worst is best:
        return f"After the last task {best.label} is at {best.final.mean():.1f} % over all tasks."
    return (
        f"After the last task the mean over all tasks is {best.final.mean():.1f} % with {best.label}, and "
        f"{worst.final.mean():.1f} % with {worst.label}. On the first task they are then at "
        f"{best.first[:, -1].mean():.1f} % and {worst.first[:, -1].mean():.1f} %."
    )

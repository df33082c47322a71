"""R[k, j] below the diagonal: accuracy on task j after k tasks, a heat map for each row, the mean over seeds."""

import math
import textwrap

import numpy as np
import seaborn as sns

from paper_tables.declaration import Table
from paper_tables.figures import panels
from paper_tables.figures.courses import Course
from paper_tables.figures.panels import Drawn


def draw(table: Table, scenario: str, found: list[Course]) -> Drawn | None:
    """Return a heat map for each row of a scenario: tasks learnt go down, the task tested goes right.

    Joint training has none, as it is measured once. None: no row has one.
    """
    found = [course for course in found if not course.is_joint and course.accuracy.shape[2] > 1]
    if not found:
        return None
    with panels.grid(len(found), 1.6, 1.7, "tested on task", "tasks learnt") as (figure, axes_of):
        for course, axes in zip(found, axes_of, strict=True):
            mean = course.accuracy[:, 1:].mean(0)
            T = len(mean)
            below = np.where(np.tri(T, dtype=bool), mean, np.nan)
            extent = (0.5, T + 0.5, T + 0.5, 0.5)
            image = axes.imshow(below, cmap="cividis", vmin=0, vmax=100, extent=extent, interpolation="nearest")
            axes.set_title(textwrap.fill(course.label, panels.TITLE), fontsize=8)
            axes.set_xticks([1, T], ["1", str(T)])
            axes.set_yticks([1, T], ["1", str(T)])
            axes.tick_params(length=0)
            axes.grid(False)
            sns.despine(ax=axes, left=True, bottom=True)
        lines = math.ceil(len(found) / panels.ACROSS)
        figure.colorbar(image, ax=axes_of, label="accuracy (%)", shrink=min(1.0, 3 / lines))
        caption = f"Means over {panels.span([len(course.seeds) for course in found], 'seed')}. A column tells what "
        caption += "becomes of a task: dark from some line on, it is forgotten."
        panels.entitle(figure, f"{table.title}: accuracy by task{panels.of(table, scenario)}", caption)
    return Drawn(figure, caption, _see(found))


def _see(found: list[Course]) -> str:
    lost = {course.label: course.measured("forgetting_since_learnt").mean() for course in found}
    most, least = max(lost, key=lost.get), min(lost, key=lost.get)
    if most == least:
        return f"{most} forgets {lost[most]:z.1f} points of a task on average."
    return (
        f"{most} forgets most, {lost[most]:.1f} points of a task on average: its columns darken below the diagonal. "
        f"{least} forgets {lost[least]:z.1f} points."
    )

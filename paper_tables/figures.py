"""`figures` draws what a table's numbers leave out: how the accuracy of each row goes from task to task.

    curves     after task k: 1/k sum_{j<=k} R[k, j], the mean over the tasks learnt so far, and R[k, 1], the first task
    matrices   R[k, j] below the diagonal: accuracy on task j after k tasks, mean over seeds

R is in percent. The band of a curve is the 90 % confidence interval of the mean over seeds. Rows that measure the same
runs share a panel. Joint training is measured once, at the end: it has a point, and no matrix. Failed runs are left
out. Nothing is trained.
"""

import math
import textwrap
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmarks.files import write_atomically
from paper_tables import drawing
from paper_tables.declaration import Table
from paper_tables.plot import half_width
from paper_tables.references import recorded_seeds, usable
from paper_tables.runs import results_of, runs_of

ACROSS = 5  # panels in a line
COLOURS = {"task": drawing.BLUE, "domain": drawing.ORANGE, "class": drawing.GREEN}
MARKERS = {"task": "o", "domain": "s", "class": "^"}
TITLE = 18  # characters in a line of a panel's title


@dataclass(frozen=True)
class Course:
    """Hold the accuracies R [S, T + 1, T] of the S finished runs of a row in a scenario, in percent."""

    label: str
    scenario: str
    accuracy: np.ndarray

    @property
    def so_far(self) -> np.ndarray:
        """Return the mean accuracy on the tasks learnt so far, [S, T]."""
        T = self.accuracy.shape[2]
        return np.stack([self.accuracy[:, k, :k].mean(1) for k in range(1, T + 1)], 1)

    @property
    def first(self) -> np.ndarray:
        """Return the accuracy on the first task, [S, T]."""
        return self.accuracy[:, 1:, 0]

    @property
    def is_joint(self) -> bool:
        """Say whether only the end was measured."""
        return bool(np.isnan(self.accuracy[:, 1:-1]).all()) and self.accuracy.shape[2] > 1


def courses(table: Table, folder: Path) -> list[Course]:
    """Return the courses of all rows that have finished runs in `folder`, each set of runs once."""
    seeds = recorded_seeds(table, folder)
    runs = runs_of(table, seeds) if seeds else {}
    groups: dict = {}
    for (label, scenario), records in results_of(runs, usable(runs, folder)[0]).items():
        if finished := [record for record in records if record.reason is None]:
            groups.setdefault(replace(finished[0].run, seed=0), (scenario, finished, []))[2].append(label)
    return [
        Course(_common(labels), scenario, 100 * np.stack([record.accuracy for record in finished]))
        for scenario, finished, labels in groups.values()
    ]


def _common(labels: list[str]) -> str:
    """Return the words with which the labels of rows with the same runs begin, or the first label."""
    words = takewhile(lambda alike: len(set(alike)) == 1, zip(*(label.split() for label in labels), strict=False))
    return " ".join(alike[0] for alike in words).removesuffix(" after").rstrip(",:") or labels[0]


def write(table: Table, folder: Path, out: Path) -> list[Path]:
    """Draw a table from the records in `folder`. Return the files, none where nothing is recorded."""
    found = courses(table, folder)
    drawn = {"curves": curves(table, found)} if found else {}
    for scenario in table.scenarios:
        if several := [c for c in found if c.scenario == scenario and not c.is_joint and c.accuracy.shape[2] > 1]:
            drawn[f"matrices-{scenario}"] = matrices(table, scenario, several)
    files = []
    for name, figure in drawn.items():
        for form in ("png", "svg"):
            files.append(out / f"{table.name}-{name}.{form}")
            write_atomically(files[-1], drawing.picture(figure, form))
    return files


def _panels(n: int, width: float, height: float, title: str, below: str, beside: str) -> tuple[Figure, list]:
    """Return a figure of n panels of this size in inches, and its axes. below, beside: the labels of the axes."""
    lines, across = math.ceil(n / ACROSS), min(n, ACROSS)
    figure = Figure(figsize=(max(5.0, width * across), height * lines + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, across, squeeze=False, sharex=True, sharey=True)
    for number, panel in enumerate(axes.flat):
        panel.set_visible(number < n)
        if number + across >= n:  # nothing is below it
            panel.set_xlabel(below, fontsize=8)
            panel.tick_params(labelbottom=True)
    for panel in axes[:, 0]:
        panel.set_ylabel(beside, fontsize=8)
    figure.suptitle("\n".join(textwrap.wrap(title, int(11 * figure.get_figwidth()))), fontsize=11)
    return figure, list(axes.flat[:n])


def curves(table: Table, found: list[Course]) -> Figure:
    """Return a panel for each row, with a line for each scenario."""
    labels = list(dict.fromkeys(course.label for course in found))
    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), sns.plotting_context("paper"):
        title = f"{table.title}: accuracy after each task"
        figure, panels = _panels(len(labels), 2.1, 1.75, title, "tasks learnt", "accuracy (%)")
        for label, axes in zip(labels, panels, strict=True):
            for course in (course for course in found if course.label == label):
                _line(axes, course.so_far, course.scenario, "-", 1.0)
                if not course.is_joint:
                    _line(axes, course.first, course.scenario, (0, (1, 1.2)), 0.75)
            axes.set_title(textwrap.fill(label, TITLE), fontsize=9)
            axes.set_ylim(0, 102)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            sns.despine(ax=axes)
        used = [s for s in COLOURS if any(course.scenario == s for course in found)]
        names = {scenario: f"{scenario}-incremental" for scenario in used}
        handles = [Line2D([], [], color=COLOURS[s], marker=MARKERS[s], markersize=4, label=names[s]) for s in used]
        handles += [Line2D([], [], color="0.3", label="tasks learnt so far, with 90 % interval")]
        handles += [Line2D([], [], color="0.3", linestyle=(0, (1, 1.2)), label="first task")]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _line(axes, values: np.ndarray, scenario: str, style, alpha: float) -> None:
    after, mean = np.arange(1, values.shape[1] + 1), values.mean(0)
    colour, n = COLOURS[scenario], len(values)
    mark = {"marker": MARKERS[scenario], "markersize": 3} if style == "-" else {}
    axes.plot(after, mean, color=colour, linestyle=style, linewidth=1.2, alpha=alpha, **mark)
    if style == "-" and n > 1:
        half = np.array([half_width(std, n) for std in values.std(0, ddof=1)])
        axes.fill_between(after, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)


def matrices(table: Table, scenario: str, found: list[Course]) -> Figure:
    """Return a heat map for each row of a scenario: tasks learnt go down, the task tested goes right."""
    with sns.plotting_context("paper"):
        title = f"{table.title}, {scenario}-incremental: accuracy by task"
        figure, panels = _panels(len(found), 1.6, 1.7, title, "tested on task", "tasks learnt")
        for course, axes in zip(found, panels, strict=True):
            mean = course.accuracy[:, 1:].mean(0)
            T = len(mean)
            below = np.where(np.tri(T, dtype=bool), mean, np.nan)
            extent = (0.5, T + 0.5, T + 0.5, 0.5)
            image = axes.imshow(below, cmap="cividis", vmin=0, vmax=100, extent=extent, interpolation="nearest")
            axes.set_title(textwrap.fill(course.label, TITLE), fontsize=8)
            axes.set_xticks([1, T], ["1", str(T)])
            axes.set_yticks([1, T], ["1", str(T)])
            axes.tick_params(length=0)
            sns.despine(ax=axes, left=True, bottom=True)
        figure.colorbar(image, ax=panels, label="accuracy (%)", shrink=min(1.0, 3 / math.ceil(len(found) / ACROSS)))
    return figure

"""Forgetting against intransigence, a panel for each scenario, a mark for each row.

    forgetting      1/(T-1) sum_{j<T} (max_{j<=l<T} R[l, j] - R[T, j])
    intransigence   a*_T - R[T, T]     a*_T: the accuracy of joint training on the last task, with the same seed

Both are in points (Chaudhry et al., 2018). Joint training must be a row of the table, with the same network. A row
without a run of joint training beside it, and one without a forgetting, has no mark.
"""

import numpy as np
from matplotlib.lines import Line2D

from paper_tables import drawing
from paper_tables.declaration import Table
from paper_tables.figures import panels
from paper_tables.figures.courses import Course
from paper_tables.figures.panels import Drawn


def draw(table: Table, found: list[Course]) -> Drawn | None:
    """Return the plane of both measures, or None where no row has them."""
    placed = {(c.label, c.scenario): (c, at) for c in found if len(at := places(c, found))}
    scenarios = [s for s in table.scenarios if any(scenario == s for _, scenario in placed)]
    if not scenarios:
        return None
    methods = {course.label: course.method for course, _ in placed.values()}
    marks = drawing.marks(methods)
    with panels.grid(len(scenarios), 3.4, 3.6, "intransigence (points)", "forgetting (points)", "") as (
        figure,
        axes_of,
    ):
        for axes, scenario in zip(axes_of, scenarios, strict=True):
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.axvline(0, color="0.6", linewidth=0.8)
            for (label, at_scenario), (_, at) in placed.items():
                if at_scenario == scenario:
                    look = marks[label] | {"linestyle": "none"}
                    axes.plot(*at.T, markersize=3, alpha=0.45, markeredgewidth=0.5, **look)
                    axes.plot(*at.mean(0), markersize=7, zorder=3, **look)
            axes.set_title(f"{scenario}-incremental", fontsize=9)
            axes.margins(0.08)
        caption = _caption(found, list(placed.values()))
        handles = [Line2D([], [], linestyle="none", markersize=6, label=row, **marks[row]) for row in methods]
        panels.entitle(figure, f"{table.title}: forgetting against intransigence", caption, handles)
    return Drawn(figure, caption, _see(placed, scenarios))


def places(course: Course, found: list[Course]) -> np.ndarray:
    """Return (intransigence, forgetting) [S, 2] of the runs that have both, in points."""
    joint = reference(course, found)
    against = joint.records if joint else ()
    at = np.stack([course.measured("intransigence", against), course.measured("forgetting_since_learnt")], 1)
    return at[~np.isnan(at).any(1)]


def reference(course: Course, found: list[Course]) -> Course | None:
    """Return the course of joint training with the same network, in the same scenario."""
    net = course.records[0].run.train.net
    for other in found:
        if other.method == "joint" and other.scenario == course.scenario and other.records[0].run.train.net == net:
            return other
    return None


def _caption(found: list[Course], placed: list[tuple[Course, np.ndarray]]) -> str:
    joint = panels.listed(dict.fromkeys(reference(course, found).label for course, _ in placed))
    seeds = panels.span([len(at) for _, at in placed], "seed")
    return (
        "Forgetting: how far each task but the last fell below the best that it had since it was learnt, on average. "
        f"Intransigence: the accuracy of joint training (row {joint}, same seed) on the last task, minus that of the "
        f"row. The best place is at the lower left. Large marks: means over {seeds}; small marks: single runs."
    )


def _see(placed: dict, scenarios: list[str]) -> str:
    texts = []
    for scenario in scenarios:
        means = {label: at.mean(0) for (label, here), (_, at) in placed.items() if here == scenario}
        nearest = min(means, key=lambda label: means[label].sum())
        x, y = means[nearest]
        texts.append(f"{panels.named(nearest, scenario, len(scenarios) > 1)}, {x:z.1f} and {y:z.1f} points")
    return f"Nearest to the lower left, by the sum of intransigence and forgetting: {'; '.join(texts)}."

"""The final accuracy of each run, a line for each row: 1/T sum_j R[T, j].

A seed has the same height in every line, so that a seed that is low everywhere is seen. The tick is the mean.
"""

import numpy as np

from paper_tables import drawing
from paper_tables.declaration import Table
from paper_tables.figures import panels
from paper_tables.figures.courses import Course
from paper_tables.figures.panels import Drawn

SPREAD = 0.56  # of the height of a line is between the first seed and the last
SIZES = {5: 6.5, 10: 5.0, 20: 3.5}  # points of a mark, for so many seeds at most


def draw(table: Table, found: list[Course]) -> Drawn | None:
    """Return a panel for each scenario, or None where every row has one run."""
    if max(len(course.seeds) for course in found) == 1:
        return None
    scenarios = [s for s in table.scenarios if any(course.scenario == s for course in found)]
    labels = list(dict.fromkeys(course.label for course in found))
    seeds = sorted({seed for course in found for seed in course.seeds})
    height = dict(zip(seeds, np.linspace(-SPREAD / 2, SPREAD / 2, len(seeds)), strict=True))
    size = next((size for most, size in SIZES.items() if len(seeds) <= most), 2.5)
    with drawing.canvas(max(6.4, 1.6 + 2.9 * len(scenarios)), 1.6 + 0.27 * len(labels)) as figure:
        axes_of = figure.subplots(1, len(scenarios), sharey=True, squeeze=False)[0]
        for axes, scenario in zip(axes_of, scenarios, strict=True):
            for course in (course for course in found if course.scenario == scenario):
                line, looks = labels.index(course.label), drawing.style(course.method)
                at = [line + height[seed] for seed in course.seeds]
                mark = {"color": looks.colour, "marker": looks.marker, "markersize": size, "linestyle": "none"}
                axes.plot(course.final, at, alpha=0.75, markeredgewidth=0, **mark)
                if len(at) > 1:
                    axes.vlines(course.final.mean(), line - 0.42, line + 0.42, color="0.1", linewidth=1.1, zorder=3)
            axes.set(title=f"{scenario}-incremental", xlabel="accuracy over all tasks (%)")
            drawing.lines(axes, len(labels), margin=0.06)
        axes_of[0].set_yticks(range(len(labels)), labels)
        axes_of[0].set_ylim(len(labels) - 0.5, -0.5)
        caption = (
            f"Each mark is a run, at the end of the stream. Each of the {len(seeds)} seeds has the same height in "
            "every line. The tick is the mean of a row."
        )
        if failed := [f"{c.label} {c.scenario} {len(c.failed)}" for c in found if c.failed]:
            caption += f" Failed runs are left out: {', '.join(failed)}."
        panels.entitle(figure, f"{table.title}: every run", caption)
    return Drawn(figure, caption, _see(found, len(scenarios) > 1))


def _see(found: list[Course], several: bool) -> str:
    spread = sorted((course for course in found if len(course.seeds) > 1), key=lambda course: np.ptp(course.final))
    least, most = spread[0], spread[-1]
    names = [panels.named(course.label, course.scenario, several) for course in (most, least)]
    text = (
        f"The runs of {names[0]} lie farthest apart: from {most.final.min():.1f} to {most.final.max():.1f} % over "
        f"{len(most.seeds)} seeds."
    )
    return text if least is most else f"{text} Those of {names[1]} lie within {np.ptp(least.final):.2f} points."

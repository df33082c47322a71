"""All figures of a table, and their files. Nothing is trained."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.files import write_atomically
from paper_tables import drawing, ledger
from paper_tables.declaration import Table
from paper_tables.figures import curves, matrices, plane, ranks, strengths, strips
from paper_tables.figures.courses import Course, courses
from paper_tables.figures.panels import Drawn
from paper_tables.references import recorded


def figures(table: Table, found: list[Course]) -> dict[str, Callable[[], Drawn | None]]:
    """Return what draws each figure of a table, by its name. It returns None where there is nothing to draw."""
    by_name: dict = {}
    if found:
        by_name |= {"plane": partial(plane.draw, table, found), "strips": partial(strips.draw, table, found)}
    trials = ledger.read(table.name)
    for scenario in table.scenarios:
        if own := [course for course in found if course.scenario == scenario]:
            for kind in (ranks, curves, matrices):
                by_name[f"{kind.__name__.rpartition('.')[2]}-{scenario}"] = partial(kind.draw, table, scenario, own)
        by_name[f"strengths-{scenario}"] = partial(strengths.draw, table, scenario, trials)
    return by_name


def write(table: Table, folder: Path, root: Path, out: Path) -> list[Path]:
    """Draw a table from the records in `folder` of the data in `root`. Return the files, none without a record."""
    files = []
    for name, draw in figures(table, courses(recorded(table, folder, root).results)).items():
        if drawn := draw():
            for form in ("png", "svg"):
                files.append(out / f"{table.name}-{name}.{form}")
                write_atomically(files[-1], drawing.picture(drawn.figure, form))
    return files

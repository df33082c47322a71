"""All figures of a table, and their files. Nothing is trained."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.files import write_atomically
from paper_tables import drawing, ledger
from paper_tables.declaration import Table
from paper_tables.figures import curves, matrices, plane, ranks, strengths, strips
from paper_tables.figures.courses import courses
from paper_tables.figures.panels import Drawn


def drawn(table: Table, folder: Path) -> Iterator[Drawn]:
    """Return the figures of a table from the records in `folder`, one at a time."""
    found = courses(table, folder)
    trials = ledger.read(table.name)
    if found:
        yield from filter(None, [plane.draw(table, found), strips.draw(table, found)])
    for scenario in table.scenarios:
        if own := [course for course in found if course.scenario == scenario]:
            yield from filter(None, [curves.draw(table, scenario, own), matrices.draw(table, scenario, own)])
            yield from filter(None, [ranks.draw(table, scenario, own)])
            yield from filter(None, [strengths.draw(table, scenario, trials)])


def write(table: Table, folder: Path, out: Path) -> list[Path]:
    """Draw a table from the records in `folder`. Return the files, none where nothing is recorded."""
    files = []
    for each in drawn(table, folder):
        for form in ("png", "svg"):
            files.append(out / f"{table.name}-{each.name}.{form}")
            write_atomically(files[-1], drawing.picture(each.figure, form))
    return files

"""The scoreboard shows all tables on one page: how many published cells can be run, were run, and what came of them.

Second-hand is a published number from a text or a rerun that is not the authors' own.
"""

import pandas as pd

from benchmarks.markdown import table as markdown_table
from paper_tables.caption import MARKS, UNJUDGED
from paper_tables.declaration import Table

COLUMNS = ["published", "runnable", "run", "secondhand", *MARKS, UNJUDGED, "hours"]


def line(cells: pd.DataFrame | None, published: int, runnable: int, hours: float) -> dict:
    """Return the counts of one table. `cells` is that of render.frame, or None where nothing was run.

    runnable: how many of the published cells are in rows with a method.
    """
    if cells is None:
        return dict.fromkeys(COLUMNS, 0) | {"published": published, "runnable": runnable}
    run = cells[(cells.cell != "") & (cells.ours_n > 0)]
    counts = {word: int((run.verdict == word).sum()) for word in MARKS}
    return {
        "published": published,
        "runnable": runnable,
        "run": len(run),
        "secondhand": int(run.secondhand.sum()) if "secondhand" in run else 0,
        **counts,
        UNJUDGED: int((run.verdict == "").sum()),
        "hours": hours,
    }


def counts(tables: list[tuple[Table, pd.DataFrame | None, float]]) -> pd.DataFrame:
    """Return a line of COLUMNS for each table, and their sum. hours: of one core, in the runs behind the table."""
    lines = {}
    for t, cells, hours in tables:
        published = [len(row.paper) for row in t.rows]
        runnable = [len(row.paper) for row in t.rows if row.method]
        lines[t.name] = line(cells, sum(published), sum(runnable), hours)
    grid = pd.DataFrame.from_dict(lines, orient="index", columns=COLUMNS)
    return pd.concat([grid, grid.sum().rename("all").to_frame().T])  # a table may be called all


def markdown(tables: list[tuple[Table, pd.DataFrame | None, float]]) -> str:
    """Return the counts of all tables as a page."""
    grid = counts(tables)
    header = ["table", "published cells", "can be run here", "run", "of these second-hand"]
    header += [*(f"{mark} {word}" for word, mark in MARKS.items()), UNJUDGED, "core hours"]
    body = [[name, *(f"{n:.0f}" for n in row[:-1]), f"{row[-1]:.1f}"] for name, *row in grid.itertuples()]
    return f"# Scoreboard\n\n{markdown_table(header, body)}\n"

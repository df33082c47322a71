"""A table as a terminal shows it: as wide as there is room, with the verdicts in colour where there are colours.

Where all scenarios side by side are too wide, they stand one below the other. What is no terminal gets the Markdown.
"""

import textwrap

import pandas as pd
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table as Grid
from rich.text import Text

from benchmarks.markdown import bullets
from paper_tables.caption import MARKS, caption
from paper_tables.declaration import Table
from paper_tables.render import grid

COLOURS = {
    "reproduced": "green",
    "differs": "bold red",
    "inconclusive": "yellow",
    "compatible": "cyan",
    "unconfirmed": "magenta",
}


def show(
    table: Table, cells: pd.DataFrame, seeds: tuple[int, ...], markdown: str, stale: int = 0, below: str = ""
) -> None:
    """Print a table. markdown: the page that is written, for what is no terminal. NO_COLOR=1 takes the colours away."""
    console = Console(highlight=False)
    if not console.is_terminal:
        print(markdown)
        return
    console.print(Text(table.title, style="bold"))
    print(textwrap.fill(f"{table.source}.", console.width))
    texts = grid(table, cells, len(seeds), lambda cell: MARKS.get(cell.verdict, ""))
    words = {(cell.row, cell.scenario): cell.verdict for cell in cells.itertuples()}
    together = _drawn(texts, words, table.scenarios)
    if _width(console, together) <= console.width:
        console.print(together)
    else:
        for scenario in table.scenarios:
            console.print(_drawn(texts, words, (scenario,)))
    print(bullets(caption(table, cells, seeds, stale), console.width))
    for text in filter(None, (table.remarks, below)):
        console.print(Markdown(text, hyperlinks=False))


def _width(console: Console, drawn: Grid) -> int:
    """Return the width at which no cell is broken."""
    return console.measure(drawn, options=console.options.update(max_width=10_000)).maximum


def _drawn(texts: pd.DataFrame, words: dict[tuple[str, str], str], scenarios: tuple[str, ...]) -> Grid:
    """Return the scenarios side by side. Rows that have nothing there are left out of a single scenario."""
    drawn = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    drawn.add_column("", overflow="fold")
    for scenario in scenarios:
        for name in texts[scenario].columns:
            heading = f"{scenario}: ours" if name == "ours" else name
            drawn.add_column(heading, justify="right", overflow="fold")
    for label in texts.index:
        if len(scenarios) == 1 and (label, scenarios[0]) not in words:
            continue
        line = [Text(label)]
        for scenario in scenarios:
            for name, text in texts.loc[label, scenario].items():
                style = COLOURS.get(words.get((label, scenario), ""), "") if name == "verdict" else ""
                line.append(Text(text, style=style))
        drawn.add_row(*line)
    return drawn

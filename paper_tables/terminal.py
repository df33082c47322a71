"""A table as a terminal shows it: as wide as there is room, with the verdicts in colour where there are colours.

Where all scenarios side by side are too wide, they stand one below the other. What is no terminal gets the Markdown.
"""

import textwrap
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table as Grid
from rich.text import Text

from benchmarks.markdown import bullets

COLOURS = {
    "reproduced": "green",
    "differs": "bold red",
    "inconclusive": "yellow",
    "compatible": "cyan",
    "unconfirmed": "magenta",
}


@dataclass(frozen=True)
class Page:
    """Hold the texts of a rendered table. `render.page` makes them.

    columns: those of each scenario. rows: the texts of each row, by scenario. verdicts: the word of each cell that the
    table has, by row and scenario. notes: the caption. below: Markdown that follows. markdown: the whole page.
    """

    title: str
    source: str
    columns: dict[str, list[str]]
    rows: dict[str, dict[str, list[str]]]
    verdicts: dict[str, dict[str, str]]
    notes: list[str]
    below: list[str]
    markdown: str


def show(page: Page) -> None:
    """Print a table. What is no terminal gets the page as it is written. NO_COLOR=1 takes the colours away."""
    console = Console(highlight=False)
    if not console.is_terminal:
        print(page.markdown)
        return
    console.print(Text(page.title, style="bold"))
    print(textwrap.fill(f"{page.source}.", console.width))
    together = _drawn(page, list(page.columns))
    if _width(console, together) <= console.width:
        console.print(together)
    else:
        for scenario in page.columns:
            console.print(_drawn(page, [scenario]))
    print(bullets(page.notes, console.width))
    for text in page.below:
        console.print(Markdown(text, hyperlinks=False))


def _width(console: Console, drawn: Grid) -> int:
    """Return the width at which no cell is broken."""
    return console.measure(drawn, options=console.options.update(max_width=10_000)).maximum


def _drawn(page: Page, scenarios: list[str]) -> Grid:
    """Return the scenarios side by side. Rows that have nothing there are left out of a single scenario."""
    drawn = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    drawn.add_column("", overflow="fold")
    for scenario in scenarios:
        for name in page.columns[scenario]:
            heading = f"{scenario}: ours" if name == "ours" else name
            drawn.add_column(heading, justify="right", overflow="fold")
    for label, texts in page.rows.items():
        if len(scenarios) == 1 and scenarios[0] not in page.verdicts[label]:
            continue
        line = [Text(label)]
        for scenario in scenarios:
            for name, text in zip(page.columns[scenario], texts[scenario], strict=True):
                word = page.verdicts[label].get(scenario, "") if name == "verdict" else ""
                line.append(Text(text, style=COLOURS.get(word, "")))
        drawn.add_row(*line)
    return drawn

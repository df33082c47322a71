"""`tables` also draws a gallery from the committed records: a small picture of each kind, and what to see in it.

The sentences are computed from what is drawn. The page is docs/gallery.md, its pictures lie in results/gallery/.
"""

from collections.abc import Callable
from functools import partial

from benchmarks.files import ROOT, write_atomically
from paper_tables import declaration, drawing, plot, render
from paper_tables.figures import draw
from paper_tables.figures.courses import courses
from paper_tables.references import references

PAGE, PICTURES = ROOT / "docs" / "gallery.md", ROOT / "results" / "gallery"
DPI = 80
SHOWN = (  # table, figure, heading
    ("rotatedmnist", "table", "A table: ours beside the published numbers"),
    ("vandeven2019-splitmnist", "curves-class", "Accuracy after each task"),
    ("splitmnist", "matrices-domain", "What becomes of each task"),
    ("splitmnist", "plane", "Forgetting against intransigence"),
    ("fisher", "strips", "Every run"),
    ("splitmnist", "ranks-domain", "Which rows can be told apart"),
    ("fisher", "strengths-task", "Strength against accuracy"),
)
HEAD = """\
# Gallery

Each picture is drawn from the committed records, and each sentence is computed from them. `make tables` writes this
page. `make figures TABLE=<name>` draws all pictures of a table larger, as PNG and SVG, and `make report` shows them
beside the table. A method has the same colour and marker in all of them.
"""
FOOT = """\
## From runs of their own

These pages have their own commands, and say how to read their pictures: [forgetting against intransigence over twelve
decades of strength](../results/tables/tradeoff.md), [error surfaces of two tasks](../results/tables/landscape.md),
[regression tasks learnt in turn](../results/tables/offline-ewc.md), [Fisher
estimators](../results/tables/fisher-estimators.md).
"""


def pictures() -> dict[tuple[str, str], tuple[str, Callable[[], bytes]]]:
    """Return what to see in each picture that is shown, and what draws it, by table and figure."""
    drawn: dict = {}
    for name in dict.fromkeys(name for name, _, _ in SHOWN):
        table = declaration.load(name)
        results = references(table).results
        of_table = draw.figures(table, courses(results))
        for figure in (figure for other, figure, _ in SHOWN if other == name):
            if figure == "table":
                drawn[name, figure] = _table(table, results)
            else:
                made = of_table[figure]()
                drawn[name, figure] = made.see, partial(drawing.png, made.figure, DPI)
    return drawn


def _table(table, results) -> tuple[str, Callable[[], bytes]]:
    cells = render.frame(table, results)
    counts = cells[cells.cell != ""].verdict.replace("", "without a verdict").value_counts()
    verdicts = ", ".join(f"{count} {word}" for word, count in counts.items())
    see = f"{counts.sum()} published cells: {verdicts}. Ours beside the published numbers, the hollow diamonds."
    return see, partial(plot.figure, table, cells, DPI)


def page(drawn: dict) -> str:
    """Return the page of what `pictures` returns."""
    parts = [HEAD]
    for name, figure, heading in SHOWN:
        see, _ = drawn[name, figure]
        file = f"../{(PICTURES / f'{name}-{figure}.png').relative_to(ROOT).as_posix()}"
        title = declaration.load(name).title
        parts.append(f"## {heading}\n\n![{heading}: {title}]({file})\n\n{title}. {see}\n")
    return "\n".join([*parts, FOOT])


def write() -> None:
    """Write the page and its pictures."""
    drawn = pictures()
    for (name, figure), (_, png) in drawn.items():
        write_atomically(PICTURES / f"{name}-{figure}.png", drawing.small(png()))
    write_atomically(PAGE, page(drawn))

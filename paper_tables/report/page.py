"""The report is written as one HTML file, whole or not at all: once, or every few seconds while a sweep is running."""

import base64
import hashlib
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup
from rich.console import Console
from rich.progress import track

from benchmarks.files import read_text, shown, write_atomically
from methods.base.errors import UserError
from methods.base.examples import SCENARIOS
from paper_tables import audit, declaration, drawing, plot, scoreboard
from paper_tables.caption import ALONE, MARKS, UNJUDGED, WAITING, meaning
from paper_tables.declaration import Table
from paper_tables.figures.draw import figures as draw_figures
from paper_tables.render import interval, mean_and_std
from paper_tables.report import content, drawings
from paper_tables.report.content import Page
from paper_tables.verdict import STAND_IN

HERE = Path(__file__).parent
MOST = 5_000_000  # bytes of a page
MARKUP = 300  # bytes around a picture
DPI = 100  # of the figures: sharp at the width that they are shown in
SMALL_DPI = 80  # of those below a table
EVERY = 5.0  # seconds between two versions of a live report
SPREADS = {
    "sem": "standard error",
    "std": "sample standard deviation",
    "std_pop": "population standard deviation",
    "ci95": "95 % confidence interval",
    "none": "of no known kind",
}
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink"])


def write(
    folder: Path,
    root: Path,
    file: Path,
    tables: list[Table] | None = None,
    live: float | None = None,
    whole: bool = True,
) -> int:
    """Write the report on the records in `folder` of the data in `root`, and return its size in bytes.

    live: seconds until it reloads. whole: with the figures below the tables, which take a while.
    """
    tables = [declaration.load(name) for name in declaration.names()] if tables is None else tables
    pages = [content.of(table, folder, root) for table in tables]
    text = html(pages, folder, live)
    if whole:
        audited = audit_of(drawing.FOLDER)
        with_audit = html(pages, folder, live, audited=audited)
        if len(with_audit.encode("utf-8")) > MOST:
            audited, with_audit = None, text
        text = html(pages, folder, live, pictures(pages, MOST - len(with_audit.encode("utf-8"))), audited)
    write_atomically(file, text)
    return len(text.encode("utf-8"))


def keep_writing(folder: Path, root: Path, file: Path, every: float = EVERY) -> None:
    """Write the report again whenever a record came, until Ctrl-C. The last version no longer reloads itself."""
    print(f"{shown(file)} follows the records until Ctrl-C: open it in a browser", file=sys.stderr)
    before = None
    try:
        while True:
            if (now := _versions(folder)) != before:
                write(folder, root, file, live=every, whole=False)
                before = now
            time.sleep(every)
    except KeyboardInterrupt:
        write(folder, root, file, whole=False)


def _versions(folder: Path) -> set[tuple[Path, int]]:
    """Return each record of a folder with the time at which it was written."""
    found = set()
    for record in folder.glob("[!.]*/*/*.json"):
        with suppress(FileNotFoundError):  # gone since the folder was listed
            found.add((record, record.stat().st_mtime_ns))
    return found


@dataclass(frozen=True)
class Picture:
    """Hold a figure below a table: a PNG in base 64, and what to see in it."""

    data: str
    see: str


def pictures(pages: list[Page], room: int) -> dict[str, list[Picture]]:
    """Draw the figures of each table. Those for which no room of so many bytes is left are left out."""
    drawn: dict[str, list[Picture]] = {}
    waiting = [(page, draw) for page in pages for draw in draw_figures(page.table, page.courses).values()]
    for page, draw in track(waiting, description="figures", console=Console(stderr=True)):
        if room > 0 and (found := draw()):
            data = base64.b64encode(drawing.small(drawing.png(found.figure, SMALL_DPI))).decode()
            room -= len(data) + 2 * len(found.see.encode("utf-8")) + MARKUP
            if room > 0:
                drawn.setdefault(page.table.name, []).append(Picture(data, found.see))
    return drawn


def audit_of(folder: Path) -> tuple[Picture, dict[str, list]] | None:
    """Return the picture of the audit that lies in a folder, and its cells by library. None: there is none."""
    if not (folder / "audit.csv").is_file():
        return None
    found = audit.read(folder / "audit.csv")
    data = base64.b64encode(drawing.small((folder / "audit.png").read_bytes())).decode()
    return Picture(
        data, "Libraries by quantities: what each computes; the tables below hold its cells"
    ), audit.by_library(found)


def html(
    pages: list[Page],
    folder: Path,
    live: float | None = None,
    below: dict[str, list[Picture]] | None = None,
    audited: tuple[Picture, dict[str, list]] | None = None,
) -> str:
    """Return the page. The same records give the same text, but for the time of day of a live one.

    below: the further figures of each table. audited: what `audit_of` returns.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"remarks": _remarks, "line": _line}
    environment.globals |= {"mean_and_std": mean_and_std, "interval_text": interval}
    counts = scoreboard.counts([(page.table, page.frame, page.hours) for page in pages])
    script = read_text(HERE / "page.js")
    return environment.get_template("page.html").render(
        pages=pages,
        folder=shown(folder),
        counts=counts,
        bars=drawings.bars(counts),
        colours=drawings.colours(),
        marks=MARKS,
        bar_states=(*MARKS, UNJUDGED, WAITING, ALONE),
        scenarios=SCENARIOS,
        states=[state for state in content.STATES if any(cell.state == state for page in pages for cell in page.cells)],
        meanings={page.table.name: _meanings(page.table) for page in pages},
        stand_in=STAND_IN,
        spreads=SPREADS,
        figures={page.table.name: _figure(page) for page in pages if page.frame is not None},
        below=below or {},
        audited=audited,
        audit_header=audit.HEADER,
        style=Markup(read_text(HERE / "page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode(),
        live=live,
        now=time.strftime("%H:%M:%S") if live else None,
    )


def _meanings(table: Table) -> dict[str, str]:
    """Return what each verdict means, where no other verdict is explained beside it."""
    neither = {"inconclusive": "the interval lies neither within the margin nor wholly outside it, with these seeds"}
    return {word: meaning(word, table.looks) for word in MARKS} | neither


def _remarks(text: str) -> Markup:
    """Return Markdown as HTML, below a heading of its own. HTML in it is escaped, and links and pictures stay text."""
    tokens = MARKDOWN.parse(text)
    if len(tokens) > 1 and tokens[0].type == "heading_open" and tokens[1].content == "Remarks":
        del tokens[:3]  # the heading stands on the page already
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
    return Markup(MARKDOWN.renderer.render(tokens, MARKDOWN.options, {}))


def _line(text: str) -> Markup:
    return Markup(MARKDOWN.renderInline(text))


class _ByValue:
    """Hold a table and its frame under a key, so that a figure is drawn again only when its numbers change."""

    def __init__(self, page: Page):
        self.page, self.key = page, f"{page.table.name}\n{page.table.title}\n{page.frame.to_csv()}"

    def __eq__(self, other) -> bool:
        return self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _figure(page: Page) -> str:
    return _drawn(_ByValue(page))


@lru_cache(maxsize=200)
def _drawn(drawn: _ByValue) -> str:
    return base64.b64encode(drawing.small(plot.figure(drawn.page.table, drawn.page.frame, DPI))).decode()


def check(folder: Path) -> None:
    """Refuse a results folder that is not there."""
    if not folder.is_dir():
        raise UserError(f"RESULTS={folder}: there is no such folder; make table-<name> writes results/local")

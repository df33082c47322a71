"""A table and its runs become one tidy frame, and the frame becomes Markdown, LaTeX, CSV and a figure."""

import math
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import streams
from benchmarks.files import ROOT, write_atomically
from benchmarks.markdown import bullets
from benchmarks.markdown import table as markdown_table
from benchmarks.metrics import Measure
from benchmarks.record import Record
from paper_tables import blocks
from paper_tables.caption import MARKS, caption, measure, usual_n, verdicts
from paper_tables.declaration import Row, Table
from paper_tables.runs import Results, finished_of, measures
from paper_tables.terminal import Page
from paper_tables.verdict import LOOKS, columns, verdict

WIDTH = 150  # columns of a terminal
DRAWN_BY = (*(ROOT / "paper_tables").glob("*.py"), ROOT / "requirements.lock")
LATEX = str.maketrans(
    {c: "\\" + c for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
)


def write(
    table: Table, cells: pd.DataFrame, seeds: tuple[int, ...], folder: Path, stale: int = 0, below: str = ""
) -> str:
    """Write <name>.md, .tex, .csv and .png. Return the Markdown.

    `stale` counts the records that were set aside. `below` is Markdown that follows the table. A picture of the same
    numbers stays: to import Matplotlib and to draw take longer than all else.
    """
    text = "\n".join(filter(None, [markdown(table, cells, seeds, stale), below]))
    written = {"md": text, "tex": latex(table, cells, seeds), "csv": cells.to_csv(index=False)}
    files = {folder / f"{table.name}.{ending}": content for ending, content in written.items()}
    picture = folder / f"{table.name}.png"
    if not all(map(_holds, files, files.values())) or not _is_newer(picture, DRAWN_BY):
        from paper_tables import plot

        write_atomically(picture, plot.figure(table, cells))
    for file, content in files.items():  # last, as they say that the picture is theirs
        write_atomically(file, content)
    return text


def _holds(file: Path, text: str) -> bool:
    with suppress(OSError):
        return file.read_bytes() == text.encode()
    return False


def _is_newer(file: Path, others: tuple[Path, ...]) -> bool:
    with suppress(OSError):
        return file.stat().st_mtime_ns > max(other.stat().st_mtime_ns for other in others)
    return False


def frame(table: Table, results: Results) -> pd.DataFrame:
    """Return a line per row and scenario: ours, the paper's, difference, interval, verdict; in percent or points."""
    lines = [
        _line(table, row, scenario, results.get((row.label, scenario), []), results.get((row.reference, scenario), []))
        for row in table.rows
        for scenario in row.scenarios
    ]
    cells = pd.DataFrame(lines).astype({"paper_n": "Int64"})
    unused = [column for column in ("added", "mixed", "secondhand") if not cells[column].any()]
    return cells.drop(columns=unused + ([] if table.same_orders else ["orders_std", "within_std"]))


def _line(table: Table, row: Row, scenario: str, records: list[Record], references: list[Record]) -> dict:
    finished = finished_of(records)
    reasons = [record.reason for record in records if record.reason is not None]
    measured = measures(row.metric, finished, references, row.reference)
    values = [measure.percent for measure in measured if measure.reason is None]
    orders = _orders(finished, measured) if table.same_orders else None
    design = blocks.of(values, orders) if orders else None  # its mean weighs all orders alike
    seconds = [record.seconds for record in finished]
    paper = row.paper.get(scenario)
    judged = None
    if paper and values and not row.no_verdict:
        judged = verdict(values, paper, table.margin, table.looks, orders, failed=len(reasons))
    return {
        "row": row.label,
        "scenario": scenario,
        "metric": row.metric,
        "runs": row.method is not None,
        "ours_mean": design.mean if design else float(np.mean(values)) if values else math.nan,
        "ours_std": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan,
        "ours_n": len(values),
        "training_s": _median(seconds, "training"),
        "importance_s": _median(seconds, "importance"),
        "added": _added(finished),
        "mixed": _mixed(finished),
        "orders_std": design.between if design else math.nan,
        "within_std": design.within if design else math.nan,
        "failed": len(reasons),
        "paper_mean": paper.mean if paper else math.nan,
        "paper_std": paper.std if paper and paper.std is not None else math.nan,
        "paper_n": paper.n if paper else None,
        "paper_decimals": paper.decimals if paper else 0,
        "paper_spread_kind": paper.spread_kind if paper else "",
        **columns(judged),
        "note": (judged.note if judged else row.no_verdict) or "",
        "undefined": next((measure.reason for measure in measured if measure.reason), ""),
        "failure": "; ".join(dict.fromkeys(reasons)),
        "warning": "; ".join(dict.fromkeys(_warnings(records))),
        "cell": paper.cell if paper else "",
        "secondhand": bool(paper and paper.secondhand),
        "origin": row.origin or "",
    }


def _orders(finished: list[Record], measured: list[Measure]) -> list[int]:
    """Return the number of the class order of each run that counts."""
    counted = [record.run for record, measure in zip(finished, measured, strict=True) if measure.reason is None]
    return [streams.recipe(run.stream).order_seed(run.seed) for run in counted]


def _added(finished: list[Record]) -> str:
    """Return the mean number of units that the runs added to each hidden layer, as in "4.5 + 2". "": they add none."""
    counts = [record.added for record in finished if record.added is not None]
    return " + ".join(f"{mean:.3g}" for mean in np.mean(counts, axis=0)) if counts else ""


def _mixed(finished: list[Record]) -> bool:
    """Say whether several versions of the code or of a package, or several kinds of device, made the runs."""
    made_by = [record.versions | {"code": record.digest, "device": record.machine["device"]} for record in finished]
    names = {name for each in made_by for name in each} - {"python"}
    return any(len({each[name] for each in made_by if name in each}) > 1 for name in names)


def _warnings(records: list[Record]) -> list[str]:
    return [text for record in records for text in record.warnings or ()]


def _median(seconds: list[dict], phase: str) -> float:
    return float(np.median([by_phase[phase] for by_phase in seconds])) if seconds else math.nan


def markdown(table: Table, cells: pd.DataFrame, seeds: tuple[int, ...], stale: int = 0) -> str:
    """Return the table with all scenarios side by side, what is to be known about it, and the remarks."""
    texts = grid(table, cells, len(seeds), lambda cell: MARKS.get(cell.verdict, ""))
    header = [""]
    for scenario, column in texts.columns:
        header.append(f"{scenario}: ours" if column == "ours" else column)
    body = [[label, *texts.loc[label]] for label in texts.index]
    source = textwrap.fill(f"{table.source}.", WIDTH)
    lines = [f"# {table.title}", "", source, "", markdown_table(header, body), ""]
    lines.append(bullets(caption(table, cells, seeds, stale), WIDTH))
    if table.remarks:
        lines += ["", table.remarks.strip()]
    return "\n".join(lines) + "\n"


def page(table: Table, cells: pd.DataFrame, seeds: tuple[int, ...], text: str, stale: int = 0, below: str = "") -> Page:
    """Return what a terminal shows of a table. text: the page as `write` returns it."""
    texts = grid(table, cells, len(seeds), lambda cell: MARKS.get(cell.verdict, ""))
    words: dict[str, dict[str, str]] = {}
    for cell in cells.itertuples():
        words.setdefault(cell.row, {})[cell.scenario] = cell.verdict
    return Page(
        title=table.title,
        source=table.source,
        columns={scenario: list(texts[scenario].columns) for scenario in table.scenarios},
        rows={label: {s: list(texts.loc[label, s]) for s in table.scenarios} for label in texts.index},
        verdicts=words,
        notes=caption(table, cells, seeds, stale),
        below=[more for more in (table.remarks, below) if more],
        markdown=text,
    )


def latex(table: Table, cells: pd.DataFrame, seeds: tuple[int, ...]) -> str:
    """Return a booktabs table with the verdicts in words."""
    texts = grid(table, cells, len(seeds), lambda cell: cell.verdict)
    style = texts.style.format(escape="latex").format_index(escape="latex").format_index(escape="latex", axis=1)
    notes = [measure(table, cells, seeds), *verdicts(table, cells, marks=False)]
    return style.to_latex(
        hrules=True,
        column_format="l" + "r" * len(texts.columns),
        multicol_align="c",
        position_float="centering",
        caption=" ".join([f"{table.title}.", f"{table.source}.", *notes]).translate(LATEX),
        label=f"tab:{table.name}",
    )


def grid(table: Table, cells: pd.DataFrame, asked: int, mark: Callable) -> pd.DataFrame:
    """Return texts [row, (scenario, column)]. asked: seeds; mark: what stands for the verdict of a cell.

    Without published numbers there is only our column.
    """
    columns = ("ours", "paper", "verdict") if cells.paper_mean.notna().any() else ("ours",)
    usual = usual_n(cells)
    shown = pd.DataFrame(
        "–",
        index=[row.label for row in table.rows],
        columns=pd.MultiIndex.from_product([table.scenarios, columns]),
    )
    for cell in cells.itertuples():
        texts = {**sides(table, cell, asked, usual), "verdict": _verdict(cell, mark(cell))}
        for column in columns:
            shown.loc[cell.row, (cell.scenario, column)] = texts[column]
    return shown


def sides(table: Table, cell, asked: int, usual: int | None) -> dict[str, str]:
    """Return the texts of ours and of the paper's. asked: seeds of ours; usual: the paper's n that needs no bracket."""
    wanted = asked if table.looks == 1 else min(asked, _look(cell))
    return {"ours": _ours(cell, wanted, asked), "paper": _paper(cell, usual)}


def _look(cell) -> int:
    """Return the number of seeds of the first look that the cell's runs have not gone beyond."""
    return next((look for look in LOOKS if look >= cell.ours_n + cell.failed), LOOKS[-1])


def _ours(cell, wanted, usual) -> str:
    if not cell.runs:
        return "–"
    if cell.undefined:
        return "undefined"
    missing = wanted - cell.ours_n - cell.failed
    note = ""
    if missing > 0:
        note = f"{cell.ours_n} of {wanted} runs"
    elif cell.ours_n and cell.ours_n != usual:
        note = str(cell.ours_n)
    text = mean_and_std(cell.ours_mean, cell.ours_std) if cell.ours_n else ""
    if note:
        text += f" ({note})" if text else note
    if cell.failed:
        text += f"{', ' if text else ''}failed {cell.failed} of {wanted}"
    return text


def _paper(cell, usual) -> str:
    if math.isnan(cell.paper_mean):
        return "–"
    text = mean_and_std(cell.paper_mean, cell.paper_std, cell.paper_decimals)
    if pd.isna(cell.paper_n):
        return f"{text} (n?)"
    return text if cell.paper_n == usual else f"{text} ({cell.paper_n})"


def _verdict(cell, mark) -> str:
    if not cell.verdict:
        return "–"
    difference = "" if cell.verdict == "unconfirmed" else f"{cell.difference:+z.2f} "
    half = f" ±{(cell.high - cell.low) / 2:.2f}" if cell.verdict == "compatible" else ""
    return f"{difference}{mark}{half}{'†' if cell.dagger else ''}"


def mean_and_std(mean: float, std: float, decimals: int = 2) -> str:
    """Return a text such as "90.00±1.00". It is the mean alone where the spread is NaN."""
    return f"{mean:.{decimals}f}" if math.isnan(std) else f"{mean:.{decimals}f}±{std:.{decimals}f}"


def interval(low: float, high: float) -> str:
    """Return a text such as "[-0.59, +1.21]". It is a dash where there is no interval."""
    return "–" if math.isnan(low) else f"[{low:+z.2f}, {high:+z.2f}]"

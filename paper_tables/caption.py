"""The caption says what is to be known about a rendered table, in one line of Markdown each."""

import pandas as pd

from paper_tables import ledger
from paper_tables.declaration import Table
from paper_tables.verdict import LOOKS, MAX_MARGIN, RATE, STAND_IN

MARKS = {"reproduced": "✓", "differs": "✗", "inconclusive": "?", "compatible": "≈", "unconfirmed": "*"}
# What is said of a published cell without a verdict.
UNJUDGED, WAITING, ALONE = "no verdict", "not run yet", "not run here"
JUDGED = [word for word in MARKS if word != "unconfirmed"]
MEANINGS = {
    "reproduced": "the {level} % Welch interval of the difference lies within the margin",
    "differs": "the {level} % interval lies wholly outside the margin, or the single published run lies outside our "
    "{wide} % prediction interval",
    "inconclusive": "neither, with these seeds",
    "compatible": "the paper's own error fills the margin, or it gives one run or no number of runs; the {wide} % "
    "interval of the difference, ± its half-width, holds 0",
    "unconfirmed": "we saw the published number nowhere, and have it from memory: no verdict",
}
ORIGINS = {"none": "neither published nor searched"}  # of a strength, where the word is not plain enough


def caption(table: Table, cells: pd.DataFrame, seeds: tuple[int, ...], stale: int = 0) -> list[str]:
    """Return measure, seeds, verdicts, margin, error rate, origins of the strengths, and every reason and note."""
    return [
        measure(table, cells, seeds),
        *verdicts(table, cells),
        *_reasons(cells),
        *_origins(table, cells),
        *(_times(cells) if table.times else []),
        *(_added(cells) if "added" in cells else []),
        *(_mixed(cells) if "mixed" in cells else []),
        *(_spreads(cells) if table.same_orders else []),
        *([f"{stale} stale records of other source code or data were set aside."] if stale else []),
    ]


def measure(table: Table, cells: pd.DataFrame, seeds: tuple[int, ...]) -> str:
    """Say what the numbers are, and over which seeds."""
    others = [f"{rows}: {_words(metric)}" for metric, rows in _groups(cells, "metric") if metric != table.metric]
    text = _words(table.metric).capitalize() + (f" ({'; '.join(others)})" if others else "")
    in_order = len(seeds) > 1 and seeds == tuple(range(1, len(seeds) + 1))
    span = f"1 to {len(seeds)}" if in_order else ", ".join(map(str, seeds))
    text += f" in percent, mean ± sample standard deviation over {'seed' if len(seeds) == 1 else 'seeds'} {span}"
    if (usual := usual_n(cells)) is not None:
        theirs = "single run" if usual == 1 else f"{usual} runs"
        text += f" and the paper's {theirs}, where no other number stands in brackets"
        if cells.paper_n[cells.cell != ""].isna().any():
            text += " (n?: the paper does not say)"
        text += "; published spreads are converted to it"
    if table.looks > 1:
        looks = " and ".join([", ".join(map(str, LOOKS[: table.looks - 1])), str(LOOKS[table.looks - 1])])
        text += f". Looked at after {looks} seeds: a cell that was inconclusive got more, their number in brackets"
    if usual is not None and usual > len(seeds):
        text += f". SEEDS={usual} takes as many seeds as the paper"
    return text + "."


def verdicts(table: Table, cells: pd.DataFrame, marks: bool = True) -> list[str]:
    """Return the verdicts in use, the margin, and how many false verdicts are to be expected."""
    judged = cells[cells.verdict.isin(JUDGED)]
    margin = [_margin(table, judged)] if len(judged) else []
    said = meanings(cells, table.looks, marks, table.same_orders)
    return [*said, *margin, *comparisons(cells, table.looks), *secondhand(cells)]


def meanings(cells: pd.DataFrame, looks: int, marks: bool = True, same_orders: bool = False) -> list[str]:
    """Return what each verdict in use means. same_orders: the class order is a block (blocks.py)."""
    words = [word for word in MARKS if (cells.verdict == word).any()]
    if not words:
        return []
    texts = [f"{word}: {meaning(word, looks)}" for word in words]
    if marks:
        texts = [f"{MARKS[word]} {text}" for word, text in zip(words, texts, strict=True)]
    lines = [f"Verdict: ours minus paper, in points. {'; '.join(texts)}."]
    if same_orders:
        lines.append(
            "† Both sides have the same class orders, so what an order does to both cancels. The interval is that of "
            f"this design instead of Welch's, from the spread of our runs within an order. {STAND_IN:g} times that "
            "stands in for the paper's. The error rate holds if theirs is not larger. The verdict is of these orders."
        )
    elif cells.dagger.any():
        lines.append(
            f"† No spread of the paper's is known: {STAND_IN:g} times ours stands in for it. The error rate holds if "
            "its spread is not larger."
        )
    return lines


def meaning(word: str, looks: int) -> str:
    """Return what a verdict means in a table that is looked at this often."""
    level, wide = (f"{100 * (1 - sides * RATE / looks):.3g}" for sides in (2, 1))
    return MEANINGS[word].format(level=level, wide=wide)


def comparisons(cells: pd.DataFrame, looks: int) -> list[str]:
    """Say how often each verdict was given, and how many false ones are to be expected."""
    counts = [(int((cells.verdict == word).sum()), word) for word in JUDGED]
    n = sum(count for count, _ in counts)
    if not n:
        return []
    listed = ", ".join(f"{count} {word}" for count, word in counts if count)
    noun = "comparison" if n == 1 else "comparisons"
    share = "" if looks == 1 else f", shared by {looks} looks"
    return [
        f"{n} {noun}: {listed}. At an error rate of {100 * RATE:g} %{share}, at most {RATE * n:.2g} false "
        "verdicts are expected, if the number of seeds was chosen before looking."
    ]


def secondhand(cells: pd.DataFrame) -> list[str]:
    """Say which published numbers are second-hand."""
    if "secondhand" not in cells:
        return []
    chosen = cells[cells.secondhand]
    which = "all" if len(chosen) == (cells.cell != "").sum() else names(chosen, cells)
    return [f"Second-hand published numbers, from a text or a rerun that is not the authors': {which}."]


def usual_n(cells: pd.DataFrame) -> int | None:
    """Return the number of runs behind most published cells, or None if no cell gives one."""
    known = cells.paper_n.dropna()
    return int(known.mode().iloc[0]) if len(known) else None


def _margin(table, judged) -> str:
    single = ~(judged.paper_n > 1).fillna(False).astype(bool)
    if single.all():
        return "No margin: the paper gives single runs or no number of runs. The reading error of a figure is added."
    text = f"Margin: {table.margin:g} {'point' if table.margin == 1 else 'points'}, fixed before the runs"
    wide = judged[judged.margin > table.margin]
    if len(wide):
        cells = ", ".join(f"{cell.row} {cell.scenario} {cell.margin:.2f}" for cell in wide.itertuples())
        error = f"; twice the paper's standard error where that is more (at most {MAX_MARGIN:g}), plus"
        text += f"{', plus' if table.same_orders else error} the reading error of a figure: {cells}"
    return text + (". A single published run has no margin but the reading error." if single.any() else ".")


def _reasons(cells) -> list[str]:
    lines = []
    if cells.failed.any():
        lines.append("Failed runs are in no mean: means are over the finished runs.")
    lines += [f"Failed, {rows}: {_escaped(reason)}." for reason, rows in _groups(cells, "failure")]
    lines += [f"Undefined, {rows}: {reason}." for reason, rows in _groups(cells, "undefined")]
    lines += [f"Warning, {rows}: {_escaped(text)}." for text, rows in _groups(cells, "warning")]
    for word, name in (("inconclusive", "Inconclusive"), ("compatible", "Compatible"), ("", "No verdict")):
        chosen = cells[(cells.verdict == word) & (cells.cell != "")]
        lines += [f"{name}, {rows}: {note}." for note, rows in _groups(cells, "note", chosen.index)]
    return lines


def _origins(table, cells) -> list[str]:
    lines = [f"{row.label}: {row.note}." for row in table.rows if row.note]
    origins = "; ".join(f"{ORIGINS.get(origin, origin)} ({rows})" for origin, rows in _groups(cells, "origin"))
    if origins:
        lines.append(f"Where the methods' strengths come from: {origins}.")
    lines += _searched(table)
    alone = cells[~cells.runs]
    if len(alone):
        lines.append(f"Published numbers alone: {names(alone, cells)}.")
    bare = cells[cells.cell == ""]
    if len(bare):
        which = "" if len(bare) == len(cells) else f": {names(bare, cells)}"
        lines.append(f"No published value is cited here{which}.")
    return lines


def _times(cells) -> list[str]:
    """Return the seconds of a run of each row, measured while it ran."""
    timed = cells[cells.training_s.notna()]
    several = timed.row.duplicated().any()
    names = timed.row + " " + timed.scenario if several else timed.row
    pairs = zip(names, timed.training_s, timed.importance_s, strict=True)
    texts = [f"{name} {training:.0f} + {importance:.1f}" for name, training, importance in pairs]
    if not texts:
        return []
    return [f"Seconds of a run on one thread, training + importances, median: {'; '.join(texts)}."]


def _added(cells) -> list[str]:
    texts = [f"{rows} {text}" for text, rows in _groups(cells, "added")]
    return [f"Units added to each hidden layer, mean over runs: {'; '.join(texts)}."]


def _mixed(cells) -> list[str]:
    which = names(cells[cells.mixed], cells)
    return [f"Several versions of the code or of a package, or several kinds of device, made the runs of: {which}."]


def _spreads(cells) -> list[str]:
    """Say how far orders, and runs within an order, spread."""
    known = cells[cells.within_std.notna()]
    texts = [
        f"{cell.row} {cell.scenario} {cell.orders_std:.2f} and {cell.within_std:.2f}" for cell in known.itertuples()
    ]
    return [f"Standard deviation of class orders, and of runs within an order: {'; '.join(texts)}."] if texts else []


def _searched(table) -> list[str]:
    """Say what was found of every option that was searched, and how."""
    searches = []
    for row in table.rows:
        for option, values in row.search.items():
            best = ", ".join(f"{row.best(option, scenario):g} ({scenario})" for scenario in row.scenarios)
            searches.append(
                f"{option} of {row.label} = {best}, of {len(values)} values from {min(values):g} to {max(values):g}"
            )
    if not searches:
        return []
    return [
        f"Searched on {ledger.HELD_OUT} of the training data, held out, seeds {ledger.SEEDS[0]} to {ledger.SEEDS[-1]}, "
        f"where a value {ledger.GAP:g} points behind on the first is not tried on the others: {'; '.join(searches)}; "
        f"every trial: paper_tables/searches/{table.name}.csv."
    ]


def _groups(cells, column, among=None) -> list[tuple[str, str]]:
    """Return (text, its rows) for every text of a column that is not empty. `among` takes some cells only."""
    chosen = cells if among is None else cells.loc[among]
    texts = [text for text in dict.fromkeys(chosen[column]) if text]
    return [(text, names(chosen[chosen[column] == text], cells)) for text in texts]


def names(chosen: pd.DataFrame, cells: pd.DataFrame) -> str:
    """Return "EWC" if all scenarios of a row are meant, else "EWC task, domain". Semicolons then part the rows."""
    found = []
    for row, group in chosen.groupby("row", sort=False):
        some = len(group) < (cells.row == row).sum()
        found.append(f"{row} {', '.join(group.scenario)}" if some else row)
    return ("; " if any("," in name for name in found) else ", ").join(found)


def _escaped(text: str) -> str:
    """Return the text of an error as Markdown shows it, whatever names in angle brackets it has."""
    return text.replace("<", "\\<")


def _words(name) -> str:
    return name.replace("_", " ")

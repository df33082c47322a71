"""These checks are of the keys and values of a table file. Each error names the file, the row and the key."""

import re
from collections.abc import Iterable
from typing import Any

from benchmarks import metrics
from methods.base.errors import UserError, unknown
from methods.base.examples import SCENARIOS
from methods.base.options import fitted, wanted

MOST = 3.4e38  # the largest float32
Kinds = dict[str, Any]  # the type of each key's value, as methods/base/options.py has them


def keys(entry: dict, needed: Kinds, optional: Kinds, where: str) -> None:
    """Check that every needed key is there, that none is unknown, and that each has a value of its kind."""
    known = needed | optional
    for key, value in entry.items():
        if key not in known:
            raise unknown(f"key in {where}:", key, known)
        if not fitted(key, known[key])(value)[0]:
            raise UserError(f"{where}: {key} must be {wanted(known[key])}, got {repr(value)[:80]}")
        if isinstance(value, str):
            text(key, value, where)
    for key in needed:
        if key not in entry:
            raise UserError(f"{where}: {key} is missing")


def text(key: str, value: str, where: str) -> None:
    """Check for one line that is a text and nothing else in Markdown, LaTeX and a spreadsheet."""
    if not value.strip():
        raise UserError(f"{where}: {key} is empty")
    if not value.isprintable():
        raise UserError(f"{where}: {key} must be one line without control characters, got {value!r}")
    if html := re.search(r"<[A-Za-z/!?]|&#?\w+;", value):
        raise UserError(f"{where}: {key} would be read as HTML at {html[0]!r}; write it in other words")
    if key == "label" and value.lstrip()[0] in "=+-@":
        raise UserError(f"{where}: a spreadsheet takes the label {value!r} for a formula; begin it with a letter")
    if key == "label" and value != value.strip():
        raise UserError(f"{where}: the label {value!r} has blanks at an end; leave them out")


def plain(options: dict, where: str) -> None:
    """Check that options are texts, numbers that float32 holds, true or false, or lists and tables of these."""
    for key, value in options.items():
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if not all(_is_plain(each) for each in values):
            raise UserError(
                f"{where}: {key} must be a text, a number up to {MOST:.2g} or a list of these, got {str(value)[:80]}"
            )


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return abs(value) <= MOST if isinstance(value, int | float) else isinstance(value, str)


def named(entry: dict, where: str) -> None:
    """Check that a method or a stream has a name, and that a preset is a name too."""
    if not isinstance(entry.get("name"), str):
        raise UserError(f'{where} needs a name, as in {{ name = "..." }}, got {entry!r}')
    if isinstance(entry.get("preset"), list):
        raise UserError(f'{where}: preset must be a name, as in preset = "hsu", got {entry["preset"]!r}')


def metric(name: str, where: str) -> None:
    """Check that there is a measure of that name."""
    try:
        metrics.find(name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def scenarios(chosen: Iterable, known: Iterable[str], where: str, empty: bool = False) -> tuple[str, ...]:
    """Return the chosen scenarios, each known and named once. There must be one unless `empty`."""
    chosen = tuple(chosen)
    for scenario in chosen:
        if scenario not in known:
            raise unknown(f"scenario in {where}", scenario, known)
        if chosen.count(scenario) > 1:
            raise UserError(f"{where}: the scenario {scenario!r} is repeated")
    if not (chosen or empty):
        raise UserError(f"{where}: scenarios is empty; name one of {' or '.join(known)}")
    return chosen


def by_scenario(options: dict, wanted: Iterable[str], where: str) -> None:
    """Check that an option whose value is a dict has a value for each wanted scenario and for nothing else."""
    for key, value in options.items():
        if isinstance(value, dict):
            for name in value:
                if name not in SCENARIOS:
                    raise unknown(f"scenario in {where}: {key}", name, SCENARIOS)
            for name in wanted:
                if name not in value:
                    raise UserError(f"{where}: {key} lacks the scenario {name!r}")


def orders(rows: list, where: str, looks: int) -> None:
    """Check that the stream has the orders of the paper, and that each published cell has one run on each."""
    if looks > 1:
        raise UserError(f"{where}: same_orders is judged once all orders have runs: leave out looks = {looks}")
    seeds = rows[0].stream.get("order_seeds")
    if not isinstance(seeds, list) or [type(seed) for seed in seeds] != [int, int]:
        raise UserError(
            f"{where}: same_orders needs order = 'numpy' or 'shuffled', and order_seeds = [first, last] in stream"
        )
    n = seeds[1] - seeds[0] + 1
    for cell in (cell for row in rows for cell in row.paper.values()):
        if cell.n != n:
            raise UserError(f"{where}: same_orders: {cell.cell} has {cell.n} runs, order_seeds {seeds} are {n} orders")

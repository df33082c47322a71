"""A table is declared in a file paper_tables/<name>.toml. This module checks the file key by key."""

import tomllib
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from benchmarks.files import read_text
from benchmarks.metrics import AGAINST_A_REFERENCE, BATCHES, BEFORE_LEARNT, OF_THE_CURVE
from benchmarks.run import Run
from methods.base.errors import UserError, unknown
from methods.base.examples import SCENARIOS
from methods.base.options import Bound
from paper_tables import checks, ledger, published
from paper_tables.published import Published
from paper_tables.verdict import LOOKS, MAX_MARGIN, MAX_SEEDS

FOLDER = Path(__file__).parent
ORIGINS = ("paper", "official code", "searched", "none")

Seeds = Annotated[int, Bound(f"a whole number from 1 to {MAX_SEEDS}", lambda n: 1 <= n <= MAX_SEEDS)]
Margin = Annotated[float, Bound(f"a number above 0 and at most {MAX_MARGIN} points", lambda m: 0 < m <= MAX_MARGIN)]
Looks = Annotated[int, Bound(f"a whole number from 1 to {len(LOOKS)}", lambda n: 1 <= n <= len(LOOKS))]
Options = dict[str, Any]

TABLE_KEYS = {
    "title": str,
    "source": str,
    "metric": str,
    "margin": Margin,
    "scenarios": list[Any],
    "seeds": Seeds,
    "stream": Options,
    "train": Options,
    "row": list[Options],
}
TABLE_OPTIONS = {"looks": Looks, "times": bool, "same_orders": bool, "search": Options}
ROW_KEYS = {"label": str}
OF_THE_RUNS = {"method": Options, "train": Options, "strength": str, "scenarios": list[Any], "search": Options}
OF_A_MEASURE = {"reference": str, "paper": str | Options, "no_verdict": str, "note": str}
ROW_OPTIONS = {"metric": str, "also": list[Options]} | OF_THE_RUNS | OF_A_MEASURE
ALSO_KEYS = {"label": str, "metric": str}  # of a further measure of a row's runs


@dataclass(frozen=True)
class Row:
    """A row says what is run, how it is measured, and the published cell of each scenario."""

    label: str
    method: dict | None  # None: published numbers alone
    stream: dict
    train: dict
    metric: str
    reference: str | None  # the label of the row of joint training, for an intransigence
    origin: str | None  # where the method's options come from: the key `strength`
    scenarios: tuple[str, ...]
    paper: dict[str, Published]
    no_verdict: str | None  # why the published cells get no verdict
    note: str | None
    search: dict[str, tuple]  # the values tried for each option that is "searched"
    best: Callable[[str, str], float]  # (option, scenario) -> the best of them

    def run(self, scenario: str, seed: int) -> Run:
        """Return one run, with the options of the scenario."""
        if seed in ledger.SEEDS and self.search:
            raise UserError(f"seed {seed} was searched with ({self.label}): report other seeds")
        best = {option: self.best(option, scenario) for option in self.search}
        method, train = _of_scenario({**self.method, **best}, scenario), _of_scenario(self.train, scenario)
        return Run.of(self.stream, scenario, method, train, seed)

    def trial(self, scenario: str, seed: int, options: dict) -> Run:
        """Return one trial of a search, evaluated on held-out training data."""
        stream = {**self.stream, "evaluate": "held-out"}
        return replace(self, search={}, method={**self.method, **options}, stream=stream).run(scenario, seed)


@dataclass(frozen=True)
class Table:
    """Hold a checked table file. `margin` is in points. `seeds` is the default number of seeds."""

    name: str
    title: str
    source: str
    metric: str
    margin: float
    looks: int
    scenarios: tuple[str, ...]
    seeds: int
    times: bool  # whether the caption gives the seconds of a run of each row
    same_orders: bool  # whether the paper has one run on each class order of the stream: blocks.py judges
    rows: tuple[Row, ...]
    remarks: str

    def select(self, names: str | None) -> "Table":
        """Return the table with the rows of these labels or method names ("ewc,SI"). None takes all rows.

        A label as it is written takes its row and the other measures of the same runs. Without regard to case, a name
        takes all that is called so: "DGR" one row, "dgr" all of the method. What they are measured against stays too.
        """
        if names is None:
            return self
        taken: dict[str, set[str]] = {}
        named = [(row.label, row) for row in self.rows] + [(row.method["name"], row) for row in self.rows if row.method]
        for name, row in named:
            taken.setdefault(_key(name), set()).add(row.label)
        for row in self.rows:
            runs = row.method and (row.method, row.train)
            taken[row.label] = {row.label} | {other.label for other in self.rows if (other.method, other.train) == runs}
        chosen = set()
        for name in _split(names, taken):
            if not (labels := taken.get(name) or taken.get(_key(name))):
                raise unknown(f"row of table {self.name}", name, {name for name, _ in named})
            chosen |= labels
        kept = chosen | {row.reference for row in self.rows if row.label in chosen}
        return replace(self, rows=tuple(row for row in self.rows if row.label in kept))


def _key(label: str) -> str:
    """Return a label as it is compared, without regard to case and to blanks at commas."""
    return ",".join(part.strip() for part in label.lower().split(","))


def _split(names: str, known: Container[str]) -> list[str]:
    """Return the names between commas. A known one that has commas itself is taken whole."""
    parts, wanted = names.split(","), []
    while parts:
        starts = [",".join(parts[:n]).strip() for n in range(len(parts), 0, -1)]
        name = next((start for start in starts if start in known or _key(start) in known), starts[-1])
        wanted.append(name)
        del parts[: name.count(",") + 1]
    return wanted


def names(folder: Path = FOLDER) -> list[str]:
    """Return the names of the tables that a folder declares."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load(name: str, folder: Path = FOLDER) -> Table:
    """Return the table paper_tables/<name>.toml. UserError names the file, the row and the nearest known key."""
    if name not in names(folder):
        raise unknown("table", name, names(folder))
    path = folder / f"{name}.toml"
    where = f"{folder.name}/{path.name}"
    text = read_text(path).removeprefix("\ufeff")  # Some editors begin a file in UTF-8 with it.
    try:
        declared = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError
        raise UserError(f"{where} is not TOML: {error}") from None
    checks.keys(declared, TABLE_KEYS, TABLE_OPTIONS, where)
    checks.metric(declared["metric"], where)
    scenarios = checks.scenarios(declared["scenarios"], SCENARIOS, where)
    checks.named(declared["stream"], f"{where}: stream")
    checks.plain(declared["stream"], f"{where}: stream")
    cells, trials = published.load(folder / "published"), ledger.read(name, folder / "searches")
    rows = []
    for entry, place in _entries(declared, where):
        rows.append(_row(entry, declared, scenarios, cells, trials, name, place))
        if [row.label.lower() for row in rows].count(rows[-1].label.lower()) > 1:
            raise UserError(f"{where}: the row label {entry['label']!r} is repeated; name each row once")
    if not rows:
        raise UserError(f"{where} declares no row; add a [[row]]")
    _check_references(rows, where)
    if declared.get("same_orders"):
        checks.orders(rows, where, declared.get("looks", 1))
    remarks = path.with_suffix(".md")
    return Table(
        name=name,
        title=declared["title"],
        source=declared["source"],
        metric=declared["metric"],
        margin=float(declared["margin"]),
        looks=declared.get("looks", 1),
        scenarios=scenarios,
        seeds=declared["seeds"],
        times=declared.get("times", False),
        same_orders=declared.get("same_orders", False),
        rows=tuple(rows),
        remarks=read_text(remarks) if remarks.exists() else "",
    )


def _entries(declared: dict, where: str) -> Iterator[tuple[dict, str]]:
    """Give each row, checked, and what errors call it. Each entry of its `also` follows as a row of the same runs.

    A row that searches, and does not say which values, tries those of the table.
    """
    for number, row in enumerate(declared["row"], start=1):
        place = f"{where}, row {_shown(row, number)}"
        checks.keys(row, ROW_KEYS, ROW_OPTIONS, place)
        if row.get("strength") == "searched" and "search" in declared:
            row = {"search": declared["search"]} | row
        yield row, place
        if "also" in row and "search" in row:
            raise UserError(f"{place}: a search is scored by one measure: leave out also, or write the strength found")
        runs = {key: row[key] for key in (*OF_THE_RUNS, "no_verdict") if key in row}
        for count, also in enumerate(row.get("also", []), start=1):
            at = f"{place}, also {_shown(also, count)}"
            if fixed := [key for key in also if key in OF_THE_RUNS]:
                raise UserError(f"{at}: {fixed[0]} is the row's own; other runs need a [[row]] of their own")
            checks.keys(also, ALSO_KEYS, OF_A_MEASURE, at)
            yield runs | also, f"{where}, row {also['label']}"


def _shown(entry: dict, number: int) -> str | int:
    label = entry.get("label")
    return label if isinstance(label, str) and label.isprintable() and label else number


def _row(entry, declared, scenarios, cells, trials, name, where) -> Row:
    method, origin, metric = entry.get("method"), entry.get("strength"), entry.get("metric", declared["metric"])
    checks.metric(metric, where)
    scenarios = checks.scenarios(entry.get("scenarios", list(scenarios)), scenarios, where)
    train = {**declared["train"], **entry.get("train", {})}
    if method is None:
        for key in ("train", "strength", "reference"):
            if key in entry:
                raise UserError(f"{where}: {key} needs a method")
        if "paper" not in entry:
            raise UserError(f"{where}: has neither method nor paper; give it one of them")
    else:
        checks.named(method, f"{where}: method")
        if origin is None and set(method) - {"name", "preset"}:
            raise UserError(
                f"{where}: strength is missing; say where the method's options come from: {' or '.join(ORIGINS)}"
            )
        for options, kind in ((method, "method"), (train, "train")):
            checks.by_scenario(options, scenarios, f"{where}: {kind}")
            checks.plain(options, f"{where}: {kind}")
    if origin is not None and origin not in ORIGINS:
        raise unknown(f"strength in {where}", origin, ORIGINS)
    search = ledger.declared(entry, where)
    if method is not None and metric in OF_THE_CURVE:
        train = {"curve": BATCHES, **train}  # so these are runs of their own where the others of the row note no curve
        for curve in (_of_scenario(train, scenario)["curve"] for scenario in scenarios):
            if isinstance(curve, int) and curve < BATCHES:  # Train refuses what is no number
                raise UserError(f"{where}: {metric} needs curve = {BATCHES} in train, not {curve}")
    learnt_alone = any(_of_scenario(train, scenario).get("measured") == "learnt" for scenario in scenarios)
    if method is not None and metric in BEFORE_LEARNT and learnt_alone:
        raise UserError(f"{where}: {metric} counts tasks not yet learnt: leave measured = 'learnt' out of train")
    if method is not None and (metric in AGAINST_A_REFERENCE) != ("reference" in entry):
        raise UserError(f"{where}: {metric} {'takes no' if 'reference' in entry else 'needs a'} reference")
    return Row(
        label=entry["label"],
        method=method,
        stream=declared["stream"],
        train=train,
        metric=metric,
        reference=entry.get("reference"),
        origin=origin,
        scenarios=scenarios,
        paper=_paper(entry.get("paper", {}), scenarios, metric, cells, where),
        no_verdict=entry.get("no_verdict"),
        note=entry.get("note"),
        search=search,
        best=lambda option, scenario: ledger.best(trials, name, entry["label"], scenario, option, search[option]),
    )


def _paper(cited, scenarios, metric, cells, where) -> dict[str, Published]:
    if isinstance(cited, str):
        cited = {scenario: cited.replace("{scenario}", scenario) for scenario in scenarios}
    checks.scenarios(cited, scenarios, f"{where}: paper", empty=True)
    paper = {}
    for scenario, name in cited.items():
        if not isinstance(name, str):
            raise UserError(f"{where}: paper must name a published cell, got {name!r}")
        try:
            cell = paper[scenario] = published.find(cells, name)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if (cell.scenario, cell.metric) != (scenario, published.metric_of(metric)):
            raise UserError(
                f"{where}: the published cell {name!r} is {cell.metric} of scenario {cell.scenario}, "
                f"the row is {metric} of scenario {scenario}"
            )
        if cell.mean is None:
            raise UserError(f"{where}: the published cell {name!r} holds no number; leave it out of paper")
    return paper


def _check_references(rows: list[Row], where: str) -> None:
    """Check that an intransigence is against joint training of the same network in the same scenarios."""
    joint = {row.label: row for row in rows if row.method and row.method["name"] == "joint"}
    for row in (row for row in rows if row.reference is not None):
        at = f"{where}, row {row.label}"
        if row.reference not in joint:
            raise unknown(f"row of joint training in {at}: reference", row.reference, joint)
        other = joint[row.reference]
        if (net := row.train.get("net")) != other.train.get("net"):
            raise UserError(f"{at}: net is {net!r}, but {other.train.get('net')!r} in its reference {other.label!r}")
        if missing := set(row.scenarios) - set(other.scenarios):
            raise UserError(f"{at}: its reference {other.label!r} is not run {min(missing)}-incremental")


def _of_scenario(options: dict, scenario: str) -> dict:
    return {key: value[scenario] if isinstance(value, dict) else value for key, value in options.items()}

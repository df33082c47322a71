"""A table's runs and what lies in a results folder for them: the step between its declaration and its rendering."""

from pathlib import Path

from benchmarks import record
from benchmarks.errors import UserError
from benchmarks.files import write_atomically
from benchmarks.record import Record
from benchmarks.run import resolve
from paper_tables.table import Table

README = record.ROOT / "README.md"
END = "<!-- end of table -->"

Runs = dict[tuple[str, str, int], dict]  # (row label, scenario, seed) -> resolved run


def runs_of(table: Table, seeds: tuple[int, ...]) -> Runs:
    """Every run that the table declares; an impossible one raises UserError naming the row."""
    runs = {}
    for row in table.rows:
        for scenario in row.scenarios if row.method else ():
            for seed in seeds:
                try:
                    runs[row.label, scenario, seed] = resolve(row.run(scenario, seed))
                except UserError as error:
                    raise UserError(f"{table.name}.toml, row {row.label!r}: {error}") from error
    return runs


def results_of(runs: Runs, records: list[Record | None]) -> dict[tuple[str, str], list[Record]]:
    """The records there are, by row and scenario, as the renderer takes them."""
    results: dict[tuple[str, str], list[Record]] = {}
    for (label, scenario, _), found in zip(runs, records, strict=True):
        if found is not None:
            results.setdefault((label, scenario), []).append(found)
    return results


def referenced_seeds(table: Table) -> tuple[int, ...]:
    """The seeds of which the committed reference holds a record of this table."""
    seeds = set()
    for run in runs_of(table, (1,)).values():
        first = record.path(record.REFERENCE, run)
        prefix = first.stem.removesuffix("1")
        seeds |= {int(file.stem.removeprefix(prefix)) for file in first.parent.glob(f"{prefix}*.json")}
    return tuple(sorted(seeds))


def references(runs: Runs) -> list[Record | None]:
    """The committed reference record of each run, whatever its digest: it tells what an earlier version computed."""
    found = [record.load(record.path(record.REFERENCE, run)) for run in runs.values()]
    return [f if f and record.is_of(f, run) else None for f, run in zip(found, runs.values(), strict=True)]


def render_references(folder: Path) -> list[str]:
    """Render every table of which there are reference records into `folder`; the names of those tables."""
    from paper_tables import render, table

    done = []
    for name in table.names():
        declared = table.load(name)
        seeds = referenced_seeds(declared)
        if seeds:
            runs = runs_of(declared, seeds)
            text = render.write(declared, results_of(runs, references(runs)), seeds, folder)
            put_into(README, name, text)
            done.append(name)
    return done


def put_into(readme: Path, name: str, text: str) -> None:
    """Write a rendered table, without its title, between its marks in `readme`, if it has any."""
    before, mark, rest = readme.read_text().partition(f"<!-- table {name}: written by `make tables` -->\n")
    if mark:
        body = text.partition("\n")[2].strip()
        after = rest[rest.index(END) :]
        write_atomically(readme, f"{before}{mark}\n{body}\n\n{after}")

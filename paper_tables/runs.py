"""A table's runs and what lies in a results folder for them: the step between its declaration and its rendering."""

from pathlib import Path

from benchmarks import record
from benchmarks.files import write_atomically
from benchmarks.record import Record
from benchmarks.run import Run
from methods.base.errors import UserError
from paper_tables.declaration import Table
from paper_tables.ledger import NotSearched

README = record.ROOT / "README.md"
END = "<!-- end of table -->"

Runs = dict[tuple[str, str, int], Run]  # by row label, scenario and seed


def runs_of(table: Table, seeds: tuple[int, ...]) -> Runs:
    """Every run that the table declares; an impossible one raises UserError naming the row."""
    runs = {}
    for row in table.rows:
        for scenario in row.scenarios if row.method else ():
            for seed in seeds:
                try:
                    runs[row.label, scenario, seed] = row.run(scenario, seed)
                except NotSearched:
                    raise
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


def next_look(table: Table, runs: Runs, records: list[Record | None], n: int) -> Runs:
    """The runs of seeds up to `n` not in `runs`, of the cells that more can settle and the rows those are against."""
    from paper_tables import render

    cells = render.frame(table, results_of(runs, records))
    open_ = {(cell.row, cell.scenario) for cell in cells.itertuples() if cell.open}
    references = {(row.label, scenario): (row.reference, scenario) for row in table.rows for scenario in row.scenarios}
    open_ |= {references[cell] for cell in open_}
    later = runs_of(table, tuple(range(1, n + 1)))
    return {key: run for key, run in later.items() if key[:2] in open_ and key not in runs}


def referenced_seeds(table: Table) -> tuple[int, ...]:
    """The seeds of which the committed reference holds a record of this table; none before its search is done."""
    seeds = set()
    try:
        runs = runs_of(table, (1,))
    except NotSearched:
        return ()
    for run in runs.values():
        first = record.REFERENCE / run.place
        prefix = first.stem.removesuffix("1")
        seeds |= {int(file.stem.removeprefix(prefix)) for file in first.parent.glob(f"{prefix}*.json")}
    return tuple(sorted(seeds))


def references(runs: Runs) -> list[Record | None]:
    """The committed reference record of each run, whatever its digest: it tells what an earlier version computed."""
    found = [record.load(record.REFERENCE / run.place) for run in runs.values()]
    return [f if f and f.run == run else None for f, run in zip(found, runs.values(), strict=True)]


def render_references(folder: Path) -> list[str]:
    """Render every table of which there are reference records, and the scoreboard, into `folder`; their names."""
    from paper_tables import declaration, render, scoreboard

    done, board = [], []
    for declared in map(declaration.load, declaration.names()):
        seeds = referenced_seeds(declared)
        cells, hours = None, 0.0
        if seeds:
            runs = runs_of(declared, seeds)
            found = references(runs)
            results = results_of(runs, found)
            once = {each.run: each for each in found if each}  # rows share runs
            hours = sum(sum(each.seconds.values()) for each in once.values()) / 3600
            put_into(README, declared.name, render.write(declared, results, seeds, folder))
            cells = render.frame(declared, results)
            done.append(declared.name)
        board.append((declared, cells, hours))
    text = scoreboard.markdown(board)
    write_atomically(folder / "scoreboard.md", text)
    put_into(README, "scoreboard", text)
    return [*done, "scoreboard"]


def put_into(readme: Path, name: str, text: str) -> None:
    """Write a rendered table, without its title, between its marks in `readme`, if it has any."""
    before, mark, rest = readme.read_text().partition(f"<!-- table {name}: written by `make tables` -->\n")
    if mark:
        body = text.partition("\n")[2].strip()
        after = rest[rest.index(END) :]
        write_atomically(readme, f"{before}{mark}\n{body}\n\n{after}")

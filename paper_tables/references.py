"""`tables` renders the committed reference records, whatever their digest, without training."""

from pathlib import Path

from benchmarks import record
from benchmarks.files import read_text, shown, write_atomically
from benchmarks.record import Damaged, Outdated, Record
from paper_tables import declaration, render, scoreboard
from paper_tables.declaration import Table
from paper_tables.ledger import NotSearched
from paper_tables.runs import Runs, results_of, runs_of

README = record.ROOT / "README.md"
END = "<!-- end of table -->"
FOOT = """\
These are committed records. Each names the commit, the versions, the data and the machine that made it. Its code may be
older than today's; `make table-{}` trains with today's code.
"""


def recorded_seeds(table: Table, folder: Path = record.REFERENCE) -> tuple[int, ...]:
    """Return the seeds that have a record of this table in `folder`, or none before its search is done."""
    try:
        runs = runs_of(table, (1,))
    except NotSearched:
        return ()
    seeds = set()
    for run in runs.values():
        first = folder / run.place
        prefix = first.stem.removesuffix("1")
        endings = (file.stem.removeprefix(prefix) for file in first.parent.glob(f"{prefix}*.json"))
        seeds |= {int(ending) for ending in endings if ending.isdecimal()}
    return tuple(sorted(seeds))


def references(runs: Runs) -> list[Record | None]:
    """Return each run's committed reference record, whatever its digest: it tells what an earlier version got."""
    records = [record.load(record.REFERENCE / run.place) for run in runs.values()]
    return [kept if kept and kept.run == run else None for kept, run in zip(records, runs.values(), strict=True)]


def usable(runs: Runs, folder: Path) -> tuple[list[Record | None], int, list[str]]:
    """Return the usable record of each run, the number of stale ones, and what is wrong with others. Move nothing.

    Committed records are taken whatever their digest. Elsewhere a record of other source code is stale.
    """
    found: dict[Path, Record | None] = {}
    stale, faults, committed = 0, [], folder.resolve() == record.REFERENCE
    for run in runs.values():
        if run.place in found:
            continue
        try:
            kept = record.load(shown(folder / run.place))
        except (Damaged, Outdated) as error:
            kept = None
            faults.append(str(error))
        if kept is not None and kept.run != run:
            faults.append(f"{shown(folder / run.place)} is the record of another run ({kept.run})")
            kept = None
        if kept is not None and not committed and kept.digest != run.digest:
            kept, stale = None, stale + 1
        found[run.place] = kept
    return [found[run.place] for run in runs.values()], stale, faults


def core_hours(records: list[Record | None]) -> float:
    """Return the hours of one core in the records. Rows share runs, and a run counts once."""
    by_run = {record.run: record for record in records if record}
    return sum(sum(record.seconds.values()) for record in by_run.values()) / 3600


def render_references(folder: Path) -> list[str]:
    """Render every table that has reference records, and the scoreboard, into `folder`. Return their names."""
    done, board = [], []
    for table in map(declaration.load, declaration.names()):
        seeds = recorded_seeds(table)
        cells, hours = None, 0.0
        if seeds:
            runs = runs_of(table, seeds)
            records = references(runs)
            hours = core_hours(records)
            cells = render.frame(table, results_of(runs, records))
            put_into(README, table.name, render.write(table, cells, seeds, folder, below=FOOT.format(table.name)))
            done.append(table.name)
        board.append((table, cells, hours))
    text = scoreboard.markdown(board)
    write_atomically(folder / "scoreboard.md", text)
    put_into(README, "scoreboard", text)
    return [*done, "scoreboard"]


def put_into(readme: Path, name: str, text: str) -> None:
    """Write a rendered table, without its title, between its marks in `readme`, if `readme` has them."""
    before, mark, rest = read_text(readme).partition(f"<!-- table {name}: written by `make tables` -->\n")
    if mark:
        body = text.partition("\n")[2].strip()
        after = rest[rest.index(END) :]
        write_atomically(readme, f"{before}{mark}\n{body}\n\n{after}")

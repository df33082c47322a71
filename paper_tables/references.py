"""What a folder holds of a table. `tables` renders the committed records, whatever their digest, without training."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import files
from benchmarks.files import ROOT, read_text, shown, write_atomically
from benchmarks.record import Damaged, Record
from benchmarks.run import Run
from benchmarks.standard_sets import DEFAULT_ROOT
from benchmarks.sweep import fingerprint, usable
from methods.base.errors import UserError
from paper_tables import declaration, ledger, render, scoreboard
from paper_tables.declaration import Table
from paper_tables.ledger import NotSearched
from paper_tables.runs import Results, results_of, runs_of

README = ROOT / "README.md"
END = "<!-- end of table -->"
FOOT = """\
These are committed records. Each names the commit, the versions, the data and the machine that made it. Its code may be
older than today's; `make table-{}` trains with today's code.
"""


@dataclass(frozen=True)
class Recorded:
    """Hold what a folder has of a table: the seeds and the usable records of its runs."""

    seeds: tuple[int, ...]
    results: Results
    stale: int
    faults: list[str]  # records that cannot be used, each with its reason

    @property
    def hours(self) -> float:
        """Return the hours of one core in the records. Rows share runs, and a run counts once."""
        by_run = {record.run: record for records in self.results.values() for record in records}
        return sum(sum(record.seconds.values()) for record in by_run.values()) / 3600


def recorded_seeds(table: Table, folder: Path) -> tuple[int, ...]:
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
    searched = ledger.SEEDS if any(row.search for row in table.rows) else ()  # Its own row takes other seeds.
    return tuple(sorted(seeds - set(searched)))


def recorded(table: Table, folder: Path, root: Path = DEFAULT_ROOT) -> Recorded:
    """Return what `folder` holds of a table. Move nothing.

    Committed records are taken whatever their digest. Elsewhere a record is stale by the rule of a sweep. `root` holds
    the data; where the data of a run are not there, their identity is unknown, and the record is not asked for it.
    """
    seeds = recorded_seeds(table, folder)
    runs = runs_of(table, seeds)
    found: dict[Run, Record | None] = dict.fromkeys(runs.values())  # rows share runs
    stale, faults, committed = 0, [], folder.resolve() == files.REFERENCE.resolve()
    for run in found:
        made_by = (None, None) if committed else (run.digest, _pixels(run, root))
        try:
            found[run], is_stale = usable(shown(folder), run, *made_by)
            stale += is_stale
        except Damaged as error:
            faults.append(str(error))
    return Recorded(seeds, results_of(runs, [found[run] for run in runs.values()]), stale, faults)


def _pixels(run: Run, root: Path) -> str | None:
    """Return the identity of the data that a run reads, or None where they cannot be read."""
    with suppress(UserError):
        return fingerprint(run, root)


def references(table: Table) -> Recorded:
    """Return the committed records of a table, whatever their digest: they tell what an earlier version got."""
    found = recorded(table, files.REFERENCE)
    if found.faults or found.stale:  # a stale one is of another version
        which = "; ".join(found.faults) or found.stale
        raise UserError(f"committed records of {table.name} cannot be read: {which}")
    return found


def render_references(folder: Path) -> list[str]:
    """Render every table that has reference records, and the scoreboard, into `folder`. Return their names.

    A table without records that cites nothing, as one of a user's own, is not on the scoreboard.
    """
    done, board = [], []
    for table in map(declaration.load, declaration.names()):
        found, cells = references(table), None
        if found.seeds:
            cells = render.frame(table, found.results)
            text = render.write(table, cells, found.seeds, folder, below=FOOT.format(table.name))
            put_into(README, table.name, text)
            done.append(table.name)
        if cells is not None or any(row.paper for row in table.rows):
            board.append((table, cells, found.hours))
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

"""`table` does the runs that a table lacks. It looks again if more seeds can settle a cell, and writes the page."""

import sys
import threading
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import pandas as pd

from benchmarks import data, streams
from benchmarks.files import shown
from benchmarks.record import Record
from benchmarks.sweep import Refused, State, survey, sweep
from methods.base.errors import UserError
from paper_tables import finished, render, terminal
from paper_tables.beside import Beside
from paper_tables.declaration import Table
from paper_tables.runs import Runs, of_rows, results_of, runs_of
from paper_tables.seeds import parse_seeds
from paper_tables.verdict import LOOKS

AUTO = "auto"  # as many seeds as settle the cells, in three looks
NAMED = 3  # stale files that a message names


@dataclass(frozen=True)
class Completed:
    """Hold a table as it was shown, and the records of its failed runs.

    whole: whether each run has a record. data: the states of the files of its data when the command began.
    """

    page: terminal.Page
    failed: list[Record]
    whole: bool
    data: list[list]


def complete(
    table: Table,
    seeds: str | None,
    folder: Path,
    root: Path,
    jobs: int | str,
    device: str,
    beside: Beside | None = None,
    curves: Path | None = None,
) -> Completed:
    """Do what is missing of these seeds, print the table, and write it to folder/tables.

    With `beside`, reference rows follow those of the table, and then the differences between them.
    With `curves`, each run that is done writes its curves into a folder of its own in there.
    Ctrl-C prints the table so far and raises KeyboardInterrupt.
    """
    later: tuple[int, ...] = ()
    runs = runs_of(table, first_seeds(table, seeds))
    if seeds == AUTO:
        table, later = replace(table, looks=len(LOOKS)), LOOKS[1:]
    sets = {streams.recipe(run.stream).data_set for run in runs.values()}
    read = finished.states(file for name in sets for file in data.files(name, root))
    before = survey(list(runs.values()), folder, root)
    _say_what_is_done_again(before)
    if None in before.records:  # Then the picture is drawn, too. Its libraries are imported while the runs train.
        threading.Thread(target=import_module, args=("paper_tables.plot",), daemon=True).start()

    def do() -> None:
        try:
            sweep(list(runs.values()), folder, root, jobs, device, curves)
        except Refused as refusal:
            labels = [label for (label, _, _), run in runs.items() if run == refusal.run]
            raise of_rows(table, labels, refusal) from refusal

    def look() -> tuple[State, pd.DataFrame]:
        state = survey(list(runs.values()), folder, root)
        return state, render.frame(table, results_of(runs, state.records))

    try:
        do()
        state, cells = look()
        for n in later:
            more = next_look(table, runs, cells, n)
            if not more:
                break
            print(f"up to {n} seeds for the cells that more can settle", file=sys.stderr)
            runs |= more
            do()
            state, cells = look()
    except KeyboardInterrupt:
        print("the table so far:", file=sys.stderr)
        _publish(table, runs, *look(), folder / "tables", beside)
        raise
    page = _publish(table, runs, state, cells, folder / "tables", beside)
    failed = {record.run: record for record in state.records if record and record.reason is not None}  # rows share runs
    return Completed(page, list(failed.values()), whole=None not in state.records, data=read)


def first_seeds(table: Table, seeds: str | None) -> tuple[int, ...]:
    """Return the seeds that SEEDS names, by default those of the table. AUTO: those of the first look."""
    if seeds == AUTO and table.same_orders:
        raise UserError(
            f"SEEDS=auto: a table on a paper's orders is judged once it has all of them: SEEDS={table.seeds}"
        )
    return parse_seeds(str(LOOKS[0]) if seeds == AUTO else seeds or str(table.seeds))


def next_look(table: Table, runs: Runs, cells: pd.DataFrame, n: int) -> Runs:
    """Return the new runs of seeds up to `n` of the cells that more can settle, and of their reference rows."""
    unsettled = {(cell.row, cell.scenario) for cell in cells.itertuples() if cell.open}
    references = {(row.label, scenario): (row.reference, scenario) for row in table.rows for scenario in row.scenarios}
    unsettled |= {references[cell] for cell in unsettled}
    later = runs_of(table, tuple(range(1, n + 1)))
    return {key: run for key, run in later.items() if key[:2] in unsettled and key not in runs}


def _say_what_is_done_again(state: State) -> None:
    for aside, fault in state.damaged:
        print(f"{fault}; it is moved to {aside}, and its run is done again", file=sys.stderr)
    if state.stale:
        names = ", ".join(str(shown(file)) for file in state.stale[:NAMED])
        more = f" and {len(state.stale) - NAMED} more" if len(state.stale) > NAMED else ""
        print(f"stale, their code or data has changed, run again: {names}{more}", file=sys.stderr)


def _publish(
    table: Table, runs: Runs, state: State, cells: pd.DataFrame, folder: Path, beside: Beside | None
) -> terminal.Page:
    seeds, below = tuple(dict.fromkeys(seed for _, _, seed in runs)), ""
    if beside:
        table, cells, below = beside.shown(table, results_of(runs, state.records))
    text = render.write(table, cells, seeds, folder, len(state.stale), below)
    page = render.page(table, cells, seeds, text, len(state.stale), below)
    terminal.show(page)
    print(f"written to {shown(folder / table.name)}.md, .tex, .csv and .png", file=sys.stderr)
    return page

"""This module leads from a table's declaration to its runs, to the records that the table is rendered from, and to
what its rows measure of them."""

import math
from collections.abc import Iterable, Sequence

from benchmarks import metrics
from benchmarks.metrics import AGAINST_A_REFERENCE, Measure
from benchmarks.record import Record
from benchmarks.run import Run
from methods.base.errors import UserError
from paper_tables.declaration import Table
from paper_tables.ledger import NotSearched

Runs = dict[tuple[str, str, int], Run]  # by row label, scenario and seed
Results = dict[tuple[str, str], list[Record]]  # by row label and scenario


def runs_of(table: Table, seeds: tuple[int, ...]) -> Runs:
    """Return every run that the table declares. UserError names the row of an impossible one."""
    runs = {}
    for row in table.rows:
        for scenario in row.scenarios if row.method else ():
            for seed in seeds:
                try:
                    runs[row.label, scenario, seed] = row.run(scenario, seed)
                except NotSearched:
                    raise
                except UserError as error:
                    raise of_rows(table, [row.label], error) from error
    return runs


def results_of(runs: Runs, records: list[Record | None]) -> Results:
    """Return the records that exist, by row and scenario, as the renderer takes them."""
    results: Results = {}
    for (label, scenario, _), record in zip(runs, records, strict=True):
        if record is not None:
            results.setdefault((label, scenario), []).append(record)
    return results


def finished_of(records: Iterable[Record]) -> list[Record]:
    """Return the records of the runs that did not fail."""
    return [record for record in records if record.reason is None]


def of_rows(table: Table, labels: list[str], error: UserError) -> UserError:
    """Return the error with the table file and the rows that it belongs to."""
    rows = " and ".join(dict.fromkeys(map(repr, labels)))
    return UserError(f"{table.name}.toml, row {rows}: {error}")


def measures(
    metric: str, finished: Sequence[Record], references: Sequence[Record] = (), reference: str | None = None
) -> list[Measure]:
    """Return the metric of each run. One against a reference takes the run of the same seed of the row `reference`."""
    if metric not in AGAINST_A_REFERENCE:
        return [metrics.of(record, metric) for record in finished]
    joint = {record.seed: record.accuracy[-1] for record in finished_of(references)}
    missing = Measure(math.nan, f"needs the run of the row {reference!r} with the same seed")
    return [metrics.of(record, metric, joint[record.seed]) if record.seed in joint else missing for record in finished]

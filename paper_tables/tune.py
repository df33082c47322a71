"""Search the options that a table declares as searched, and write the ledger (paper_tables/ledger.py)."""

from pathlib import Path

from benchmarks.metrics import METRICS
from benchmarks.run import Run
from benchmarks.sweep import survey, sweep
from paper_tables import ledger
from paper_tables.declaration import Table


def trials_of(table: Table) -> list[tuple[dict, Run]]:
    """(what the ledger says of a trial, its run) for every value, scenario and seed."""
    trials = []
    for row in table.rows:
        for option, values in row.search.items():
            for scenario in row.scenarios:
                for value in values:
                    for seed in ledger.SEEDS:
                        trial = dict(zip(ledger.COLUMNS, (row.label, scenario, option, value, seed), strict=False))
                        trials.append((trial, row.trial(scenario, seed, {option: value})))
    return trials


def tune(table: Table, folder: Path, root: Path, jobs: int, device: str) -> Path:
    """Do the trials whose records are missing or stale, then write the ledger; the file."""
    metrics = {row.label: METRICS[row.metric] for row in table.rows if row.search}

    def scores(trials: list[tuple[dict, Run]]) -> list[dict]:
        runs = [run for _, run in trials]
        sweep(runs, folder, root, jobs, device)
        scored = []
        for (trial, _), found in zip(trials, survey(runs, folder, root).records, strict=True):
            score = None if found.reason else round(100 * metrics[trial["row"]](found.accuracy, found.total).value, 4)
            scored.append({**trial, "score": score})
        return scored

    def search(trial: dict) -> tuple:
        return trial["row"], trial["scenario"], trial["option"]

    trials = trials_of(table)
    first = scores([(trial, run) for trial, run in trials if trial["seed"] == ledger.SEEDS[0]])
    by_search: dict[tuple, dict[float, float | None]] = {}
    for trial in first:
        by_search.setdefault(search(trial), {})[trial["value"]] = trial["score"]
    kept = {name: ledger.contenders(found) for name, found in by_search.items()}
    others = [(trial, run) for trial, run in trials if trial["seed"] != ledger.SEEDS[0]]
    return ledger.write(
        table.name, first + scores([(trial, run) for trial, run in others if trial["value"] in kept[search(trial)]])
    )

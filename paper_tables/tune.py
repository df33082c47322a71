"""Search the options that a table declares as searched, and write the ledger (paper_tables/ledger.py)."""

from pathlib import Path

from benchmarks import metrics
from benchmarks.run import Run
from benchmarks.sweep import Refused, survey, sweep
from paper_tables import ledger
from paper_tables.declaration import Table
from paper_tables.runs import of_rows


def trials_of(table: Table) -> list[tuple[dict, Run]]:
    """Return (what the ledger says of a trial, its run) for every value, scenario and seed."""
    trials = []
    for row in table.rows:
        for option, values in row.search.items():
            for scenario in row.scenarios:
                for value in values:
                    for seed in ledger.SEEDS:
                        trial = dict(zip(ledger.COLUMNS, (row.label, scenario, option, value, seed), strict=False))
                        trials.append((trial, row.trial(scenario, seed, {option: value})))
    return trials


def tune(table: Table, folder: Path, root: Path, jobs: int | str, device: str) -> Path:
    """Do the trials whose records are missing or stale, and write the ledger. Return its file."""
    metric = {row.label: row.metric for row in table.rows}

    def scores(trials: list[tuple[dict, Run]]) -> list[dict]:
        runs = [run for _, run in trials]
        try:
            sweep(runs, folder, root, jobs, device)
        except Refused as refusal:
            raise of_rows(table, [trial["row"] for trial, run in trials if run == refusal.run], refusal) from refusal
        scored = []
        for (trial, _), record in zip(trials, survey(runs, folder, root).records, strict=True):
            score = None if record.reason else round(metrics.of(record, metric[trial["row"]]).percent, 4)
            made_by = {"commit": record.commit, "data": record.data, "digest": record.digest}
            scored.append({**trial, "score": score, **made_by})
        return scored

    def search(trial: dict) -> tuple:
        return trial["row"], trial["scenario"], trial["option"]

    trials = trials_of(table)
    first = scores([(trial, run) for trial, run in trials if trial["seed"] == ledger.SEEDS[0]])
    by_search: dict[tuple, dict[float, float | None]] = {}
    for trial in first:
        by_search.setdefault(search(trial), {})[trial["value"]] = trial["score"]
    kept = {name: ledger.contenders(scores_of) for name, scores_of in by_search.items()}
    others = [(trial, run) for trial, run in trials if trial["seed"] != ledger.SEEDS[0]]
    return ledger.write(
        table.name, first + scores([(trial, run) for trial, run in others if trial["value"] in kept[search(trial)]])
    )

"""Draw forgetting against intransigence: the strength of a penalty runs over twelve decades, on the digits.

With strength 0 a method is fine-tuning, which learns each new task and forgets the old ones. A huge strength holds the
parameters, and the network cannot learn new tasks. Both are in points of accuracy, over the T tasks of the table
`splitdigits` (domain-incremental):

    forgetting      1/(T-1) sum_{j<T} (max_{l<T} R[l, j] - R[T, j])
    intransigence   1/T sum_k (a*_k - R[k, k])     a*_k: accuracy on task k of a joint run on tasks 1 to k

The networks, the training and the searched strengths are those of the table, from its declaration and its ledger. The
runs are ordinary runs: their records are kept, and an interrupted command goes on. `make figure-tradeoff` writes
figure, page and numbers to results/tables/tradeoff.*.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import metrics, streams
from benchmarks.files import LOCAL
from benchmarks.markdown import table as markdown_table
from benchmarks.record import Record
from benchmarks.run import Run
from benchmarks.sweep import survey, sweep
from methods.base.errors import UserError
from paper_tables import declaration, drawing
from paper_tables.declaration import Row, Table

TABLE, SCENARIO = "splitdigits", "domain"
METHODS = ("EWC", "MAS", "SI", "RWalk", "SCP")  # rows of the table
REFERENCE = "Offline"
SEEDS = (1, 2)
STRENGTHS = tuple(float(f"1e{decade}") for decade in range(-4, 9))
COLUMNS = ["method", "option", "strength", "searched", "seed", "forgetting", "intransigence", "average_accuracy"]


def main(root: Path, jobs: int, folder: Path = drawing.FOLDER, records: Path = LOCAL) -> None:
    """Do the runs that are missing, and write the figure, its page and its numbers."""
    found = numbers(declaration.load(TABLE), METHODS, STRENGTHS, SEEDS, records, root, jobs)
    drawing.write(folder, "tradeoff", page(found), figure(found), {"": found})


def numbers(
    table: Table, labels: tuple, strengths: tuple, seeds: tuple, records: Path, root: Path, jobs: int
) -> pd.DataFrame:
    """Return a line for each method, strength and seed: both measures and the average accuracy, in points.

    Besides `strengths` there are 0 and the searched one. A run that failed has no numbers.
    """
    rows = {row.label: row for row in table.rows}
    trials = [trial for label in labels for trial in trials_of(rows[label], strengths, seeds)]
    joint = {seed: joint_runs(rows[REFERENCE], seed, root) for seed in seeds}
    runs = [run for _, run in trials] + [run for prefixes in joint.values() for run in prefixes]
    sweep(runs, records, root, jobs)
    best = {seed: reference(survey(prefixes, records, root).records) for seed, prefixes in joint.items()}
    lines = []
    for (trial, run), record in zip(trials, survey([run for _, run in trials], records, root).records, strict=True):
        lines.append(trial | measures(record, best[run.seed]))
    return pd.DataFrame(lines, columns=COLUMNS)


def trials_of(row: Row, strengths: tuple, seeds: tuple) -> list[tuple[dict, Run]]:
    """Return (what the numbers say of a run, the run) for every strength and seed of a row."""
    (option,) = row.search
    searched = row.best(option, SCENARIO)
    trials = []
    for strength in sorted({0.0, searched, *strengths}):
        fixed = replace(row, search={}, method={**row.method, option: strength})
        for seed in seeds:
            trial = {"method": row.method["name"], "option": option, "strength": strength, "seed": seed}
            trials.append((trial | {"searched": strength == searched}, fixed.run(SCENARIO, seed)))
    return trials


def joint_runs(row: Row, seed: int, root: Path) -> list[Run]:
    """Return the joint runs on the first k tasks, for every k. An intransigence is against the last task of each."""
    whole = row.run(SCENARIO, seed)
    tasks = streams.build(whole.stream, SCENARIO, seed, root).tasks
    runs = []
    for k in range(1, len(tasks) + 1):
        order = [label for task in tasks[:k] for label in task.classes]
        stream = {**row.stream, "order": order, "tasks": [len(task.classes) for task in tasks[:k]]}
        runs.append(replace(row, stream=stream).run(SCENARIO, seed))
    return runs


def reference(records: list[Record | None]) -> list[float]:
    """Return a*_k [T] from the records of the joint runs."""
    for record in records:
        if record is None or record.reason:
            raise UserError(f"a run of joint training failed, and an intransigence is against it: {record}")
    return [float(record.accuracy[-1, -1]) for record in records]


def measures(record: Record | None, best: list[float]) -> dict[str, float]:
    """Return the measures of a run in points, or none for a run that failed."""
    if record is None or record.reason:
        return {}
    measured = {name: metrics.of(record, name) for name in ("forgetting", "average_accuracy")}
    measured["intransigence"] = metrics.mean_intransigence(record.accuracy, record.total, best)
    return {name: measure.percent for name, measure in measured.items()}


def means(found: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds, for each method and strength in order."""
    keys = ["method", "option", "strength", "searched"]
    return found.groupby(keys, sort=False, as_index=False)[COLUMNS[5:]].mean()


def page(found: pd.DataFrame) -> str:
    """Return the page: what to see, and both measures at the ends and at the searched strength."""
    lines = []
    for method, own in means(found).groupby("method", sort=False):
        searched, last = own[own.searched].iloc[0], own.iloc[-1]
        at = (own.iloc[0], searched, last)
        pairs = [f"{each.forgetting:.1f} / {each.intransigence:.1f}" for each in at]
        lines.append([drawing.STYLES[method].label, f"{own.option.iloc[0]} = {searched.strength:g}", *pairs])
    header = ["", "searched strength", "at strength 0", "at the searched strength", f"at {found.strength.max():g}"]
    seeds = ", ".join(map(str, sorted(found.seed.unique())))
    return f"""# Forgetting against intransigence

![Forgetting against intransigence](tradeoff.png)

**What to see.** Every curve begins at the star: with strength 0 a method is fine-tuning. It learns each new pair of
digits at least as well as joint training does (an intransigence of 0 or below), and forgets the earlier ones. A
stronger penalty moves down and to the right: less is forgotten, and less is learnt. Nothing would be lost at the corner
at the lower left, and no curve reaches it. The large marks are the strengths that a search on held-out images chose for
the table [splitdigits](splitdigits.md). The panels at the right show that a few decades lie between no effect and the
greatest. A strength means nothing across methods, because importances have different units.

**What not to conclude.** A huge penalty does not freeze a network under Adam, which divides a gradient by its own size.
Weights that are held go to and fro about their anchor in steps of the learning rate, and weights without importance go
on learning. So the curves end well before 40 points, where a network would be that learns nothing after the first task.
There the order of the points on a curve is mostly noise of {found.seed.nunique()} seeds.

Domain-incremental split digits, {found.strength.nunique()} strengths from 0 to {found.strength.max():g}, means over the
seeds {seeds}, in points of accuracy. Each pair is forgetting / intransigence. [All runs](tradeoff.csv).
`make figure-tradeoff` writes this page, its figure and its numbers.

{markdown_table(header, lines)}
"""


def figure(found: pd.DataFrame) -> bytes:
    """Return a PNG: the plane of both measures, and each of them by strength."""
    with drawing.canvas(9.6, 5.2) as picture:
        grid = picture.add_gridspec(2, 2, width_ratios=[1.25, 1])
        plane = picture.add_subplot(grid[:, 0])
        panels = {name: picture.add_subplot(grid[n, 1]) for n, name in enumerate(("forgetting", "intransigence"))}
        strongest = found.strength.max()
        zero = found.strength[found.strength > 0].min() / 30  # where a logarithmic axis shows the strength 0
        for method, own in means(found).groupby("method", sort=False):
            style = drawing.STYLES[method]
            looks = {"color": style.colour, "linestyle": style.line, "marker": style.marker, "linewidth": 1.3}
            chosen = own[own.searched]
            large = {"color": style.colour, "marker": style.marker, "markersize": 11, "markeredgecolor": "black"}
            large |= {"markeredgewidth": 1.3, "linestyle": "none", "zorder": 4}
            plane.plot(own.intransigence, own.forgetting, markersize=3.5, label=style.label, **looks)
            plane.plot(chosen.intransigence, chosen.forgetting, **large)
            for name, axes in panels.items():
                axes.plot(own.strength.clip(lower=zero), own[name], markersize=3, **looks)
                axes.plot(chosen.strength, chosen[name], **large | {"markersize": 8})
        start = means(found)[lambda all: all.strength == 0]
        star = {"color": "0.2", "marker": "*", "markersize": 13, "linestyle": "none", "zorder": 5}
        plane.plot(start.intransigence.mean(), start.forgetting.mean(), **star, label="strength 0: fine-tuning")
        plane.plot([], [], color="white", markeredgecolor="black", marker="o", markersize=9, label="searched strength")
        plane.axhline(0, color="0.6", linewidth=0.8)
        plane.axvline(0, color="0.6", linewidth=0.8)
        plane.set(xlabel="intransigence (points of accuracy)", ylabel="forgetting (points of accuracy)")
        plane.legend(frameon=True, framealpha=0.9, loc="upper right")
        for name, axes in panels.items():
            axes.set(xscale="log", ylabel=f"{name} (points)")
            ticks = 10.0 ** np.arange(np.ceil(np.log10(zero * 10)), np.log10(strongest) + 1, 3)
            axes.set_xticks([zero, *ticks], ["0", *(f"$10^{{{round(np.log10(tick))}}}$" for tick in ticks)])
            axes.minorticks_off()
        panels["intransigence"].set_xlabel("strength of the penalty (each method's own unit)")
        return drawing.png(picture)

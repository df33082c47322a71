"""Draw four one-dimensional regression tasks learnt in turn: the fits, the losses, and two Fishers.

The tasks, their training, the exact Fisher F and the number G that a document takes instead are in
paper_tables/regression_tasks.py. Offline EWC is shown with F, with G at the same strength, and with G and the strengths
that make the sum of each penalty that of the exact one.

The strengths of all methods are searched by decades on a seed of their own, SEARCH_SEED, against the curve without
noise. `make figure-offline-ewc` writes figure, page and numbers to results/tables/offline-ewc*.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch

from benchmarks import numerics
from benchmarks.markdown import table as markdown_table
from paper_tables import drawing
from paper_tables.regression_tasks import (
    EDGES,
    EVERY,
    GRID,
    NOISE,
    TRAIN,
    Learnt,
    N,
    curve,
    fisher_sums,
    fishers,
    stream,
    trained,
    work,
)
from paper_tables.watched import in_processes

SEEDS, SEARCH_SEED = (1, 2, 3), 101
SEARCH = {
    "ewc": ("lam", (100.0, 1e3, 1e4, 1e5)),
    "online_ewc": ("lam", (10.0, 100.0, 1e3, 1e4)),
    "si": ("c", (10.0, 100.0, 1e3, 1e4)),
    "mas": ("lam", (0.1, 1.0, 10.0, 100.0)),
}
DOCUMENT = {"fisher": "batched", "fisher_batch": N}
LABELS = {  # of the rows of the figure
    "naive": "fine-tuning",
    "same": "offline EWC,\ndocument's Fisher,\nsame strength",
    "matched": "offline EWC,\ndocument's Fisher,\nmatched sums",
    "ewc": "offline EWC,\nexact Fisher",
    "online_ewc": "online EWC",
    "si": "SI",
    "mas": "MAS",
}


def main(jobs: int, folder: Path = drawing.FOLDER) -> None:
    """Search the strengths, train, and write the figure, its page and its numbers."""
    trials = [(name, {option: value}, SEARCH_SEED) for name, (option, values) in SEARCH.items() for value in values]
    tried = in_processes(work, trials, jobs)
    rows = variants(best(trials, tried))
    runs = [(row, seed) for row in rows for seed in SEEDS]
    arguments = [(*rows[row], seed) for row, seed in runs]
    found = in_processes(work, arguments, jobs)
    learnt = dict(zip(runs, found, strict=True))
    fishers = fishers_of_first_task(SEEDS[0])
    files = {"": numbers(learnt), "-search": search(trials, tried), "-curves": curves(learnt)}
    drawing.write(folder, "offline-ewc", page(learnt, fishers), figure(learnt, fishers), files)


def variants(strengths: dict[str, float]) -> dict[str, tuple[str, dict]]:
    """Return the method and the options of each row. The list of strengths of "matched" is found as it trains."""
    ewc = {"lam": strengths["ewc"]}
    own = {name: (name, {option: strengths[name]}) for name, (option, _) in SEARCH.items()}
    return {"naive": ("naive", {}), "same": ("ewc", ewc | DOCUMENT), "matched": ("matched", ewc | DOCUMENT)} | own


def best(trials: list[tuple], tried: list[Learnt]) -> dict[str, float]:
    """Return the strength of each method whose final error, the mean over tasks, is least."""
    strengths = {}
    for name in SEARCH:
        own = [each for each in zip(trials, tried, strict=True) if each[0][0] == name]
        (_, options, _), _ = min(own, key=lambda each: float(each[1].errors[-1].mean()))
        (strengths[name],) = options.values()
    return strengths


def fishers_of_first_task(seed: int) -> dict[str, np.ndarray]:
    """Return F and G [P] at the end of the first task, and their sums [S, 2] along the way, at `steps` [S]."""
    numerics.settle()
    tasks = stream(seed)
    first = replace(tasks, tasks=tasks.tasks[:1])
    net, method = trained("naive", {}, first, seed)
    F, G = fishers(net, method.ends[0], first.tasks[0])
    sums = np.array([fisher_sums(net, theta, first.tasks[0]) for theta in method.path])
    return {"F": F.numpy(), "G": G.numpy(), "sums": sums, "steps": EVERY * np.arange(len(sums))}


def numbers(learnt: dict) -> pd.DataFrame:
    """Return a line for each row, seed and task k: the errors on all tasks, and the sums of F and G, after task k."""
    lines = []
    for (row, seed), run in learnt.items():
        for k, errors in enumerate(run.errors):
            names = {f"error_on_task_{j}": error for j, error in enumerate(errors, start=1)}
            strength = run.strength[k] if isinstance(run.strength, list) and k < len(run.strength) else run.strength
            strength = None if isinstance(strength, list) else strength  # the last task's is left out
            sums = dict(zip(("sum_exact", "sum_document"), run.sums[k], strict=True))
            lines.append({"row": row, "seed": seed, "after_task": k + 1, "strength": strength} | names | sums)
    return pd.DataFrame(lines)


def search(trials: list[tuple], tried: list[Learnt]) -> pd.DataFrame:
    """Return a line for each trial of the search: the final error, the mean over tasks."""
    lines = []
    for (name, options, seed), run in zip(trials, tried, strict=True):
        ((option, value),) = options.items()
        lines.append({"method": name, "option": option, "value": value, "seed": seed, "error": run.errors[-1].mean()})
    return pd.DataFrame(lines)


def curves(learnt: dict) -> pd.DataFrame:
    """Return the loss traces of the first seed: a line for each point, a column for each row and task."""
    shown = {row: run for (row, seed), run in learnt.items() if seed == SEEDS[0]}
    columns = {f"{row}_task_{j + 1}": run.traces[:, j] for row, run in shown.items() for j in range(len(EDGES) - 1)}
    return pd.DataFrame({"step": EVERY * np.arange(len(next(iter(columns.values()))))} | columns)


def final(learnt: dict, row: str) -> np.ndarray:
    """Return the final error of each seed, the mean over tasks."""
    return np.array([run.errors[-1].mean() for (name, _), run in learnt.items() if name == row])


def page(learnt: dict, found: dict) -> str:
    """Return the page: what to see, what the document's version gets wrong, and the final errors."""
    lines = []
    for row, label in LABELS.items():
        errors, run = final(learnt, row), learnt[row, SEEDS[0]]
        given = run.strength if isinstance(run.strength, list) else [run.strength] if run.strength else []
        shown = ", ".join(f"{value:.3g}" for value in given) or "none"
        first = np.mean([learnt[row, seed].errors[-1, 0] for seed in SEEDS])
        own = np.mean([learnt[row, seed].errors.diagonal().mean() for seed in SEEDS])
        numbers = [f"{value:.3f}" for value in (errors.mean(), errors.min(), errors.max(), first, own)]
        lines.append([label.replace("\n", " "), shown, *numbers])
    header = ["", "strength (seed 1)", "error at the end", "least", "most", "on task 1", "just after learning"]
    ratios = np.array([run.sums[:, 1] / run.sums[:, 0] for (row, _), run in learnt.items() if row == "ewc"])
    steps = found["sums"][len(found["sums"]) // 2 :, 1]
    seeds, middle = ", ".join(map(str, SEEDS)), {row: final(learnt, row).mean() for row in LABELS}
    spread = max(learnt["matched", SEEDS[0]].strength) / min(learnt["matched", SEEDS[0]].strength)
    both = np.corrcoef(*(np.log10(found[name][(found["F"] > 0) & (found["G"] > 0)]) for name in "FG"))[0, 1]
    return f"""# Offline EWC on four regression tasks

![Fits and losses](offline-ewc.png)

**What to see.** Each row is a method, each column the fit (coloured line) after one more task, with the data of the
tasks so far (grey), the true curve (thin line) and the present task's inputs (shaded). Fine-tuning follows the new
data and leaves the rest of the curve. The penalties keep it. At the right, the loss on a task falls while it is
learnt and must then stay low: under fine-tuning it rises again as soon as the next task begins. The bottom row is
about the Fisher.

**What the document's version gets wrong.** It squares the gradient of the mean loss over the whole data set, where
the Fisher is the mean of squares.
- At a minimum the full gradient is 0, however sharp the minimum. Here the document's sum is {ratios.min():.0e} to
  {ratios.max():.0e} of the exact one. At the same strength the error is {middle["same"]:.2f}, with the exact Fisher
  {middle["ewc"]:.2f}.
- The number tells where the optimiser happened to stop. In the second half of the first task its sum moves between
  {steps.min():.0e} and {steps.max():.0e}, while the exact one settles (bottom left).
- So no one strength suits all tasks. The row "matched sums" takes a strength for each task (`lam` as a list), which
  makes each penalty sum to the exact one's. For seed 1 the largest of them is {spread:.0f} times the smallest. With
  them the error is {middle["matched"]:.2f}. What is left to differ is the share of each weight (bottom middle; the
  logarithms correlate by {both:.2f}). So the scale is the first thing that the document's number gets wrong, and it
  took the exact Fisher to find the right one.
- The exact Fisher of a regression needs no labels, the document's number does. Besides, the mean squared error is a
  Gaussian of variance 1/2, not 1, the penalty has no 1/2, and the default learning rate of `8e8` must be 8e-4, as
  here.

Errors are root mean squares against the curve without noise, means over the four tasks and the seeds {seeds};
the noise has deviation {NOISE}. Input and output are made-up numbers without a unit.
Strengths were searched by decades on seed {SEARCH_SEED} ([trials](offline-ewc-search.csv)). [All errors and
sums](offline-ewc.csv), [loss traces](offline-ewc-curves.csv). `make figure-offline-ewc` writes this page, its figure
and its numbers.

{markdown_table(header, lines)}
"""


def figure(learnt: dict, found: dict) -> bytes:
    """Return a PNG: fits after each task and loss traces, a row for each method, and the Fishers below."""
    T = len(EDGES) - 1
    data = stream(SEEDS[0]).tasks
    with drawing.canvas(11, 13) as picture:
        outer = picture.add_gridspec(2, 1, height_ratios=[len(LABELS) * 1.25, 2.6])
        grid = outer[0].subgridspec(len(LABELS), T + 2, width_ratios=[0.85] + [1] * T + [1.5])
        for n, (row, label) in enumerate(LABELS.items()):
            run, last = learnt[row, SEEDS[0]], n == len(LABELS) - 1
            style = drawing.STYLES["ewc" if row in ("same", "matched") else row]
            name = picture.add_subplot(grid[n, 0])
            name.axis("off")
            name.text(0, 0.5, label, va="center", color=style.colour, weight="bold")
            for k in range(T):
                axes = picture.add_subplot(grid[n, k + 1])
                _fit(axes, data[: k + 1], run.fits[k], style)
                axes.tick_params(labelbottom=last, labelleft=k == 0)
                if n == 0:
                    axes.set_title(f"after task {k + 1}")
                axes.set(xlabel="input x" if last else "", ylabel="output y" if k == 0 else "")
            axes = picture.add_subplot(grid[n, T + 1])
            _trace(axes, run.traces, style)
            axes.tick_params(labelbottom=last)
            axes.set(xlabel="step" if last else "", ylabel="MSE")
            if n == 0:
                axes.set_title("error (MSE) on each task")
                axes.legend(ncols=2, fontsize=7, handlelength=2, columnspacing=0.8, loc="upper left", frameon=False)
        below = outer[1].subgridspec(1, 3)
        _sums(picture.add_subplot(below[0]), found)
        _entries(picture.add_subplot(below[1]), found)
        _final(picture.add_subplot(below[2]), learnt)
        return drawing.png(picture, 110)


def _fit(axes, tasks, fit, style):
    for task in tasks:
        x, y, _ = task.train.take(torch.arange(len(task.train)))
        axes.plot(x, y, ".", color="0.7", markersize=2)
    axes.axvspan(EDGES[len(tasks) - 1], EDGES[len(tasks)], color="0.93", zorder=0)
    axes.plot(GRID, curve(GRID), color="0.15", linewidth=0.7)
    axes.plot(GRID, fit, color=style.colour, linewidth=1.8)
    axes.set(xlim=(EDGES[0], EDGES[-1]), ylim=(-1.7, 1.7), xticks=[-1, 0, 1])


def _trace(axes, traces, style):
    lines = ("-", "--", "-.", ":")
    shades = (1.0, 0.8, 0.65, 0.5)
    for j in range(traces.shape[1]):
        begun = j * TRAIN.steps // EVERY
        steps = EVERY * np.arange(len(traces))[begun:]
        colour = mpl.colors.to_rgba(style.colour, shades[j])
        axes.plot(steps, traces[begun:, j], lines[j], color=colour, linewidth=1.2, label=f"task {j + 1}")
    axes.set(yscale="log", ylim=(1e-3, 300), xlim=(0, EVERY * (len(traces) - 1)))
    axes.set_xticks(TRAIN.steps * np.arange(len(EDGES)))


def _sums(axes, found):
    exact, document = found["sums"].T
    axes.plot(found["steps"], exact, color="0.15", label="exact Fisher")
    axes.plot(found["steps"], document, "--", color=drawing.RED, marker=".", label="document's squared gradient")
    axes.set(yscale="log", xlabel="step of task 1", ylabel="sum over parameters", title="Sums while task 1 is learnt")
    axes.set_ylim(top=1e3 * exact.max())
    axes.legend(loc="upper right", frameon=False)


def _entries(axes, found):
    here = (found["F"] > 0) & (found["G"] > 0)
    F, G = found["F"][here], found["G"][here]
    looks = {"gridsize": 45, "mincnt": 1, "cmap": "viridis", "linewidths": 0, "bins": "log"}
    drawn = axes.hexbin(F, G, xscale="log", yscale="log", **looks)
    axes.figure.colorbar(drawn, ax=axes, label="parameters")
    axes.set(xlabel="exact Fisher", ylabel="document's squared gradient", title="Parameters after task 1")


def _final(axes, learnt):
    for n, row in enumerate(LABELS):
        style, errors = drawing.STYLES["ewc" if row in ("same", "matched") else row], final(learnt, row)
        hollow = {"markerfacecolor": "white"} if row in ("same", "matched") else {}
        axes.plot(errors, [n] * len(errors), style.marker, color=style.colour, markersize=6, **hollow)
    axes.axvline(NOISE, color="0.4", linestyle=":", linewidth=1)
    axes.text(NOISE * 1.05, -0.6, "noise", fontsize=7, va="center")
    names = [label.replace("offline EWC,\ndocument's Fisher,\n", "document's, ") for label in LABELS.values()]
    axes.set_yticks(range(len(LABELS)), names, fontsize=7)
    axes.set_ylim(len(LABELS) - 0.5, -1)
    axes.set(xscale="log", xlabel="RMSE (one mark a seed)", title="Error after all tasks")
    axes.set_xticks([0.03, 0.1, 0.3, 1], ["0.03", "0.1", "0.3", "1"])
    axes.minorticks_off()

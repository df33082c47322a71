"""Accuracy on held-out training data by strength, from the ledger of a search, a panel for each method.

The line is the mean over the seeds that tried a value, dots are trials, and the large mark is the value that the table
takes. A value that is far behind on the first seed is tried on no other. One that failed has no mark. Strengths of
different methods have different units.
"""

import math

import pandas as pd
from matplotlib.ticker import LogLocator

from paper_tables import drawing, ledger
from paper_tables.declaration import Row, Table
from paper_tables.figures import panels
from paper_tables.figures.panels import Drawn


def draw(table: Table, scenario: str, trials: pd.DataFrame) -> Drawn | None:
    """Return a panel for each method that was searched in a scenario, or None where none was."""
    searched = [
        (row, option, tried)
        for row in table.rows
        for option in row.search
        if len(tried := _tried(trials, row, option, scenario))
    ]
    if not searched:
        return None
    by_method: dict[str, list] = {}
    for row, option, tried in searched:
        by_method.setdefault(row.method["name"], []).append((row, option, tried))
    looks = drawing.marks({row.label: row.method["name"] for row, _, _ in searched})
    width, height = (2.3, 2.0) if len(by_method) > 1 else (6.4, 3.4)
    with panels.grid(len(by_method), width, height, "", "held-out accuracy (%)", share=False) as (figure, axes_of):
        for axes, (method, rows) in zip(axes_of, by_method.items(), strict=True):
            for n, (row, option, tried) in enumerate(rows):
                look = looks[row.label] | {"linestyle": drawing.LINES[n % len(drawing.LINES)]}
                mean = tried.groupby("value").score.mean()
                axes.plot(mean.index, mean, linewidth=1.3, markersize=4, label=row.label, **look)
                dots = {"linestyle": "none", "marker": ".", "markersize": 3, "alpha": 0.5, "color": look["color"]}
                axes.plot(tried.value, tried.score, **dots)
                best = row.best(option, scenario)
                large = {"markersize": 11, "markeredgecolor": "black", "markeredgewidth": 1.2, "zorder": 4}
                axes.plot(best, mean[best], **look | large | {"linestyle": "none"})
            options = panels.listed(dict.fromkeys(option for _, option, _ in rows))
            axes.set(xscale="log", title=drawing.style(method).label)
            axes.set_xlabel(f"{options} (own unit)", fontsize=8)
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.minorticks_off()
            if len(rows) > 1:
                axes.legend(fontsize=8, frameon=True, framealpha=0.9)
        seeds = panels.listed([str(seed) for seed in ledger.SEEDS])
        caption = (
            f"Accuracy on a tenth of the training data, held out. Line: mean over the seeds tried (of {seeds}); a "
            f"value more than {ledger.GAP:g} points behind on seed {ledger.SEEDS[0]} is tried on no other. Dots: "
            "single trials. Large marks: the values that the table takes. A strength means nothing across methods."
        )
        panels.entitle(figure, f"{table.title}: strength against accuracy{panels.of(table, scenario)}", caption)
    return Drawn(figure, caption, _see(scenario, searched))


def _tried(trials: pd.DataFrame, row: Row, option: str, scenario: str) -> pd.DataFrame:
    mine = trials[(trials.row == row.label) & (trials.scenario == scenario) & (trials.option == option)]
    return mine[mine.value.isin(row.search[option])].sort_values("value")


def _see(scenario: str, searched: list) -> str:
    reach = {row.label: _reach(tried) for row, _, tried in searched}
    widest = max(reach, key=lambda label: reach[label][1] - reach[label][0])
    text = f"The strength of {widest} matters most: it moves the accuracy from {{:.1f}} to {{:.1f}} %."
    text = text.format(*reach[widest])
    best = {row.label: row.best(option, scenario) for row, option, _ in searched}
    least, most = min(best, key=best.get), max(best, key=best.get)
    if len({row.method["name"] for row, _, _ in searched}) == 1 and 0 < best[least] < best[most]:
        decades = math.log10(best[most] / best[least])
        text += (
            f" The best strengths lie {decades:.0f} decades apart, from {best[least]:g} ({least}) to {best[most]:g} "
            f"({most})."
        )
    return text


def _reach(tried: pd.DataFrame) -> tuple[float, float]:
    means = tried.groupby("value").score.mean()
    return means.min(), means.max()

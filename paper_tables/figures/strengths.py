"""Accuracy on held-out training data by strength, from the ledger of a search, a panel for each method.

The line is the mean over the seeds that tried a value, dots are trials, and the large mark is the value that the table
takes. A value that is far behind on the first seed is tried on no other. One that failed has no mark. Strengths of
different methods have different units.
"""

import math

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from methods.base.errors import UserError
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
        if (tried := _tried(trials, row, option, scenario)).score.notna().any()
    ]
    if not searched:
        return None
    by_method: dict[str, list] = {}
    for each in searched:
        by_method.setdefault(each[0].method["name"], []).append(each)
    looks = drawing.marks({row.label: row.method["name"] for row, _, _ in searched})
    for rows in by_method.values():
        for n, (row, _, _) in enumerate(rows):
            looks[row.label]["linestyle"] = drawing.LINES[n % len(drawing.LINES)]
    width, height = (2.3, 2.0) if len(by_method) > 1 else (6.4, 3.4)
    with panels.grid(len(by_method), width, height, "", "held-out accuracy (%)", share="y") as (figure, axes_of):
        for axes, (method, rows) in zip(axes_of, by_method.items(), strict=True):
            for row, option, tried in rows:
                _line(axes, tried, _best(row, option, scenario), looks[row.label])
            options = panels.listed(dict.fromkeys(option for _, option, _ in rows))
            axes.set(xscale="log", title=drawing.style(method).label)
            axes.set_xlabel(f"{options} (own unit)", fontsize=8)
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.minorticks_off()
        seeds = panels.listed([str(seed) for seed in ledger.SEEDS])
        caption = (
            f"Accuracy on {ledger.HELD_OUT} of the training data, held out. Line: mean over the seeds tried (of "
            f"{seeds}); a value more than {ledger.GAP:g} points behind on seed {ledger.SEEDS[0]} is tried on no other. "
            "Dots: single trials. Large marks: the values that the table takes. "
            "A strength means nothing across methods."
        )
        alike = [row.label for rows in by_method.values() if len(rows) > 1 for row, _, _ in rows]
        handles = [Line2D([], [], markersize=4, label=label, **looks[label]) for label in alike]
        panels.entitle(
            figure, f"{table.title}: strength against accuracy{panels.of(table, scenario)}", caption, handles
        )
    return Drawn(figure, caption, _see(scenario, searched))


def _line(axes, tried: pd.DataFrame, best: float | None, look: dict) -> None:
    mean = tried.groupby("value").score.mean()
    axes.plot(mean.index, mean, linewidth=1.3, markersize=4, **look)
    dots = {"linestyle": "none", "marker": ".", "markersize": 3, "alpha": 0.5, "color": look["color"]}
    axes.plot(tried.value, tried.score, **dots)
    if best is not None:
        large = {"markersize": 11, "markeredgecolor": "black", "markeredgewidth": 1.2, "zorder": 4}
        axes.plot(best, mean[best], **look | large | {"linestyle": "none"})


def _best(row: Row, option: str, scenario: str) -> float | None:
    """Return the value that the table takes, or None while its search is not done, or if it failed."""
    try:
        return row.best(option, scenario)
    except UserError:
        return None


def _tried(trials: pd.DataFrame, row: Row, option: str, scenario: str) -> pd.DataFrame:
    mine = trials[(trials.row == row.label) & (trials.scenario == scenario) & (trials.option == option)]
    return mine[mine.value.isin(row.search[option])].sort_values("value")


def _see(scenario: str, searched: list) -> str:
    means = {row.label: tried.groupby("value").score.mean() for row, _, tried in searched}
    widest = max(means, key=lambda label: means[label].max() - means[label].min())
    text = f"The strength of {widest} matters most: it moves the accuracy from "
    text += f"{means[widest].min():.1f} to {means[widest].max():.1f} %."
    found = {row.label: _best(row, option, scenario) for row, option, _ in searched}
    best = {label: value for label, value in found.items() if value}
    if len({row.method["name"] for row, _, _ in searched}) == 1 and len(set(best.values())) > 1:
        least, most = min(best, key=best.get), max(best, key=best.get)
        decades = math.log10(best[most] / best[least])
        text += (
            f" The best strengths lie {decades:.0f} decades apart, from {best[least]:g} ({least}) to {best[most]:g} "
            f"({most})."
        )
    return text

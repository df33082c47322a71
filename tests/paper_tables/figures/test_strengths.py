"""Strength against accuracy: the lines are the ledger's, and the large mark is what the table takes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from paper_tables import declaration, drawing, ledger
from paper_tables.figures import strengths


@pytest.fixture(scope="module")
def fisher():
    table = declaration.load("fisher")
    return table, ledger.read("fisher"), strengths.draw(table, "task", ledger.read("fisher"))


def test_a_line_for_each_estimator(fisher):
    table, trials, drawn = fisher
    (axes,) = drawn.figure.axes
    searched = [row for row in table.rows if row.search]
    lines = [line for line in axes.lines if line.get_linewidth() == 1.3]
    assert [text.get_text() for text in drawn.figure.legends[0].get_texts()] == [row.label for row in searched]
    assert len(lines) == 5
    for row, line in zip(searched, lines, strict=True):
        assert list(line.get_xdata()) == sorted(row.search["lam"])
        mine = trials[(trials.row == row.label) & (trials.value == 1e9)]
        assert line.get_ydata()[9] == pytest.approx(mine.score.mean()) and len(mine) > 0
        assert to_rgb(line.get_color()) == to_rgb(drawing.STYLES["online_ewc"].colour)
    assert len({(line.get_linestyle(), line.get_fillstyle()) for line in lines}) == 5
    chosen = [line.get_xdata()[0] for line in axes.lines if line.get_markersize() == 11]
    assert chosen == [row.best("lam", "task") for row in searched]
    assert axes.get_xscale() == "log" and "held-out accuracy (%)" in axes.get_ylabel()


def test_what_the_sentence_says_is_in_the_ledger(fisher):
    table, trials, drawn = fisher
    means = trials.groupby(["row", "value"]).score.mean()
    reach = means.groupby("row").max() - means.groupby("row").min()
    assert drawn.see.startswith(f"The strength of {reach.idxmax()} matters most")
    best = [row.best("lam", "task") for row in table.rows if row.search]
    assert f"from {min(best):g} (" in drawn.see and f"to {max(best):g} (" in drawn.see


def test_a_failed_trial_has_no_mark_and_no_search_no_figure(fisher):
    table, trials, _ = fisher
    failed = trials.assign(score=trials.score.where(trials.value != 1.0))
    (axes,) = strengths.draw(table, "task", failed).figure.axes
    assert axes.lines[0].get_xdata()[0] == 1.0 and np.isnan(axes.lines[0].get_ydata()[0])
    assert strengths.draw(table, "task", trials.assign(score=np.nan)) is None
    assert strengths.draw(declaration.load("splitmnist"), "task", ledger.read("splitmnist")) is None


def test_a_search_that_is_not_done_has_no_large_mark(fisher):
    table, trials, _ = fisher
    begun = trials[trials.value < 1e3]
    rows = [replace(row, best=partial(unfinished, row.label)) for row in table.rows]
    drawn = strengths.draw(replace(table, rows=tuple(rows)), "task", begun)
    (axes,) = drawn.figure.axes
    assert len(axes.lines) == 10 and "decades" not in drawn.see


def unfinished(label, option, scenario):
    raise ledger.NotSearched(f"{option} of {label} is not searched yet")

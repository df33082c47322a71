"""Ranks and critical differences: against published examples and by hand; what is refused, and when nothing is told."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import stats

from paper_tables import drawing
from paper_tables.figures import ranks
from paper_tables.figures.courses import courses
from paper_tables.references import recorded
from paper_tables.runs import runs_of
from tests.support.pictures import faults
from tests.support.records import kept
from tests.support.toy_courses import EARLIER
from tests.support.toy_table import toy_loader

# Demsar (2006): the ranks of four variants of C4.5 on 14 data sets (Table 6), and q at 5 % (Table 5 a).
RANKS = """
4 3 2 1
1 2 3 4
4 1 2 3
4 1 3 2
4 2 3 1
1 2.5 4 2.5
3 2 4 1
2.5 2.5 4 1
4 3 2 1
2.5 2.5 2.5 2.5
4 2.5 1 2.5
3 2 4 1
4 1 2 3
3 1 4 2
"""
Q = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


def frame(rows, **columns):
    return pd.DataFrame(rows, columns=list(columns) or list("ABCD")[: len(rows[0])])


def test_the_published_example():
    scores = frame([[-float(rank) for rank in line.split()] for line in RANKS.strip().splitlines()])
    compared = ranks.compare(scores)
    assert compared.ranks.round(3).tolist() == [3.143, 2.000, 2.893, 1.964] and compared.blocks == 14
    # The statistic is 9.28 there, without the correction for ties: sum of t^3 - t is 78, of 14 blocks with 4^3 - 4.
    uncorrected = stats.chi2.isf(compared.friedman, 3) * (1 - 78 / (14 * 60))
    assert round(uncorrected, 2) == 9.28 and compared.tells
    assert round(ranks.critical_difference(4, 14), 2) == 1.25
    assert compared.apart == 0  # no two differ by that much


@pytest.mark.parametrize("k", Q)
def test_the_published_quantiles(k):
    assert ranks.critical_difference(k, 1) / np.sqrt(k * (k + 1) / 6) == pytest.approx(Q[k], abs=0.0015)


def test_ranks_by_hand_highest_first():
    compared = ranks.compare(frame([[90, 80, 70], [50, 60, 60], [30, 20, 10]]))
    assert compared.ranks.tolist() == pytest.approx([(1 + 3 + 1) / 3, (2 + 1.5 + 2) / 3, (3 + 1.5 + 3) / 3])


def test_pairs_apart_are_those_beyond_the_critical_difference():
    accuracies = frame([[90 + s, 80 + s, 70 + s % 2, 10] for s in range(6)])
    compared = ranks.compare(accuracies)
    CD = ranks.critical_difference(4, 6)
    for one in accuracies:
        for other in accuracies:
            apart = abs(compared.ranks[one] - compared.ranks[other]) > CD
            assert apart == (compared.nemenyi.loc[one, other] < ranks.ALPHA), (one, other)
    assert compared.apart == 3  # CD is 1.91, and the ranks are 1 to 4


@pytest.mark.parametrize("wrong", [[[90, 80, 70], [50, np.nan, 60]], [[90, 80]], np.empty((0, 3))])
def test_what_cannot_be_ranked_is_refused(wrong):
    with pytest.raises(ValueError, match="ranks need"):
        ranks.compare(pd.DataFrame(wrong, columns=list("ABC")[: np.shape(wrong)[1]]))


def test_a_few_blocks_tell_nothing_however_clear_they_are():
    clear = [[90, 80, 70, 10, 5, 1]]
    few, enough = (ranks.compare(pd.DataFrame(clear * n, columns=list("ABCDEF"))) for n in (4, 5))
    assert few.friedman < 0.01 and not few.tells and (few.nemenyi == 1).all(axis=None)
    assert enough.tells and enough.apart > 0
    one = ranks.compare(pd.DataFrame(clear, columns=list("ABCDEF")))
    assert one.friedman == 1 and not one.tells


def test_equal_accuracies_tell_nothing():
    compared = ranks.compare(frame([[50, 50, 50]] * 8))
    assert compared.ranks.tolist() == [2, 2, 2] and compared.friedman == 1 and not compared.tells


@pytest.fixture
def toy(tmp_path):
    """Adam, EWC and joint training: six seeds of each in class-IL, and a seventh of joint training alone."""
    table, folder = toy_loader(tmp_path)(), tmp_path / "mine"
    runs = runs_of(table, tuple(range(1, 8)))
    for seed in range(1, 8):
        if seed < 7:
            kept(runs["Adam", "class", seed], folder, correct=[*EARLIER, [10, 200 + seed]])
            kept(runs["EWC", "class", seed], folder, correct=[*EARLIER, [50, 200 + seed]])
        kept(runs["Offline", "class", seed], folder, correct=[[50, 150], [None, None], [90, 290]])
    return table, folder, runs


def test_the_diagram(toy):
    table, folder, _ = toy
    found = courses(recorded(table, folder).results)
    drawn = ranks.draw(table, "class", found)
    assert "Friedman's test over 6 seeds finds differences" in drawn.caption and "CD = 1.35" in drawn.caption
    assert "Of 3 pairs 1 are told apart" in drawn.caption
    assert drawn.see == "Offline has the best mean rank, 1.00 of 3 rows over 6 seeds, and cannot be told from EWC."
    (axes,) = drawn.figure.axes
    marks = {line.get_xdata()[0]: line for line in axes.lines if line.get_markersize() == 7}
    assert sorted(marks) == [1, 2, 3]
    assert to_hex(marks[2].get_color()) == to_hex(drawing.STYLES["online_ewc"].colour)
    bars = [sorted(line.get_xdata()) for line in axes.lines if line.get_color() == "k"]
    assert bars == [[1, 2], [2, 3]] and faults(drawn.figure) == []


def test_a_bar_goes_from_its_lowest_rank_to_its_highest_whatever_the_order_of_its_rows(toy, monkeypatch):
    """scikit-posthocs takes the rows of a bar from a set of texts, so their order is another in each process."""
    theirs = ranks.scikit_posthocs.critical_difference_diagram

    def backwards(*arguments, **options):
        artists = theirs(*arguments, **options)
        for (bar,) in artists["crossbars"]:
            (low, high), (y, _) = sorted(bar.get_xdata()), bar.get_ydata()
            bar.set_data([high, low, (low + high) / 2], [y] * 3)
        return artists

    monkeypatch.setattr(ranks.scikit_posthocs, "critical_difference_diagram", backwards)
    (axes,) = ranks.draw(toy[0], "class", courses(recorded(*toy[:2]).results)).figure.axes
    assert [list(line.get_xdata()) for line in axes.lines if line.get_color() == "k"] == [[1, 2], [2, 3]]


def test_a_row_with_a_failed_run_is_left_out_and_named(toy):
    table, folder, runs = toy
    kept(runs["EWC", "class", 3], folder, correct=None, reason="the loss is NaN")
    found = courses(recorded(table, folder).results)
    assert ranks.draw(table, "class", found) is None  # two rows are left
    third = replace(next(course for course in found if course.label == "Adam"), label="Other")
    drawn = ranks.draw(table, "class", [*found, third])
    assert "Left out, as a run failed: EWC." in drawn.caption and "EWC" not in drawn.see


def test_the_blocks_are_the_seeds_that_keep_most_runs(toy):
    table, folder, runs = toy
    for seed in (4, 5, 6):
        (folder / runs["EWC", "class", seed].place).unlink()
    found = courses(recorded(table, folder).results)
    accuracies, left_out = ranks.ranked(found)
    assert list(accuracies.index) == [1, 2, 3] and left_out == []  # two rows share six: all three share three
    drawn = ranks.draw(table, "class", found)
    assert "3 seeds: nothing can be told apart with fewer than 5." in drawn.caption
    assert drawn.see.endswith("but nothing can be told apart.")
    third = replace(next(course for course in found if course.label == "Adam"), label="Other")
    accuracies, left_out = ranks.ranked([*found, third])
    assert len(accuracies) == 6 and [course.label for course in left_out] == ["EWC"]
    assert accuracies["Offline"].tolist() == pytest.approx([(90 + 290 / 3) / 2] * 6)


def test_a_row_with_few_seeds_does_not_cost_the_others_theirs(toy):
    table, folder, _ = toy
    offline = next(course for course in courses(recorded(table, folder).results) if course.label == "Offline")
    several = [replace(offline, label=label) for label in "ABC"]
    for few, shape in ((5, (7, 3)), (6, (6, 4))):  # 3 rows of 7 seeds are 21 runs, 4 rows of 5 are 20, and of 6 are 24
        accuracies, _ = ranks.ranked([*several, replace(offline, label="D", records=offline.records[:few])])
        assert accuracies.shape == shape

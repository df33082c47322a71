"""The scoreboard counts what came of the published cells of each table."""

from dataclasses import replace

import pytest

from paper_tables import render, scoreboard
from tests.support.toy_table import RESULTS, toy_loader


@pytest.fixture
def toy(tmp_path):
    return toy_loader(tmp_path)()


def test_counts_of_a_table(toy):
    """Adam task and class are judged; EWC task is unconfirmed; LwF's two cells have no run."""
    cells = render.frame(toy, RESULTS)
    counts = scoreboard.line(cells, 5, 3, 0.5)
    judged = cells[cells.row == "Adam"].verdict.tolist()
    assert counts["published"] == 5
    assert (counts["runnable"], counts["run"]) == (3, 3)
    assert counts["unconfirmed"] == 1
    assert sum(counts[word] for word in ("reproduced", "differs", "inconclusive", "compatible")) == len(judged) == 2
    for word in judged:
        assert counts[word] == judged.count(word)
    assert counts["no verdict"] == 0 and counts["hours"] == 0.5


def test_a_table_without_runs():
    expected = dict.fromkeys(scoreboard.COLUMNS, 0) | {"published": 7, "runnable": 6}
    assert scoreboard.line(None, 7, 6, 0.0) == expected


def test_all_is_the_sum(toy):
    other = replace(toy, name="other")
    text = scoreboard.markdown([(toy, render.frame(toy, RESULTS), 2.75), (other, None, 0.0)])
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    assert rows[0][:4] == ["table", "published cells", "can be run here", "run"]
    assert [row[0] for row in rows[2:]] == ["toy", "other", "all"]
    assert rows[-1][:4] == ["all", "10", "6", "3"]  # LwF's two cells have no method
    assert [row[-1] for row in rows] == ["core hours", rows[1][-1], "2.8", "0.0", "2.8"]
    assert len({len(line) for line in text.splitlines()[2:]}) == 1


def test_second_hand_numbers_are_counted_where_they_were_run(toy):
    adam, *others = toy.rows
    quoted = {scenario: replace(cell, source="secondary: somebody's copy") for scenario, cell in adam.paper.items()}
    rows = (replace(adam, paper=quoted), *others)
    assert [
        scoreboard.line(render.frame(replace(toy, rows=rows), results), 5, 3, 0.5)["secondhand"]
        for results in (RESULTS, {})
    ] == [2, 0]
    assert scoreboard.line(render.frame(toy, RESULTS), 5, 3, 0.5)["secondhand"] == 0


def test_a_table_may_be_called_all(toy):
    counts = scoreboard.counts([(replace(toy, name="all"), render.frame(toy, RESULTS), 1.0)])
    assert list(counts.index) == ["all", "all"] and list(counts.published) == [5, 5]


def test_a_note_instead_of_a_verdict_is_counted(toy):
    cells = render.frame(toy, RESULTS)
    cells.loc[cells.row == "LwF", "ours_n"] = 3
    assert scoreboard.line(cells, 5, 3, 0.5)["no verdict"] == 2

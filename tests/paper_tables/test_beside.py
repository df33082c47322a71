"""Rows of one's own beside the committed reference rows: intervals, words, and what is trained."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import files, record, sweep
from methods.base.errors import UserError
from paper_tables import beside, declaration
from paper_tables.__main__ import main
from paper_tables.beside import compare, told_apart
from paper_tables.complete import complete
from paper_tables.references import references
from paper_tables.runs import runs_of
from tests.support import sweeps, toy_table

TOTAL = 400  # test examples of a synthetic run
MINE = """
[[row]]
label     = "Mine"
method    = { name = "l2", lam = 3.0 }
train     = { epochs = 1 }
strength  = "none"
scenarios = ["task"]
"""


@pytest.fixture
def toy(tmp_path):
    """The toy table: Adam is one's own row, EWC and Offline are the reference rows."""
    return toy_table.toy_loader(tmp_path)()


def runs(row, scenario, values):
    """A run for each {seed: percent}, the same on both tasks."""
    made = [toy_table.run(seed, value, value) for seed, value in values.items()]
    for one in made:
        one.run = row.run(scenario, one.seed)
    return made


def compared(toy, mine, theirs, other="EWC", scenario="task", **changes):
    """The difference of Adam and another row of these values."""
    rows = {row.label: row for row in toy.rows}
    own, reference = replace(rows["Adam"], scenarios=(scenario,), **changes), rows[other]
    results = {("Adam", scenario): runs(own, scenario, mine), (other, scenario): runs(reference, scenario, theirs)}
    (difference,) = compare((own,), (reference,), results)
    assert (difference.row, difference.against, difference.scenario) == ("Adam", other, scenario)
    return difference


def test_runs_of_the_same_seed_are_pairs(toy):
    mine, theirs = {1: 90.0, 2: 80.0, 3: 91.0, 4: 70.0, 9: 10.0}, {4: 67.0, 3: 89.5, 2: 78.0, 1: 89.0, 11: 99.0}
    found = compared(toy, mine, theirs)
    expected = stats.ttest_rel([mine[seed] for seed in (1, 2, 3, 4)], [theirs[seed] for seed in (1, 2, 3, 4)])
    assert found.n == "4 pairs"
    assert found.difference == pytest.approx((1 + 2 + 1.5 + 3) / 4)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("theirs", [{11: 88.0, 12: 86.0}, {1: 88.0, 12: 86.0, 13: 87.5}])
def test_with_fewer_than_two_pairs_it_is_welch(toy, theirs):
    mine = {1: 90.0, 2: 93.0, 3: 91.0}
    found = compared(toy, mine, theirs)
    expected = stats.ttest_ind(list(mine.values()), list(theirs.values()), equal_var=False)
    assert found.n == f"3 and {len(theirs)}"
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue)


def test_runs_on_another_stream_are_no_pairs(toy):
    ewc = next(row for row in toy.rows if row.label == "EWC")
    other = replace(ewc, stream={**ewc.stream, "tasks": 5})
    assert other.run("task", 1).stream != ewc.run("task", 1).stream
    values = {1: 90.0, 2: 80.0, 3: 91.0}
    results = {("Adam", "task"): runs(toy.rows[0], "task", values), ("EWC", "task"): runs(other, "task", values)}
    (found,) = compare((replace(toy.rows[0], scenarios=("task",)),), (other,), results)
    assert (found.n, found.difference) == ("3 and 3", 0.0) and found.high > 1


def test_equal_differences_have_the_spread_of_one_test_example(toy):
    """Two runs that differ by the same count are no proof: without a least spread their interval would be a point."""
    found = compared(toy, {1: 50.0, 2: 60.0}, {1: 49.75, 2: 59.75})
    half = stats.t.isf(0.025, 1) * (100 / TOTAL) / math.sqrt(2)
    assert found.difference == pytest.approx(0.25)
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half))
    assert compared(toy, {1: 50.0, 2: 60.0}, {1: 50.0, 2: 60.0}).p == 1.0


def test_without_two_runs_on_both_sides_there_is_no_interval(toy):
    for mine, theirs, n in (({1: 90.0}, {1: 80.0}, "1 and 1"), ({1: 90.0}, {2: 80.0, 3: 80.0}, "1 and 2")):
        found = compared(toy, mine, theirs)
        assert (found.n, found.difference) == (n, pytest.approx(10)) and math.isnan(found.low) and math.isnan(found.p)
    found = compared(toy, {1: 90.0}, {})
    assert found.n == "1 and 0" and math.isnan(found.difference)


def test_both_sides_are_measured_as_ones_own_row(toy):
    """The reference row reports micro accuracy; beside a row of average accuracy it is measured by that."""
    rows = {row.label: row for row in toy.rows}
    own, offline = replace(rows["Adam"], scenarios=("class",)), rows["Offline"]
    theirs = runs(offline, "class", {1: 0, 2: 0})
    for one in theirs:
        one.accuracy[-1] = [0.2, 0.4]  # on 100 and 300 examples: 30 and 35 percent
    results = {("Adam", "class"): runs(own, "class", {1: 50.0, 2: 52.0}), ("Offline", "class"): theirs}
    (found,) = compare((own,), (offline,), results)
    assert found.difference == pytest.approx(51 - 30)
    (found,) = compare((replace(own, metric="micro_accuracy"),), (offline,), results)
    assert found.difference == pytest.approx(51 - 35)


def test_an_intransigence_is_against_the_joint_runs_of_its_own_side(toy):
    rows = {row.label: row for row in toy.rows}
    own = replace(rows["Adam"], scenarios=("class",), metric="intransigence", reference="Offline")
    ewc = replace(rows["EWC"], label="EWC (reference)", scenarios=("class",))
    results = {
        ("Adam", "class"): runs(own, "class", {1: 50.0, 2: 52.0}),
        ("EWC (reference)", "class"): runs(ewc, "class", {1: 40.0, 2: 41.0}),
        ("Offline", "class"): runs(rows["Offline"], "class", {1: 90.0, 2: 90.0}),
        ("Offline (reference)", "class"): runs(rows["Offline"], "class", {1: 96.0, 2: 96.0}),
    }
    (found,) = compare((own,), (ewc,), results)
    assert found.difference == pytest.approx((40 + 38) / 2 - (56 + 55) / 2)


def test_failed_runs_are_in_no_pair(toy):
    rows = {row.label: row for row in toy.rows}
    own = replace(rows["Adam"], scenarios=("task",))
    mine = [*runs(own, "task", {1: 50.0, 2: 52.0}), toy_table.failed(3)]
    results = {("Adam", "task"): mine, ("EWC", "task"): runs(rows["EWC"], "task", {1: 50.0, 2: 51.0, 3: 99.0})}
    (found,) = compare((own,), (rows["EWC"],), results)
    assert (found.n, found.difference) == ("2 pairs", pytest.approx(0.5))


def test_holm_by_hand():
    assert told_apart([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]  # limits: 0.0125, 0.0167, 0.025, 0.05
    assert told_apart([0.05]) == [True]
    assert told_apart([0.02, math.nan, 0.04]) == [True, False, True]  # NaN is not counted
    assert told_apart([0.03, 0.001, 0.03]) == [False, True, False]
    assert told_apart([]) == []


def test_among_equal_methods_one_false_word_or_more_is_as_rare_as_said():
    """All differences are 0: of 600 tables of 8 independent comparisons, 5 % hold a false word."""
    draws = np.random.default_rng(1).normal(size=(600, 8, 4))
    tables = [[beside._interval(d.mean(), [d], 0.0)["p"] for d in table] for table in draws]
    false = sum(any(told_apart(ps)) for ps in tables)
    independent = 1 - (1 - 0.05 / 8) ** 8
    assert stats.binomtest(false, 600, independent).pvalue > 1e-4


def test_the_page_says_how_to_read_it(toy):
    d = beside.Difference("Mine", "EWC (reference)", "task", "4 pairs", 2.0, 1.0, 3.0, 0.001)
    lower = replace(d, difference=-2.0, low=-3.0, high=-1.0, p=0.002)
    near = replace(d, low=0.1, high=3.9, p=0.04)
    unsure = replace(d, low=-1.0, high=5.0, p=0.1)
    none = beside.Difference("Mine", "EWC (reference)", "task", "1 and 0")
    page = beside.markdown([d, lower, near, unsure, none])
    rows = [[text.strip() for text in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    assert rows[2] == ["Mine", "EWC (reference)", "task", "+2.00", "[+1.00, +3.00]", "4 pairs", "higher"]
    assert [row[-1] for row in rows[2:]] == ["higher", "lower", "not told apart", "not told apart", "–"]
    flat = " ".join(page.split())
    assert "Holm's correction over the 4 comparisons" in flat and ": 1 of them leave out 0" in flat


def test_only_the_rows_asked_for_are_trained(tmp_path, capsys, monkeypatch):
    """A row of one's own in a copy of a table: the references stand below it, and none is run or written."""
    text = (declaration.FOLDER / "splitdigits.toml").read_text(encoding="utf-8")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "digits.toml").write_text(text + MINE, encoding="utf-8")
    (tmp_path / "tables" / "searches").mkdir()
    shutil.copy(declaration.FOLDER / "searches" / "splitdigits.csv", tmp_path / "tables" / "searches" / "digits.csv")
    table = declaration.load("digits", tmp_path / "tables")
    before = sweeps.versions(files.REFERENCE)
    others = beside.find("reference", table, "mine")
    assert "Mine (reference)" not in {row.label for row in others.rows} and len(others.rows) == len(table.rows) - 1
    mine = table.select("mine")
    monkeypatch.setattr(sweep, "Processes", sweeps.Inline)
    assert complete(mine, "1,2", tmp_path / "results", Path("data"), 1, "cpu", others).failed == []
    assert {Path(name).name.partition("-")[0] for name in sweeps.versions(tmp_path / "results")} == {"l2"}
    assert len(sweeps.versions(tmp_path / "results")) == 2 and sweeps.versions(files.REFERENCE) == before
    page = capsys.readouterr().out
    assert page == (tmp_path / "results" / "tables" / "digits.md").read_text(encoding="utf-8") + "\n"
    rows = [[text.strip() for text in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    assert {"Mine", "EWC (reference)", "Offline (reference)"} <= {row[0] for row in rows}
    (against,) = [row for row in rows if row[:3] == ["Mine", "EWC (reference)", "task"]]
    assert against[5] == "2 pairs"
    kept = references(table.select("ewc")).results["EWC", "task"][:2]
    fresh = [record.load(tmp_path / "results" / run.place) for run in runs_of(mine, (1, 2)).values()]
    percent = [100 * np.mean([one.accuracy[-1].mean() for one in side]) for side in (fresh, kept)]
    assert float(against[3]) == pytest.approx(percent[0] - percent[1], abs=0.005 + 1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "adam", "--beside", "refrence"], "unknown BESIDE 'refrence'; the nearest is 'reference'"),
        (["--beside", "reference"], "BESIDE=reference needs ROWS=<your rows>: they alone are trained"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(tmp_path, capsys, arguments, message):
    assert main(["table", "splitdigits", *arguments, "--results", str(tmp_path / "results")]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {message}") and not (tmp_path / "results").exists()


def test_a_table_without_references_and_a_label_that_is_taken(toy, tmp_path):
    with pytest.raises(UserError, match="table toy has no reference records: leave out BESIDE"):
        beside.find("reference", toy, "adam")
    digits = declaration.load("splitdigits")
    taken = replace(digits, rows=(replace(digits.rows[0], label="SGD (reference)"), *digits.rows[1:]))
    with pytest.raises(UserError, match=r"the row label 'SGD \(reference\)' is that of a reference: rename the row"):
        beside.find("reference", taken, "adam")

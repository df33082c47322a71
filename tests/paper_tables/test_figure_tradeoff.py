"""The figure of the trade-off: its numbers are those of the measures, and strengths 0 and huge do what it claims."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import image

from benchmarks import streams
from benchmarks.learner import start
from benchmarks.run import Run
from benchmarks.trace import Trace
from paper_tables import declaration, drawing
from paper_tables import figure_tradeoff as tradeoff

TRAIN = {"net": "mlp-32", "batch": 32, "epochs": 5}
DATA = Path("none")  # the digits need none


@pytest.fixture(scope="module")
def table():
    whole = declaration.load("splitdigits")
    return replace(whole, rows=tuple(replace(row, train={**row.train, **TRAIN}) for row in whole.rows))


@pytest.fixture(scope="module")
def found(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")

    def again():
        return tradeoff.numbers(table, ("EWC", "SI"), (1e8,), (1,), folder, DATA, 1)

    return again(), again


def accuracy_of(run: Run, tasks: int) -> np.ndarray:
    stream, trace = streams.build(run.stream, run.scenario, run.seed, DATA), Trace()
    start(run.make_method(), [stream], run.train, (run.seed,), "cpu", trace)
    total = [len(test) for test in stream.tests]
    return np.array([[np.nan if c is None else c for c in row] for row in trace.correct]) / np.array(total)


def test_the_numbers_are_those_of_the_measures(table, found):
    rows = {row.label: row for row in table.rows}
    naive = accuracy_of(rows["Adam"].run("domain", 1), 5)
    best = []
    for run in tradeoff.joint_runs(rows["Offline"], 1, DATA):
        best.append(accuracy_of(run, len(best) + 1)[-1, -1])
    assert len(best) == 5
    forgetting = np.mean([max(naive[k, j] for k in range(1, 5)) - naive[5, j] for j in range(4)])
    intransigence = np.mean([best[k] - naive[k + 1, k] for k in range(5)])
    zero = found[0][found[0].strength == 0]
    assert zero.method.tolist() == ["ewc", "si"]
    for line in zero.itertuples():
        assert line.forgetting == pytest.approx(100 * forgetting)
        assert line.intransigence == pytest.approx(100 * intransigence)
        assert line.average_accuracy == pytest.approx(100 * naive[5].mean())


def test_strength_zero_forgets_and_a_huge_one_cannot_learn(found):
    for _, own in found[0].groupby("method"):
        zero, huge = own.iloc[0], own.iloc[-1]
        assert (zero.strength, huge.strength) == (0, 1e8)
        assert zero.forgetting > huge.forgetting + 5 and huge.intransigence > zero.intransigence + 5


def test_the_searched_strength_is_the_ledgers(table, found):
    rows = {row.method["name"]: row for row in table.rows if row.label in ("EWC", "SI")}
    marked = found[0][found[0].searched]
    assert marked.method.tolist() == ["ewc", "si"]
    for line in marked.itertuples():
        assert line.strength == rows[line.method].best(line.option, "domain")


def test_the_joint_runs_are_on_the_streams_own_tasks(table):
    rows = {row.label: row for row in table.rows}
    whole = streams.build(streams.resolve(rows["Offline"].stream), "domain", 1, DATA)
    for k, run in enumerate(tradeoff.joint_runs(rows["Offline"], 1, DATA), start=1):
        tasks = streams.build(run.stream, "domain", 1, DATA).tasks
        assert [task.classes for task in tasks] == [task.classes for task in whole.tasks[:k]]
        assert run.method.name == "joint"


def test_a_rerun_gives_the_same_csv(found):
    first, again = found
    assert again().to_csv(float_format=drawing.DIGITS) == first.to_csv(float_format=drawing.DIGITS)


def test_a_run_that_failed_leaves_a_gap(found):
    assert tradeoff.measures(None, [1.0]) == {}
    gap = found[0].copy()
    gap.loc[gap.strength == 1e8, ["forgetting", "intransigence"]] = np.nan
    assert "nan" in tradeoff.page(gap)
    assert tradeoff.figure(gap)


def test_the_page_and_the_picture(found):
    page = tradeoff.page(found[0])
    assert "| SI " in page and "c = 100" in page
    height, width, _ = image.imread(io.BytesIO(tradeoff.figure(found[0]))).shape
    assert height > 500 and width > 1000


def test_the_committed_page_is_that_of_the_committed_numbers_and_says_what_they_say():
    found = pd.read_csv(drawing.FOLDER / "tradeoff.csv")
    committed = (drawing.FOLDER / "tradeoff.md").read_text(encoding="utf-8")
    pages = [text.partition("\nMade by commit")[0].splitlines() for text in (committed, tradeoff.page(found))]
    texts, tables = ([[line for line in page if line.startswith("|") == kept] for page in pages] for kept in (0, 1))
    assert texts[0] == texts[1]
    numbers = [[float(number) for number in re.findall(r"-?[\d.]+", " ".join(lines[2:]))] for lines in tables]
    np.testing.assert_allclose(*numbers, rtol=0, atol=0.1001)  # one digit after the point, of numbers with four digits
    middle = tradeoff.means(found)
    assert (middle[middle.strength == 0].intransigence <= 0).all()  # as well as joint training
    assert not ((middle.forgetting < 2) & (middle.intransigence < 2)).any()  # no curve reaches the corner
    assert (middle.intransigence < 40).all()  # the curves end well before
    ends = middle.groupby("method").agg({"forgetting": ["first", "last"], "intransigence": ["first", "last"]})
    assert (ends.forgetting["last"] < ends.forgetting["first"]).all()
    assert (ends.intransigence["last"] > ends.intransigence["first"]).all()

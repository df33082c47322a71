"""Learning curves and accuracy matrices: their numbers, and what is left out."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from scipy import stats

from benchmarks import record
from paper_tables import drawing
from paper_tables.figures import curves, matrices
from paper_tables.figures.courses import courses
from paper_tables.references import recorded
from paper_tables.runs import runs_of
from tests.support.records import kept
from tests.support.toy_courses import EARLIER, toy_courses


@pytest.fixture
def toy(tmp_path):
    return toy_courses(tmp_path)


def test_courses_by_hand(toy):
    adam, offline = courses(recorded(*toy).results)
    assert (adam.label, adam.scenario, adam.method, adam.is_joint) == ("Adam", "task", "naive", False)
    assert (adam.seeds, adam.failed, offline.failed) == ((1, 2), (3,), ())
    assert adam.so_far == pytest.approx(np.array([[80, (60 + 90) / 2], [80, (70 + 80) / 2]]))
    assert adam.first == pytest.approx(np.array([[80, 60], [80, 70]]))
    assert adam.final == pytest.approx([75, 75])
    assert adam.measured("forgetting") == pytest.approx([20, 10])
    assert (offline.label, offline.is_joint) == ("Offline", True)
    assert np.isnan(offline.so_far[0, 0]) and offline.so_far[0, 1] == pytest.approx(85)


def test_a_measure_of_the_first_batches_takes_the_curve(toy):
    table, folder = toy
    adam = replace(table.rows[0], train=table.rows[0].train | {"curve": 10})
    run = adam.run("task", 1)
    kept(run, folder, curve=[[50] * 11, [150, *[300] * 10]])
    (course,) = courses({("Adam", "task"): [record.load(folder / run.place)]})
    assert course.measured("lca_10") == pytest.approx([(50 / 2 + 9 * 75 + 75 / 2) / 10])  # a mean of 50 %, then of 75 %


def test_rows_with_the_same_runs_share_a_panel(toy):
    table, folder = toy
    adam = table.rows[0]
    several = [replace(adam, label=f"Adam after {k} tasks") for k in (1, 2)]
    shared, _ = courses(recorded(replace(table, rows=(*several, *table.rows[1:])), folder).results)
    assert shared.label == "Adam" and len(shared.accuracy) == 2


def test_what_the_curves_show(toy):
    table, folder = toy
    for seed in (1, 2):
        kept(runs_of(table, (seed,))["EWC", "task", seed], folder, correct=[*EARLIER, [80, 270]])
    found = [course for course in courses(recorded(table, folder).results) if course.scenario == "task"]
    drawn = curves.draw(table, "task", found)
    adam, ewc = drawn.figure.axes
    assert (adam.get_title(), ewc.get_title()) == ("Adam", "EWC")
    behind, so_far, first = adam.lines
    assert so_far.get_ydata() == pytest.approx([80, 75]) and first.get_ydata() == pytest.approx([80, 65])
    assert behind.get_ydata() == pytest.approx([80, 85]) and to_rgb(behind.get_color()) == to_rgb("0.85")
    assert to_rgb(so_far.get_color()) == to_rgb(drawing.STYLES["naive"].colour)
    assert "85.0 % with EWC, and 75.0 % with Adam" in drawn.see and "80.0 % and 65.0 %" in drawn.see


def test_joint_training_is_a_point(toy):
    offline = courses(recorded(*toy).results)[1]
    drawn = curves.draw(toy[0], "class", [offline])
    (line,) = drawn.figure.axes[0].lines
    assert np.isnan(line.get_ydata()[0]) and line.get_ydata()[1] == pytest.approx(85)
    assert matrices.draw(toy[0], "class", [offline]) is None


def test_the_band_is_the_interval_of_the_mean(toy):
    table, folder = toy
    kept(runs_of(table, (4,))["Adam", "task", 4], folder, correct=[*EARLIER, [90, 300]])
    values = [75, 75, 95]
    band = curves.draw(table, "task", courses(recorded(table, folder).results)[:1]).figure.axes[0].collections[0]
    half = stats.t.isf(0.05, 2) * np.std(values, ddof=1) / np.sqrt(3)
    heights = band.get_paths()[0].vertices
    assert sorted({round(y, 6) for x, y in heights if x == 2}) == pytest.approx([245 / 3 - half, 245 / 3 + half])


def test_what_a_matrix_shows(toy):
    adam, _ = courses(recorded(*toy).results)
    drawn = matrices.draw(toy[0], "task", [adam])
    shown = drawn.figure.axes[0].images[0].get_array()
    assert shown.filled(-1) == pytest.approx(np.array([[80, -1], [65, 85]]))
    assert drawn.figure.axes[-1].get_ylabel() == "accuracy (%)" and "Adam forgets 15.0 points" in drawn.see

"""Learning curves and accuracy matrices: their numbers, what is left out, and that no texts overlap."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from scipy import stats

from benchmarks import record
from paper_tables import declaration, figures
from paper_tables.__main__ import main
from paper_tables.runs import runs_of
from tests.support.records import kept
from tests.support.toy_table import toy_loader

EARLIER = [[50, 150], [80, 150]]  # before training, and after the first of two tasks


@pytest.fixture
def toy(tmp_path):
    """The toy table with two finished runs and a failed one of Adam in task-IL, and a joint run in class-IL."""
    table, folder = toy_loader(tmp_path)(), tmp_path / "mine"
    runs = runs_of(table, (1, 2, 3))
    kept(runs["Adam", "task", 1], folder, correct=[*EARLIER, [60, 270]])
    kept(runs["Adam", "task", 2], folder, correct=[*EARLIER, [70, 240]])
    kept(runs["Adam", "task", 3], folder, correct=None, reason="the loss is NaN")
    kept(runs["Offline", "class", 1], folder, correct=[[50, 150], [None, None], [90, 240]])
    return table, folder


def test_courses_by_hand(toy):
    adam, offline = figures.courses(*toy)
    assert (adam.label, adam.scenario, len(adam.accuracy), adam.is_joint) == ("Adam", "task", 2, False)
    assert adam.so_far == pytest.approx(np.array([[80, (60 + 90) / 2], [80, (70 + 80) / 2]]))
    assert adam.first == pytest.approx(np.array([[80, 60], [80, 70]]))
    assert (offline.label, offline.is_joint) == ("Offline", True)
    assert np.isnan(offline.so_far[0, 0]) and offline.so_far[0, 1] == pytest.approx(85)


def test_rows_with_the_same_runs_share_a_panel(toy):
    table, folder = toy
    adam = table.rows[0]
    several = [replace(adam, label=f"Adam after {k} tasks") for k in (1, 2)]
    shared, _ = figures.courses(replace(table, rows=(*several, *table.rows[1:])), folder)
    assert shared.label == "Adam" and len(shared.accuracy) == 2
    assert figures._common(["Adam BWT", "EWC"]) == "Adam BWT" and figures._common(["One row"]) == "One row"


def test_what_the_curves_show(toy):
    drawn = figures.curves(toy[0], figures.courses(*toy))
    adam, offline = drawn.axes
    assert (adam.get_title(), offline.get_title()) == ("Adam", "Offline")
    so_far, first = adam.lines
    assert so_far.get_ydata() == pytest.approx([80, 75]) and first.get_ydata() == pytest.approx([80, 65])
    assert to_rgb(so_far.get_color()) == pytest.approx(to_rgb(figures.COLOURS["task"]))
    (band,) = adam.collections
    half = stats.t.isf(0.05, 1) * 0.0 / np.sqrt(2)
    assert band.get_datalim(adam.transData).y0 == pytest.approx(75 - half) and len(offline.lines) == 1


def test_the_band_is_the_interval_of_the_mean(toy):
    table, folder = toy
    kept(runs_of(table, (4,))["Adam", "task", 4], folder, correct=[*EARLIER, [90, 300]])
    values = [75, 75, 95]
    band = figures.curves(table, figures.courses(table, folder)).axes[0].collections[0]
    half = stats.t.isf(0.05, 2) * np.std(values, ddof=1) / np.sqrt(3)
    heights = band.get_paths()[0].vertices
    assert sorted({round(y, 6) for x, y in heights if x == 2}) == pytest.approx([245 / 3 - half, 245 / 3 + half])


def test_what_a_matrix_shows(toy):
    adam, _ = figures.courses(*toy)
    drawn = figures.matrices(toy[0], "task", [adam])
    shown = drawn.axes[0].images[0].get_array()
    assert shown.filled(-1) == pytest.approx(np.array([[80, -1], [65, 85]]))
    assert drawn.axes[-1].get_ylabel() == "accuracy (%)"


def test_files_of_a_table(toy, tmp_path):
    table, folder = toy
    files = figures.write(table, folder, tmp_path / "out")
    assert [file.name for file in files] == [
        f"toy-{n}.{f}" for n in ("curves", "matrices-task") for f in ("png", "svg")
    ]
    before = [file.read_bytes() for file in files]
    figures.write(table, folder, tmp_path / "out")
    assert [file.read_bytes() for file in files] == before
    assert figures.write(table, tmp_path / "nothing", tmp_path / "none") == [] and not (tmp_path / "none").exists()


def test_no_record_is_a_line(tmp_path, capsys):
    assert main(["figures", "--table", "splitdigits", "--results", str(tmp_path)]) == 2
    assert "no finished run of splitdigits is recorded" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["splitmnist", "gem-mnist-rotations", "si-splitmnist"])
def test_no_text_covers_another(name):
    table = declaration.load(name)
    found = figures.courses(table, record.REFERENCE)
    drawn = [figures.curves(table, found)]
    for scenario in table.scenarios:
        if several := [c for c in found if c.scenario == scenario and not c.is_joint]:
            drawn.append(figures.matrices(table, scenario, several))
    for figure in drawn:
        figure.canvas.draw()
        boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure) if t.get_text().strip()]
        assert len(boxes) > 10
        for (one, a), (other, b) in combinations(boxes, 2):
            assert not (a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1), (one, other)
        width, height = figure.canvas.get_width_height()
        assert all(b.x0 >= -1 and b.x1 <= width + 1 and b.y0 >= -1 and b.y1 <= height + 1 for _, b in boxes)


def texts(figure):
    """The texts that are drawn: a tick outside of its axis is not."""
    found = [figure._suptitle, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in (axes for axes in figure.axes if axes.get_visible()):
        found += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [label for tick in ticks for label in (tick.label1, tick.label2) if label.get_visible()]
    return found

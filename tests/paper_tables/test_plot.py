"""The figure of a table: a panel for each measure, rows of the same runs on a line, rows after k tasks as a curve."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from paper_tables import alike, declaration, drawing, plot, render
from paper_tables.references import references
from tests.support.pictures import faults


@pytest.fixture
def drawn(monkeypatch):
    """A function: a table -> its frame by the committed records, and its figure."""
    kept = []
    monkeypatch.setattr(plot.drawing, "png", lambda figure, dpi: kept.append(figure) or b"")

    def draw(name):
        table = declaration.load(name)
        cells = render.frame(table, references(table).results)
        plot.figure(table, cells)
        return table, cells, kept[-1]

    return draw


def shown(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def test_a_panel_for_each_measure_and_a_curve_for_each_method(drawn):
    table, cells, figure = drawn("rotatedmnist")
    assert len(table.rows) == 36
    accuracy, transfer, *curves = shown(figure)
    assert accuracy.get_xlabel() == "average accuracy (%)" and transfer.get_xlabel() == "backward transfer (points)"
    names = ["Baseline", "EWC", "MAS", "SI", "RWalk", "SCP"]
    assert [label.get_text() for label in accuracy.get_yticklabels()] == names
    assert accuracy.get_xlim()[0] > 0 and transfer.get_xlim()[1] < 0  # neither is on the other's axis
    assert [axes.get_title() for axes in curves] == names
    mas = cells[cells.row.str.startswith("MAS after")]
    line = curves[2].lines[0]
    assert line.get_ydata() == pytest.approx(mas.ours_mean) and line.get_color() == drawing.STYLES["mas"].colour
    assert line.get_xdata() == pytest.approx(np.arange(1, 5) - plot.APART)
    half = stats.t.isf(0.05, 2) * mas.ours_std.iloc[3] / np.sqrt(3)
    band = curves[2].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(mas.ours_mean.iloc[3] - half)
    assert faults(figure) == []


def test_the_curve_of_a_table_of_curves_alone(drawn):
    _, cells, figure = drawn("si-splitmnist")
    assert len(shown(figure)) == 4 and all(axes.get_xlabel() == "tasks learnt" for axes in shown(figure))
    published = [line for line in shown(figure)[0].lines if line.get_marker() == "D"]
    assert len(published) == cells[cells.row.str.match("Fine-tuning after")].paper_mean.notna().sum() == 5
    assert faults(figure) == []


@pytest.mark.parametrize("name", ["gem-mnist-rotations", "agem-permutedmnist", "splitmnist", "mas-splitmnist"])
def test_every_cell_is_drawn_and_no_text_covers_another(drawn, name):
    _, cells, figure = drawn(name)
    diamonds = [line for axes in shown(figure) for line in axes.lines if line.get_marker() == "D"]
    assert len(diamonds) == cells.paper_mean.notna().sum()
    ours = [
        line for axes in shown(figure) for line in axes.lines if line.get_markersize() == 6 and line not in diamonds
    ]
    assert len([line for line in ours if line.get_marker() not in ("|", "None")]) == (cells.ours_n > 0).sum()
    labels = [axes.get_xlabel() for axes in shown(figure)]
    assert all(label.endswith(("(%)", "(points)")) for label in labels)
    assert all(np.ptp(axes.get_xlim()) >= drawing.LEAST - 1e-9 for axes in shown(figure))
    assert faults(figure) == []


def test_the_number_of_failed_runs_covers_no_mark_of_ours(drawn):
    _, cells, figure = drawn("agem-permutedmnist")
    assert (cells[cells.scenario == "task"].failed == 1).all()
    figure.draw_without_rendering()  # puts all in its place
    for axes in shown(figure):
        for text in (text for text in axes.texts if text.get_text().startswith("failed")):
            box = text.get_window_extent(figure.canvas.get_renderer())
            (mark,) = (line for line in axes.lines if line.get_marker() == plot.STYLES["inconclusive"][1])
            assert not box.contains(*axes.transData.transform(mark.get_xydata()[0]))


def test_rows_of_the_same_runs_are_a_group():
    groups = {
        name: [row.label for row in rows] for name, rows in alike.groups(declaration.load("rotatedmnist")).items()
    }
    assert list(groups) == ["Baseline", "EWC", "MAS", "SI", "RWalk", "SCP"]
    assert groups["SI"] == ["SI", "SI BWT", *(f"SI after {k}" for k in range(1, 5))]
    assert list(alike.groups(declaration.load("si-splitmnist"))) == [
        *("Fine-tuning", "SI", "Fine-tuning with reset", "SI with reset")
    ]
    table = declaration.load("splitmnist")
    twice = [table.rows[0], replace(table.rows[0], label="Adam again")]
    assert list(alike.groups(replace(table, rows=tuple(twice)))) == ["Adam", "Adam again"]
    assert alike.common(["Adam BWT", "EWC"]) == "Adam BWT" and alike.common(["One row"]) == "One row"


@pytest.mark.parametrize("name", declaration.names())
def test_a_group_measures_nothing_twice(name):
    groups = alike.groups(declaration.load(name))
    assert sum(map(len, groups.values())) == len(declaration.load(name).rows)
    for rows in groups.values():
        measured = [(row.metric, scenario) for row in rows for scenario in row.scenarios]
        assert len(set(measured)) == len(measured)

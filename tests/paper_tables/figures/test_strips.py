"""Strip plots: every run has its mark, and a seed its height."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from paper_tables import drawing
from paper_tables.figures import strips
from paper_tables.figures.courses import courses
from paper_tables.references import recorded
from paper_tables.runs import runs_of
from tests.support.records import kept
from tests.support.toy_courses import EARLIER, toy_courses


def test_every_run_has_a_mark(tmp_path):
    table, folder = toy_courses(tmp_path)
    runs = runs_of(table, (1, 2, 4))
    for seed, right in ((1, 60), (4, 80)):
        kept(runs["EWC", "task", seed], folder, correct=[*EARLIER, [right, 270]])
    drawn = strips.draw(table, courses(recorded(table, folder).results))
    task, joint = drawn.figure.axes
    adam, ewc = task.lines
    assert adam.get_xdata() == pytest.approx([75, 75]) and ewc.get_xdata() == pytest.approx([75, 85])
    assert to_rgb(ewc.get_color()) == to_rgb(drawing.STYLES["online_ewc"].colour)
    (a1, a2), (e1, e4) = adam.get_ydata() - 0, ewc.get_ydata() - 1
    assert a1 == pytest.approx(e1) and len({round(y, 9) for y in (a1, a2, e4)}) == 3
    assert all(np.abs([a1, a2, e1, e4]) < 0.5) and joint.get_title() == "class-incremental"
    ticks = [segment[0][0] for lines in task.collections for segment in lines.get_segments()]
    assert ticks == pytest.approx([75, 80])
    assert "Failed runs are left out: Adam task 1." in drawn.caption
    assert "EWC (task-incremental) lie farthest apart: from 75.0 to 85.0 % over 2 seeds" in drawn.see


def test_one_run_a_row_is_no_strip(tmp_path):
    table, folder = toy_courses(tmp_path)
    found = courses(recorded(table, folder).results)
    assert strips.draw(table, [replace(course, records=course.records[:1]) for course in found]) is None

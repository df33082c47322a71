"""Forgetting against intransigence: both by hand, and which joint run is the reference."""

from dataclasses import replace

import numpy as np
import pytest

from paper_tables.figures import plane
from paper_tables.figures.courses import courses
from paper_tables.references import recorded
from paper_tables.runs import runs_of
from tests.support.records import kept
from tests.support.toy_courses import EARLIER, JOINT, toy_courses


@pytest.fixture
def toy(tmp_path):
    """The toy courses, with class-IL runs of Adam (seeds 1, 2, 3) and of joint training (seeds 1, 2)."""
    table, folder = toy_courses(tmp_path)
    runs = runs_of(table, (1, 2, 3))
    for seed, last in ((1, [60, 270]), (2, [70, 210]), (3, [0, 0])):
        kept(runs["Adam", "class", seed], folder, correct=[*EARLIER, last])
    kept(runs["Offline", "class", 2], folder, correct=[*JOINT, [90, 270]])
    return table, courses(recorded(table, folder).results)


def find(found, label, scenario):
    return next(course for course in found if (course.label, course.scenario) == (label, scenario))


def test_both_measures_by_hand(toy):
    table, found = toy
    # joint training has 80 and 90 % on the last task, the row 90 and 70 %; it fell from 80 to 60 and 70 % on the first
    at = plane.places(find(found, "Adam", "class"), found)
    assert at == pytest.approx(np.array([(80 - 90, 80 - 60), (90 - 70, 80 - 70)]))
    drawn = plane.draw(table, found)
    runs, means = drawn.figure.axes[0].lines[2:]
    assert runs.get_xydata() == pytest.approx(at)
    assert means.get_xydata() == pytest.approx(np.array([(5, 15)]))
    assert "row Offline, same seed" in drawn.caption and "means over 2 seeds" in drawn.caption
    assert "forgetting: Adam, 5.0 and 15.0 points." in drawn.see


def test_no_joint_training_no_mark(toy):
    table, found = toy
    assert len(plane.places(find(found, "Adam", "task"), found)) == 0  # joint training is run class-incremental alone
    assert len(plane.places(find(found, "Offline", "class"), found)) == 0
    alone = [course for course in found if course.label == "Adam"]
    assert plane.draw(table, alone) is None


def test_joint_training_of_another_network_is_no_reference(toy):
    _, found = toy
    joint = find(found, "Offline", "class")
    run = joint.records[0].run
    other = replace(joint.records[0], run=replace(run, train=replace(run.train, net="mlp-16")))
    assert plane.reference(find(found, "Adam", "class"), [replace(joint, records=(other,))]) is None

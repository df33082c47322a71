"""Records of the toy table, with numbers that can be checked by hand."""

from paper_tables.runs import runs_of
from tests.support.records import kept
from tests.support.toy_table import toy_loader

EARLIER = [[50, 150], [80, 150]]  # before training, and after the first of two tasks
JOINT = [[50, 150], [None, None]]


def toy_courses(tmp_path):
    """The toy table, and a folder with two finished runs and a failed one of Adam in task-IL, and joint class-IL runs.

    R of Adam in task-IL, in percent: 80 after the first task, then 60, 90 with seed 1, and 70, 80 with seed 2.
    """
    table, folder = toy_loader(tmp_path)(), tmp_path / "mine"
    runs = runs_of(table, (1, 2, 3))
    kept(runs["Adam", "task", 1], folder, correct=[*EARLIER, [60, 270]])
    kept(runs["Adam", "task", 2], folder, correct=[*EARLIER, [70, 240]])
    kept(runs["Adam", "task", 3], folder, correct=None, reason="the loss is NaN")
    kept(runs["Offline", "class", 1], folder, correct=[*JOINT, [90, 240]])
    return table, folder

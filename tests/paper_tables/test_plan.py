"""PLAN=1: what is to do, by the reference records, and nothing is trained, written or moved."""

from dataclasses import replace

import pytest

from benchmarks import data, files
from methods.base.errors import UserError
from paper_tables.__main__ import main
from paper_tables.plan import plan
from paper_tables.runs import runs_of
from tests.support.records import kept
from tests.support.toy_table import toy_loader


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy table. Its references: Adam took 40 s, 4 s and 4 s in task-IL, and EWC 60 s in class-IL."""
    table, folder = toy_loader(tmp_path)(), tmp_path / "reference"
    runs = runs_of(table, (1, 2, 3))
    monkeypatch.setattr(files, "REFERENCE", folder)
    for seed, seconds in ((1, 40.0), (2, 4.0), (3, 4.0)):
        kept(runs["Adam", "task", seed], folder, seconds={"training": seconds - 1, "evaluation": 1.0})
    kept(runs["EWC", "class", 2], folder, seconds={"training": 60.0}, peak_memory_mb=1500.0)
    kept(runs["EWC", "task", 2], folder, reason="the loss is NaN", correct=None)
    return table, folder


def test_what_is_to_do(toy, tmp_path):
    table, _ = toy
    text = plan(table, "5", tmp_path / "mine", tmp_path, 2)
    assert text.splitlines() == [
        "toy: 25 of 25 runs to do, 2 at a time.",
        "Time: about 2.7 minutes for 10 runs (5.3 minutes of one core), by the median of their reference records.",
        "Memory: up to 1.5 GB for a run, 3.0 GB for 2.",
        "No reference record tells how long these take: Adam (class), EWC (task), Offline (class).",
        "Data: digits comes with scikit-learn.",
    ]
    assert "Memory: up to 1.5 GB for a run, 37.5 GB for 25." in plan(table, "5", tmp_path / "mine", tmp_path, 64)


def test_what_is_done_is_not_planned_and_nothing_is_moved(toy, tmp_path):
    table, _ = toy
    mine, runs = tmp_path / "mine", runs_of(table, (1, 2))
    pixels = data.fingerprint("digits", tmp_path)
    for run in runs.values():
        kept(run, mine, data=pixels)
    assert plan(table, "2", mine, tmp_path, 1) == "toy: nothing to do, all of its 10 runs are done."
    kept(runs["Adam", "task", 1], mine, data=pixels, digest="0" * 16)
    (mine / runs["Adam", "task", 2].place).write_text("{", encoding="utf-8")
    before = sorted(mine.rglob("*"))
    lines = plan(table, "2", mine, tmp_path, 3).splitlines()
    assert lines[0] == "toy: 2 of 10 runs to do, 3 at a time."
    assert lines[1].startswith("Time: about 4 s for 2 runs (8 s of one core)")
    assert sorted(mine.rglob("*")) == before


def test_a_damaged_reference_is_named(toy, tmp_path):
    table, folder = toy
    (folder / runs_of(table, (2,))["Adam", "task", 2].place).write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"committed records of toy cannot be read: .*-seed2\.json is not a record"):
        plan(table, "5", tmp_path / "mine", tmp_path, 2)


def test_auto_plans_its_first_look(toy, tmp_path):
    table, _ = toy
    assert plan(replace(table, looks=3), "auto", tmp_path / "mine", tmp_path, 1).startswith("toy: 50 of 50 runs to do")


def test_what_the_command_would_refuse_is_not_planned(toy, tmp_path):
    with pytest.raises(UserError, match="judged once it has all of them: SEEDS="):
        plan(replace(toy[0], same_orders=True), "auto", tmp_path / "mine", tmp_path, 1)


def test_the_command_trains_nothing(tmp_path, capsys):
    arguments = ["--plan", "--seeds", "2", "--rows", "ewc", "--results", str(tmp_path / "r")]
    assert main(["table", "splitmnist", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("splitmnist: 6 of 6 runs to do") and lines[1].startswith("Time: about ")
    assert not (tmp_path / "r").exists()

"""The regression check on hand-made records, and the committed references: they render to the committed tables."""

import re
from dataclasses import replace

import pytest

from benchmarks import record
from benchmarks.record import Record
from paper_tables import declaration, references, regress, runs

DECLARED = declaration.load("splitdigits").select("adam")
RUNS = runs.runs_of(DECLARED, (1, 2))
MACHINE = {"cpu": "a", "capability": "b", "device": "cpu", "threads": 1}


def made(run, right, **changes):
    """A record in which `right` of 100 test examples of every task are right at the end."""
    rows = [[50] * 5] * 5 + [[right] * 5]
    fields = {
        "schema": record.SCHEMA,
        "run": run,
        "reason": None,
        "correct": rows,
        "total": [100] * 5,
        "n_parameters": 1,
        "seeds": {},
        "seconds": {},
        "peak_memory_mb": 1.0,
        "versions": {"torch": "1", "numpy": "1", "python": "3.11.1"},
        "machine": MACHINE,
        "commit": "c",
        "data": "d",
        "digest": "e",
    }
    return Record(**fields | changes)


def states(right, elsewhere=False, missing=False, failed=False):
    """What is said of the three cells when the references have 80 right and the fresh runs `right`."""
    old = [None if missing else made(run, 80) for run in RUNS.values()]
    changes = {"machine": {**MACHINE, "cpu": "other"}} if elsewhere else {}
    new = [made(run, right, **changes) for run in RUNS.values()]
    if failed:
        new[0] = replace(new[0], reason="the loss is not finite", correct=None)
    return [cell.state for cell in regress.compare(DECLARED, RUNS, old, new)]


def test_on_the_machine_of_the_reference_every_count_must_be_equal():
    assert states(80) == ["same"] * 3
    assert states(81) == states(79) == ["MOVED"] * 3


def test_elsewhere_a_cell_may_move_by_the_tolerance_in_both_directions():
    assert states(80, elsewhere=True) == ["same"] * 3
    step = int(regress.TOLERANCE)
    assert states(80 + step, elsewhere=True) == states(80 - step, elsewhere=True) == ["within tolerance"] * 3
    assert states(81 + step, elsewhere=True) == states(79 - step, elsewhere=True) == ["MOVED"] * 3


def test_other_versions_of_the_libraries_are_another_machine():
    old = [made(run, 80) for run in RUNS.values()]
    for name, state in (("torch", "within tolerance"), ("numpy", "within tolerance"), ("python", "MOVED")):
        versions = {**old[0].versions, name: "2"}
        new = [made(run, 81, versions=versions) for run in RUNS.values()]
        assert {cell.state for cell in regress.compare(DECLARED, RUNS, old, new)} == {state}


def test_missing_references_and_failed_runs_are_said():
    assert states(80, missing=True) == ["no reference"] * 3
    assert states(80, failed=True) == ["MOVED", "same", "same"]


def test_one_seed_that_moves_is_enough():
    old = [made(run, 80) for run in RUNS.values()]
    new = [made(run, 81 if key == ("Adam", "class", 2) else 80) for key, run in RUNS.items()]
    cells = regress.compare(DECLARED, RUNS, old, new)
    assert [(cell.scenario, cell.state) for cell in cells] == [("task", "same"), ("domain", "same"), ("class", "MOVED")]
    assert cells[2].new - cells[2].old == pytest.approx(0.5)


def test_every_run_of_the_regression_has_a_reference():
    declared = declaration.load(regress.NAME)
    assert set(regress.SEEDS) <= set(references.referenced_seeds(declared))
    assert all(references.references(runs.runs_of(declared, regress.SEEDS)))


def test_the_committed_references_render_to_the_committed_tables(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text(references.README.read_text(encoding="utf-8"), encoding="utf-8")
    committed = references.README
    monkeypatch.setattr(references, "README", readme)
    names = references.render_references(tmp_path / "tables")
    assert "splitdigits" in names and "splitmnist" in names
    for name in names:
        for kind in ("md",) if name == "scoreboard" else ("md", "tex", "csv"):
            new = tmp_path / "tables" / f"{name}.{kind}"
            assert new.read_bytes() == (record.ROOT / "results" / "tables" / new.name).read_bytes()
    assert readme.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")
    board = (tmp_path / "tables" / "scoreboard.md").read_text(encoding="utf-8")
    assert board.splitlines()[-1] in readme.read_text(encoding="utf-8")


def test_the_readme_links_to_the_long_table_and_its_picture():
    text = references.README.read_text(encoding="utf-8")
    for file in re.findall(r"\]\(([^):]+)\)", text):
        assert (record.ROOT / file).exists(), file
    assert "](results/tables/splitmnist.md)" in text and "](results/tables/splitmnist.png)" in text
    assert len(text.splitlines()) <= 150

"""Runs that fail or cannot be done: the table says so, and the exit status tells divergence from the rest."""

import pytest

from benchmarks import sweep
from benchmarks.record import load
from paper_tables import complete, declaration
from paper_tables.__main__ import main
from tests.support.sweeps import Inline
from tests.support.toy_table import toy_loader

DIVERGES = ('method = { name = "naive" }', 'method = { name = "naive" }\ntrain = { optimizer = "sgd", lr = 1e30 }')
TOO_DEEP = ('"mlp-8"', '"cnn-8-8-8-8-8"')  # four poolings leave nothing of 8x8 pixels: known when the net is built
NO_CLASSES = ("tasks = 2 }", "tasks = 3 }")


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """A function: changes of the toy table -> (status, output, errors) of the command on its row Adam."""
    toy = toy_loader(tmp_path)
    monkeypatch.setattr(declaration.load, "__defaults__", (toy.folder,))
    monkeypatch.setattr(sweep, "Processes", Inline)

    def run(*changes):
        toy(*changes)
        arguments = ["--rows", "adam", "--seeds", "1", "--jobs", "1", "--results", str(tmp_path / "results")]
        status = main(["table", "toy", *arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err.splitlines()

    run.folder = tmp_path / "results"
    return run


def test_divergence_is_a_result(table):
    for _ in range(2):  # trained, then read back
        status, output, errors = table(DIVERGES)
        assert status == 0 and "failed 1 of 1" in output
        assert "Failed, Adam: a parameter is not finite after task 1." in " ".join(output.split())
        assert not [line for line in errors if "remove" in line]


def test_another_failure_is_said_with_its_file_and_in_the_status(table):
    for _ in range(2):
        status, output, errors = table(TOO_DEEP)
        assert status == 1 and "failed 1 of 1" in output
        assert "Failed, Adam: 4 poolings leave nothing of images of (1, 8, 8): use fewer layers." in output
        lines = [line for line in errors if line.startswith("failed: ") and line.endswith(" to run it again")]
        assert [line.split(":")[1].strip() for line in lines] == ["naive task seed 1", "naive class seed 1"]
        files = [line.split("; remove ")[1].removesuffix(" to run it again") for line in lines]
        assert [load(table.folder / file).reason is None for file in files] == [False, False]


def test_a_table_that_works_has_status_0(table):
    status, output, _ = table()
    assert status == 0 and "failed" not in output


def test_what_is_refused_before_training_names_its_rows(table):
    status, output, errors = table(NO_CLASSES)
    assert (status, output) == (2, "")
    assert errors[-1].startswith("error: toy.toml, row 'Adam': naive ")
    assert "tasks must divide the 10 classes, got 3" in errors[-1]
    assert list(table.folder.rglob("*.json")) == []


@pytest.mark.parametrize("lam", ["[]", "[1, 2, 3]"])
def test_a_list_of_strengths_of_another_length_than_the_tasks_is_refused_before_training(table, lam):
    row = f'label  = "Adam"\nstrength = "none"\nmethod = {{ name = "ewc", lam = {lam} }}'
    status, output, errors = table(('label  = "Adam"\nmethod = { name = "naive" }', row))
    assert (status, output) == (2, "")
    assert errors[-1].startswith("error: toy.toml, row 'Adam': ewc ") and f"ewc: lam = {lam} has " in errors[-1]
    assert errors[-1].endswith("for 2 tasks: give 1, one for each task but the last, or one number for all")
    assert list(table.folder.rglob("*.json")) == []


def test_every_row_of_a_refused_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "Processes", Inline)
    same = '[[row]]\nlabel = "Adam again"\nmethod = { name = "naive" }\n\n[[row]]\nlabel  = "Adam"'
    declared = toy_loader(tmp_path)(NO_CLASSES, ('[[row]]\nlabel  = "Adam"', same)).select("naive")
    with pytest.raises(sweep.UserError, match="row 'Adam again' and 'Adam': naive"):
        complete.complete(declared, "1", tmp_path / "results", tmp_path, 1, "cpu")


def test_html_in_a_reason_is_escaped(table, monkeypatch):
    def fail(*_):
        raise TypeError("<lambda>() takes 0 positional arguments")

    monkeypatch.setattr("benchmarks.worker.start", fail)
    status, output, _ = table()
    assert status == 1 and r"TypeError: \<lambda>() takes" in " ".join(output.split())

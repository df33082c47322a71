"""The regression command: what it reports and in which forms, what it accepts; and the committed references."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from benchmarks import files, record
from benchmarks.files import ROOT
from benchmarks.record import Record
from methods.base.errors import UserError
from paper_tables import declaration, references, regress
from paper_tables.__main__ import main

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
        "versions": {"torch": "1", "numpy": "1", "scipy": "1", "python": "3.11.1"},
        "machine": MACHINE,
        "commit": "c",
        "data": "d",
        "digest": "e",
    }
    return Record(**fields | changes)


@pytest.fixture
def gate(tmp_path, monkeypatch, capsys):
    """A function: what each run gives (label -> right answers, None: it failed) -> (exit status, output)."""
    table = declaration.load("splitdigits").select("adam,sgd")
    monkeypatch.setattr(regress.declaration, "load", lambda name: table)
    given = {}

    def kept(runs, folder, root, *rest):
        labels = {run: label for (label, _, _), run in regress.gate_runs(regress.gated(table)).items()}
        return SimpleNamespace(records=[made(run, given.get(labels[run], 80)) for run in runs])

    monkeypatch.setattr(regress.data, "is_there", lambda name, root: False)
    monkeypatch.setattr(regress, "sweep", lambda *_: [])
    monkeypatch.setattr(regress, "survey", kept)

    def run(reason=None, files=None, cpu="a", threads=1, **right):
        given.clear()
        given.update({label.replace("_", " "): value for label, value in right.items()})
        monkeypatch.setattr(regress.machine, "machine", lambda device: {**MACHINE, "cpu": cpu, "threads": threads})
        status = regress.regress("splitdigits", tmp_path, 1, "cpu", reason, files or {}, tmp_path)
        return status, capsys.readouterr()

    run.folder = tmp_path / "splitdigits"
    return run


def test_an_interrupted_comparison_keeps_its_runs_and_the_next_one_is_fresh(gate, tmp_path, monkeypatch):
    monkeypatch.setattr(regress, "LOCAL", tmp_path / "local")
    held = []

    def sweep(runs, folder, *_):
        """Note the runs that the folder held, as a sweep that is interrupted twice."""
        held.append(sorted(file.name for file in folder.iterdir()))
        (folder / f"run{len(held)}").touch()
        if len(held) < 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(regress, "sweep", sweep)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            gate()
    assert gate()[0] == 1  # nothing is a reference yet
    gate()
    assert held == [[], ["run1"], ["run1", "run2"], []]


def test_runs_of_an_interrupted_comparison_are_of_one_machine_and_of_one_process(gate, tmp_path, monkeypatch):
    monkeypatch.setattr(regress, "LOCAL", tmp_path / "local")
    folders = []

    def sweep(runs, folder, *_):
        folders.append(folder)
        with pytest.raises(UserError, match="another process compares splitdigits"):
            gate(cpu=cpu)
        raise KeyboardInterrupt

    monkeypatch.setattr(regress, "sweep", sweep)
    for cpu in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            gate(cpu=cpu)
    assert len(set(folders)) == len(folders) == 2


def test_nothing_is_a_reference_until_it_is_accepted(gate):
    status, shown = gate()
    assert status == 1 and "6 no reference" in shown.out and not gate.folder.exists()
    assert gate(reason="first")[0] == 0
    status, shown = gate()
    assert status == 0 and "6 cells against references of a machine like this one: 6 same" in shown.out


def test_a_reference_without_a_number_is_accepted_in_so_many_words(gate, tmp_path, capsys):
    key, failed = ("Adam", "task", 1), regress.Outcome("average_accuracy", None, None, "the loss is NaN")
    gate()
    regress.accept("splitdigits", {key: failed}, [], "cpu", "first", tmp_path)
    assert "runs without a number in the new reference: 1, first Adam, task, seed 1" in capsys.readouterr().err


def test_a_label_may_hold_brackets_but_not_the_end_of_the_gates_own_rows(tmp_path, monkeypatch, capsys):
    table = declaration.load("splitdigits").select("adam")
    taken = replace(table, rows=(replace(table.rows[0], label="Stay, on MNIST"),))
    monkeypatch.setattr(regress.declaration, "load", lambda name: taken)
    with pytest.raises(UserError, match="the label 'Stay, on MNIST' ends as those of the gate's own rows"):
        regress.regress("mine", tmp_path, 1, "cpu", None, {}, tmp_path)
    cell = regress.Cell("Stay [/] [exact]", "task", 1.0, 1.0, 0, 1, "same")
    regress._print("mine", [cell], [], True)
    assert "Stay [/] [exact]" in capsys.readouterr().out


def test_what_moves_fails_in_both_directions_and_is_named(gate):
    gate(reason="first")
    for right in (79, 81):
        status, shown = gate(Adam=right)
        assert status == 1 and "3 MOVED, 3 same" in shown.out
        assert "Adam, class: MOVED: 2 of 2 runs differ on a machine like the reference's" in shown.out


def test_another_machine_is_judged_by_the_tolerance(gate):
    gate(reason="first")
    for right, state in ((80, "6 same"), (81, "within tolerance"), (82, "MOVED"), (78, "MOVED")):
        status, shown = gate(cpu="other", Adam=right, SGD=right)
        assert state in shown.out and status == int(state == "MOVED")


def test_a_machine_with_more_cores_is_of_the_same_kind(gate):
    gate(reason="first")
    assert "a machine like this one" in gate(threads=16)[1].out


def test_new_rows_do_not_drop_references_of_other_machines(gate, monkeypatch):
    gate(reason="first")
    monkeypatch.setattr(regress.data, "is_there", lambda name, root: True)
    gate(reason="with MNIST", cpu="other")
    assert len(list(gate.folder.glob("*.json"))) == 2
    assert "6 new cells" in (gate.folder / "LEDGER.md").read_text(encoding="utf-8")


def test_accepting_notes_the_reason_and_drops_references_of_other_code(gate):
    gate(reason="first")
    gate(reason="the same on another machine", cpu="other")
    assert len(list(gate.folder.glob("*.json"))) == 2
    gate(reason="lam is halved", Adam=70)
    assert len(list(gate.folder.glob("*.json"))) == 1  # the other kind's is of the old code
    ledger = (gate.folder / "LEDGER.md").read_text(encoding="utf-8")
    assert [line.partition(": ")[2].partition(" (")[0] for line in ledger.splitlines() if line.startswith("- ")] == [
        "first",
        "the same on another machine",
        "lam is halved",
    ]
    assert "Adam task 80.00 -> 70.00" in ledger and "nothing moved" in ledger
    assert gate(Adam=70)[0] == 0


def test_a_reference_changes_for_a_reason_only(gate, capsys, monkeypatch):
    trained = []
    monkeypatch.setattr(regress, "sweep", lambda *_: trained.append(1))
    with pytest.raises(UserError, match="needs a reason"):
        gate(reason="  ")
    assert not trained  # not after minutes of runs
    for arguments in (["--accept"], ["--reason", "x"]):
        assert main(["regress", *arguments]) == 2
        assert "--accept and --reason" in capsys.readouterr().err
    assert not gate.folder.exists()


def test_the_rows_on_mnist_are_compared_where_mnist_is(gate, monkeypatch):
    monkeypatch.setattr(regress.data, "is_there", lambda name, root: name == "mnist")
    gate(reason="first")
    status, shown = gate(**{"Adam, on MNIST": 70})
    assert status == 1 and "12 cells against references of a machine like this one: 9 same, 3 MOVED" in shown.out
    assert "Adam, on MNIST, class: MOVED" in shown.out
    monkeypatch.setattr(regress.data, "is_there", lambda name, root: False)
    status, shown = gate()
    assert status == 0 and "6 cells" in shown.out and "6 runs on it are not compared (make data-mnist)" in shown.out
    with pytest.raises(UserError, match="hold runs on MNIST, which is not in"):
        gate(reason="without MNIST")  # would lose them


def test_the_reports_say_what_the_table_says(gate, tmp_path):
    gate(reason="first")
    files = {"junit": tmp_path / "out" / "gate.xml", "json": tmp_path / "gate.json"}
    for right, failures in ((80, 0), (70, 3)):
        gate(files=files, Adam=right)
        suite = ElementTree.parse(files["junit"]).getroot()
        assert (suite.get("tests"), suite.get("failures")) == ("6", str(failures))
        failed = [case.get("classname") for case in suite.iter("testcase") if case.find("failure") is not None]
        assert failed == ["splitdigits.Adam"] * failures
        found = json.loads(files["json"].read_text(encoding="utf-8"))
        assert found["passes"] == (failures == 0) and len(found["cells"]) == 6
        assert [c["shift"] for c in found["cells"] if not c["passes"]] == [-10.0] * failures


def test_github_gets_annotations_and_a_summary(gate, tmp_path, monkeypatch):
    gate(reason="first")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    _, shown = gate(Adam=70)
    lines = [line for line in shown.out.splitlines() if line.startswith("::error title=regress splitdigits::")]
    assert len(lines) == 3 and "Adam, task%3A MOVED" in lines[0]
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.count("| Adam |") == 3 and "3 MOVED, 3 same" in summary


def test_a_damaged_reference_is_named(gate):
    gate(reason="first")
    (file,) = gate.folder.glob("*.json")
    for text in ("{", "[]", '{"schema": 2}', '{"schema": 1, "kind": {}, "runs": [[1]]}'):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=f"{file} is not a gate reference") as error:
            gate()
        assert "\n" not in str(error.value)


def test_the_committed_gate_references_are_of_the_table_as_it_is():
    table = declaration.load(regress.NAME)
    known, _ = regress.references(regress.FOLDER / regress.NAME, "cpu")
    digits, both = (set(regress.gate_runs(each)) for each in (table, regress.gated(table)))
    assert known and all(set(found) in (digits, both) for found in known)


def test_the_committed_references_render_to_the_committed_tables(tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text(references.README.read_text(encoding="utf-8"), encoding="utf-8")
    committed = references.README
    monkeypatch.setattr(references, "README", readme)
    shutil.copytree(ROOT / "results" / "tables", tmp_path / "tables", copy_function=shutil.copyfile)
    names = references.render_references(tmp_path / "tables")  # draws a picture only where a table is another
    assert "splitdigits" in names and "splitmnist" in names
    for name in names:
        for kind in ("md",) if name == "scoreboard" else ("md", "tex", "csv"):
            new = tmp_path / "tables" / f"{name}.{kind}"
            assert new.read_bytes() == (ROOT / "results" / "tables" / new.name).read_bytes()
    assert readme.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")
    board = (tmp_path / "tables" / "scoreboard.md").read_text(encoding="utf-8")
    assert board.splitlines()[-1] in readme.read_text(encoding="utf-8")


def test_committed_records_are_known_where_their_folder_is_a_link(tmp_path, monkeypatch):
    link = tmp_path / "reference"
    link.symlink_to(files.REFERENCE)
    monkeypatch.setattr(files, "REFERENCE", link)
    found = references.references(declaration.load("mas-splitmnist"))
    assert found.seeds and found.results


def test_the_readme_links_to_the_long_table_and_its_picture():
    text = references.README.read_text(encoding="utf-8")
    for file in re.findall(r"\]\(([^):]+)\)", text):
        assert (ROOT / file).exists(), file
    assert "](results/tables/splitmnist.md)" in text and "](results/tables/splitmnist.png)" in text
    assert len(text.splitlines()) <= 150


def test_a_reference_of_an_accelerator_stands_beside_that_of_the_processor(tmp_path, monkeypatch):
    made = {"cpu": "one", "capability": "AVX2", "threads": 1}
    monkeypatch.setattr(regress.machine, "machine", lambda device: made | {"device": device})
    for device in ("cpu", "NVIDIA H200"):
        regress.accept("mine", {}, [], device, "first", tmp_path)
    assert {file.name for file in tmp_path.glob("*.json")} == {"one-avx2.json", "one-avx2-nvidia-h200.json"}

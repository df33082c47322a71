"""The command line: each mistake is one line and status 2, Ctrl-C is a partial table and status 130, and it goes on."""

import json
import os
import signal
import subprocess
import sys

import pytest

from benchmarks import record, sweep
from benchmarks.files import ROOT
from paper_tables import commands, complete, declaration
from paper_tables.__main__ import main
from tests.support import sweeps

TRACKED, CLUSTER = ["--track", "tensorboard"], ["--cluster", "tcp://127.0.0.1:1"]


def held(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def refused(capsys, *arguments):
    """The one line of error that a command ends with."""
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "spltmnist"], "unknown table 'spltmnist'; the nearest is 'splitmnist'"),
        (["table", "../table"], "unknown table '../table'"),
        (["table", "splitdigits", "--rows", "ewcc"], "unknown row of table splitdigits 'ewcc'; the nearest is 'ewc'"),
        (["table", "splitdigits", "--seeds", "abc"], "seeds must be positive integers, got 'abc'"),
        (["table", "splitdigits", "--seeds", "0"], "seeds must be positive integers, got '0'"),
        (["table", "splitdigits", "--seeds", "2.5"], "seeds must be positive integers, got '2.5'"),
        (["table", "splitdigits", "--seeds", "3,3"], "seed 3 is repeated in '3,3'"),
        (["table", "splitdigits", "--jobs", "0"], "JOBS must be a whole number >= 1, got '0'"),
        (["table", "splitdigits", "--jobs", "-1"], "JOBS must be a whole number >= 1, got '-1'"),
        (["table", "splitdigits", "--jobs", "two"], "JOBS must be a whole number >= 1, got 'two'"),
        (["table", "splitdigits", "--device", "cuda:99"], "device 'cuda:99' is not available"),
        (["table", "splitdigits", "--device", "gpu"], "device 'gpu' is not available"),
        (["table", "splitdigits", "--track", "tensorbord"], "unknown TRACK 'tensorbord'; the nearest is 'tensorboard'"),
        (["table", "splitdigits", *TRACKED, *CLUSTER], "TRACK=tensorboard and CLUSTER exclude each other: the workers"),
        (["table", "splitdigits", "--plan", *CLUSTER], "PLAN=1 and CLUSTER exclude each other"),
        (["table", "splitmnist", "--data", "nowhere"], "data root nowhere: No such file or directory; set DATA="),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, capsys, arguments, message):
    error = refused(capsys, *arguments, "--results", tmp_path / "results")
    assert error.startswith(f"error: {message}")
    assert held(tmp_path) == []


def test_an_unknown_data_set(tmp_path, capsys):
    assert "data set 'mnits'" in refused(capsys, "data", "mnits", "--data", tmp_path)
    assert "data root" in refused(capsys, "data", "mnist", "--data", tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_figure(capsys):
    assert "unknown figure 'trade'; the nearest is 'tradeoff'" in refused(capsys, "figure", "trade")


@pytest.mark.parametrize(("figure", "option"), [("fisher", "jobs"), ("landscape", "jobs"), ("offline-ewc", "data")])
def test_an_option_that_a_figure_has_no_use_for(capsys, figure, option):
    assert f"figure {figure} takes no --{option}" in refused(capsys, "figure", figure, f"--{option}", "1")


def test_a_results_folder_under_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    arguments = ["table", "splitdigits", "--rows", "adam", "--seeds", "1", "--results", tmp_path / "file" / "results"]
    assert str(tmp_path / "file" / "results") in refused(capsys, *arguments)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine" and len(held(tmp_path)) == 1


def test_committed_records_are_not_replaced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(commands, "REFERENCE", tmp_path)
    arguments = ["table", "splitdigits", "--rows", "adam", "--seeds", "1", "--results", tmp_path / ".." / tmp_path.name]
    assert "holds the committed records" in refused(capsys, *arguments) and not list(tmp_path.iterdir())


def test_the_data_root_is_the_environment_variable_where_no_other_is_given(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path / "nowhere"))
    assert str(tmp_path / "nowhere") in refused(capsys, "data", "mnist")


def test_no_data_and_no_network_end_soon_with_what_to_do(tmp_path):
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and key != "DATA"}
    environment |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # nobody answers there
    (tmp_path / "data").mkdir()
    command = [sys.executable, "-m", "paper_tables", "table", "splitmnist", "--data", tmp_path / "data"]
    done = subprocess.run(
        [*command, "--results", tmp_path / "results"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,  # it would wait for ever
    )
    assert (done.returncode, done.stdout) == (2, "") and "Traceback" not in done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    for said in (f"mnist is not in {tmp_path / 'data'}", "http", "DATA=", "`make table-splitdigits`"):
        assert said in error
    assert held(tmp_path) == []


TABLE = """
title     = "Nine runs"
source    = "none"
metric    = "average_accuracy"
margin    = 1.0
scenarios = ["task", "domain", "class"]
seeds     = 3
stream    = { name = "splitdigits" }
train     = { net = "mlp-16", optimizer = "adam", lr = 1e-3, optimizer_state = "keep", batch = 32, epochs = 8 }
row       = [{ label = "Adam", method = { name = "naive" } }]
"""
COMMAND = ["table", "nine", "--jobs", "2"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A folder with a table of nine short runs."""
    folder = tmp_path_factory.mktemp("paper_tables")
    (folder / "nine.toml").write_text(TABLE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def interrupted(tables, tmp_path_factory):
    """A table that Ctrl-C stopped, once no process of it is left: (results folder, status, output)."""
    folder = tmp_path_factory.mktemp("results")
    process = sweeps.start(sweeps.COMMAND, tables, *COMMAND, "--results", folder)
    try:
        sweeps.wait_for(folder, 2, process)
        os.killpg(process.pid, signal.SIGINT)
    finally:
        output = sweeps.finish(process)
    return folder, process.returncode, output


def test_ctrl_c_prints_the_partial_table(interrupted):
    folder, status, output = interrupted
    assert status == 130
    assert "interrupted: finished runs are kept, the same command goes on" in output
    assert "Adam" in output and "Traceback" not in output
    assert (folder / "tables" / "nine.md").is_file()
    assert 2 <= len(sweeps.versions(folder)) < 9 and sweeps.damaged(folder) == []


def test_the_same_command_goes_on(tables, interrupted, capsys, monkeypatch):
    """What Ctrl-C left is kept; a record that has become stale or damaged is named and done again."""
    monkeypatch.setattr(declaration.load, "__defaults__", (tables,))
    monkeypatch.setattr(sweep, "Processes", sweeps.Inline)
    imported = []
    monkeypatch.setattr(complete, "import_module", imported.append)
    folder = interrupted[0]
    before = sweeps.versions(folder)
    stale, damaged, *kept = sorted(before)
    fields = json.loads((folder / stale).read_text(encoding="utf-8"))
    (folder / stale).write_text(json.dumps({**fields, "digest": "another"}), encoding="utf-8")
    whole = (folder / damaged).read_text(encoding="utf-8")
    (folder / damaged).write_text(whole[:-40], encoding="utf-8")
    assert main([*COMMAND, "--results", str(folder)]) == 0
    shown = capsys.readouterr()
    assert [line for line in shown.err.splitlines() if "stale" in line and str(folder / stale) in line]
    aside = (folder / damaged).with_suffix(".damaged")
    assert aside.is_file() and [line for line in shown.err.splitlines() if str(aside) in line]
    after = sweeps.versions(folder)
    assert len(after) == 9 and sweeps.damaged(folder) == []
    assert {file: after[file] for file in kept} == {file: before[file] for file in kept}
    assert record.load(folder / stale).digest == fields["digest"]
    assert record.load(folder / stale).correct == fields["correct"]
    assert imported == ["paper_tables.plot"]  # while the runs trained

    assert main([*COMMAND, "--results", str(folder)]) == 0
    again = capsys.readouterr()
    assert sweeps.versions(folder) == after
    assert again.out == shown.out and "stale" not in again.err and "damaged" not in again.err
    assert imported == ["paper_tables.plot"]  # a finished table keeps its picture


def test_each_run_of_a_table_that_is_tracked_has_a_folder_of_curves(tmp_path, capsys, monkeypatch):
    text = TABLE.replace("epochs = 8", "epochs = 1").replace('"task", "domain", "class"', '"class"')
    (tmp_path / "one.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(declaration.load, "__defaults__", (tmp_path,))
    monkeypatch.setattr(sweep, "Processes", sweeps.Inline)
    arguments, curves = ["table", "one", "--results", str(tmp_path)], tmp_path / "tensorboard" / "one"
    assert main([*arguments, "--seeds", "1"]) == 0
    assert "curves" not in capsys.readouterr().err and not curves.exists()
    assert main([*arguments, *TRACKED, "--seeds", "3"]) == 0
    shown = capsys.readouterr().err
    assert "1 of 3 runs were done before and leave no curves" in shown
    assert f"curves: tensorboard --logdir {curves}" in shown
    folders = sorted(curves.iterdir())
    assert [folder.name.split("-", 2)[2] for folder in folders] == [f"seed{n}-class-splitdigits" for n in (2, 3)]
    assert [len(list(folder.glob("events.out.tfevents.*"))) for folder in folders] == [1, 1]
    assert main([*arguments, *TRACKED, "--seeds", "2-3"]) == 0
    assert "leave no curves" not in capsys.readouterr().err

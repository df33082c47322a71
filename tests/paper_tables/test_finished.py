"""A finished table is shown again, as it was, without torch; once anything has changed, it is made anew."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from benchmarks.files import ROOT
from paper_tables import complete, declaration, finished, terminal
from paper_tables.__main__ import main

TABLE = ["table", "splitdigits", "--rows", "naive", "--seeds", "1", "--jobs", "1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The results folder of a finished table."""
    folder = tmp_path_factory.mktemp("finished")
    assert main([*TABLE, "--results", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy that a test may change, and in which the table was finished once more."""
    copy = tmp_path / "results"
    shutil.copytree(made, copy)
    assert main([*TABLE, "--results", str(copy)]) == 0
    return copy


def unchanged(folder, capsys, *options):
    """Whether the command finds nothing to do anew, and what it prints."""
    capsys.readouterr()
    assert main([*TABLE, "--results", str(folder), *options]) == 0
    said = capsys.readouterr()
    assert ("unchanged: " in said.err) != ("written to " in said.err)
    return "unchanged: " in said.err, said.out


def test_it_is_shown_as_it_was_without_torch(folder):
    code = (
        f"import sys; from paper_tables.__main__ import main; status = main({[*TABLE, '--results', str(folder)]!r}); "
        "print(status, sorted({'torch', 'numpy', 'pandas', 'matplotlib', 'avalanche'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    *page, last = done.stdout.splitlines()
    assert last == "0 []" and "unchanged: " in done.stderr
    assert page == [*(folder / "tables" / "splitdigits.md").read_text(encoding="utf-8").splitlines(), ""]


def touched(file):
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def first(folder, pattern):
    return next(iter(sorted(folder.glob(pattern))))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: touched(first(folder, "*/*/*.json")),
        lambda folder: shutil.copy(first(folder, "*/*/*.json"), folder / "splitdigits" / "task" / "other.json"),
        lambda folder: touched(folder / "tables" / "splitdigits.csv"),
        lambda folder: (folder / "tables" / "splitdigits.png").unlink(),
        lambda folder: (folder / "tables" / ".splitdigits.json").write_text("{}", encoding="utf-8"),
        lambda folder: (folder / "tables" / ".splitdigits.json").write_bytes(b"\xff[["),
    ],
)
def test_what_has_changed_is_made_anew(folder, capsys, change):
    assert unchanged(folder, capsys)[0]
    change(folder)
    again, page = unchanged(folder, capsys)
    assert not again
    assert unchanged(folder, capsys) == (True, page)


def test_a_record_that_is_gone_is_run_again(folder, capsys):
    first(folder, "*/class/*.json").unlink()
    assert not unchanged(folder, capsys)[0]
    assert list(folder.glob("*/class/*.json"))


@pytest.mark.parametrize("options", [["--seeds", "1,"], ["--rows", "adam"], ["--jobs", "2"]])
def test_another_request_is_another_table(folder, capsys, options):
    assert not unchanged(folder, capsys, *options)[0]


def begun(**given):
    """What a command begins with."""
    return finished.begun(argparse.Namespace(**{"name": "mine", "results": None, "beside": None} | given))


def test_another_data_root_or_version_is_another_table(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path))
    assert not unchanged(folder, capsys)[0]
    assert unchanged(folder, capsys)[0]
    monkeypatch.setattr(finished.sys, "version", "another")
    assert not unchanged(folder, capsys)[0]


def test_a_file_of_any_floor_is_a_source(tmp_path, monkeypatch):
    for name in ("methods/ewc.py", "benchmarks/streams/arrays.py", "paper_tables/published/hsu2018.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1", encoding="utf-8")
    (tmp_path / "requirements.lock").write_text("1", encoding="utf-8")
    monkeypatch.setattr(finished, "ROOT", tmp_path)
    seen = {begun()["sources"]}
    for file in [path for path in tmp_path.rglob("*.*") if path.is_file()]:
        touched(file)
        seen.add(begun()["sources"])
    assert len(seen) == 5
    (tmp_path / "methods" / "__pycache__").mkdir()
    before = begun()
    (tmp_path / "methods" / "__pycache__" / "ewc.cpython-311.pyc").write_bytes(b"")
    assert begun() == before


OWN = """
title     = "Mine"
source    = "Nobody"
metric    = "average_accuracy"
margin    = 1.0
scenarios = ["class"]
seeds     = 1
stream    = { name = "arrays", data = "group/mine", tasks = 2 }
train     = { net = "mlp-8", optimizer = "sgd", lr = 0.1, optimizer_state = "keep", batch = 8, epochs = 1 }
row       = [{ label = "Mine", method = { name = "naive" } }]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that runs a table on four arrays of one's own, and the folder of these arrays."""
    data = tmp_path / "root" / "group" / "mine"
    data.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for side, n in (("train", 40), ("test", 20)):
        np.save(data / f"{side}_images.npy", draws.random((n, 4, 4), dtype=np.float32))
        np.save(data / f"{side}_labels.npy", np.arange(n) % 4)
    (tmp_path / "mine.toml").write_text(OWN, encoding="utf-8")
    table = declaration.load("mine", tmp_path)
    monkeypatch.setattr(declaration, "load", lambda name: table)
    results = tmp_path / "results"

    def run():
        return main(["table", "mine", "--jobs", "1", "--results", str(results), "--data", str(tmp_path / "root")])

    return run, data


def other_images(data):
    np.save(data / "train_images.npy", np.random.default_rng(1).random((40, 4, 4), dtype=np.float32))


def test_data_of_ones_own_are_noticed_wherever_they_lie(own, capsys):
    run, data = own
    assert run() == 0 and run() == 0
    assert "unchanged: " in capsys.readouterr().err
    other_images(data)
    assert run() == 0 and "stale, their code or data has changed" in capsys.readouterr().err
    assert run() == 0 and "unchanged: " in capsys.readouterr().err


def test_data_edited_while_a_run_trains_leave_no_finished_page(own, monkeypatch, capsys):
    run, data = own
    true = complete.sweep

    def edited(*arguments):
        done = true(*arguments)
        other_images(data)
        return done

    monkeypatch.setattr(complete, "sweep", edited)
    assert run() == 0 and "0 of 1 runs" in capsys.readouterr().out
    monkeypatch.undo()


def test_a_table_that_lacks_a_run_is_never_kept(own, monkeypatch, capsys):
    run, _ = own
    monkeypatch.setattr(complete, "sweep", lambda *_: [])
    for _ in range(2):
        assert run() == 0
        said = capsys.readouterr()
        assert "0 of 1 runs" in said.out and "unchanged" not in said.err


def test_sources_or_data_edited_meanwhile_keep_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(finished, "LOCAL", tmp_path)
    options = argparse.Namespace(
        name="mine", results=None, beside=None, device="cpu", plan=False, track=None, cluster=None
    )
    page = terminal.Page("", "", {}, {}, {}, [], [], "")
    image = tmp_path / "image.npy"
    image.write_bytes(b"1")
    at_first, data = finished.begun(options), finished.states([image])
    finished.keep(options, page, at_first | {"sources": "older"}, data)
    assert not finished.again(options)
    finished.keep(options, page, at_first, [[str(image), 2, 0]])
    assert not finished.again(options)
    finished.keep(options, page, at_first, data)
    assert finished.again(options)
    image.unlink()
    assert not finished.again(options)
    for unkept in ({"device": "cuda"}, {"track": "tensorboard"}, {"cluster": "tcp://127.0.0.1:1"}):
        other = argparse.Namespace(**vars(options) | unkept)
        finished.keep(other, page, finished.begun(other), [])
        assert not finished.again(other)


def test_a_page_survives_its_file(made):
    kept = json.loads((made / "tables" / ".splitdigits.json").read_text(encoding="utf-8"))
    page = terminal.Page(**kept["page"])
    assert asdict(page) == kept["page"] and page.markdown == Path(made / "tables" / "splitdigits.md").read_text(
        encoding="utf-8"
    )

"""A finished table is shown again, as it was, without torch; once anything has changed, it is made anew."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import record
from paper_tables import finished, terminal
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
    done = subprocess.run([sys.executable, "-c", code], cwd=record.ROOT, capture_output=True, encoding="utf-8")
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


def test_other_data_and_other_sources_are_noticed(folder, capsys, tmp_path, monkeypatch):
    (tmp_path / "mine" / "letters").mkdir(parents=True)
    monkeypatch.setenv("DATA", str(tmp_path / "mine"))
    assert not unchanged(folder, capsys)[0]
    assert unchanged(folder, capsys)[0]
    (tmp_path / "mine" / "letters" / "train_images.npy").write_bytes(b"")
    assert not unchanged(folder, capsys)[0]
    monkeypatch.setattr(finished, "sources", lambda: "of another version")
    assert not unchanged(folder, capsys)[0]


def test_a_file_of_any_floor_is_a_source(tmp_path, monkeypatch):
    for name in ("methods/ewc.py", "benchmarks/streams/arrays.py", "paper_tables/published/hsu2018.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1", encoding="utf-8")
    (tmp_path / "requirements.lock").write_text("1", encoding="utf-8")
    monkeypatch.setattr(finished, "ROOT", tmp_path)
    seen = {finished.sources()}
    for file in [path for path in tmp_path.rglob("*.*") if path.is_file()]:
        touched(file)
        seen.add(finished.sources())
    assert len(seen) == 5
    (tmp_path / "methods" / "__pycache__").mkdir()
    before = finished.sources()
    (tmp_path / "methods" / "__pycache__" / "ewc.cpython-311.pyc").write_bytes(b"")
    assert finished.sources() == before


def test_sources_edited_while_the_runs_trained_keep_nothing(folder, monkeypatch, capsys):
    versions = iter(["before", "before"])  # as the command looks for a page, and as it begins to make one
    monkeypatch.setattr(finished, "sources", lambda: next(versions, "after"))
    assert not unchanged(folder, capsys, "--seeds", "1,")[0]
    assert not unchanged(folder, capsys, "--seeds", "1,")[0]


def test_a_page_survives_its_file(made):
    kept = json.loads((made / "tables" / ".splitdigits.json").read_text(encoding="utf-8"))
    page = terminal.Page(**kept["page"])
    assert asdict(page) == kept["page"] and page.markdown == Path(made / "tables" / "splitdigits.md").read_text(
        encoding="utf-8"
    )

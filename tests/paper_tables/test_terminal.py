"""Terminals, pipes and home folders as they come: the output degrades, nothing breaks, records are kept."""

import os
import re
import subprocess
import sys

import pytest

from benchmarks.files import ROOT
from paper_tables import references, render, terminal
from paper_tables.__main__ import main
from tests.support import sweeps
from tests.support.toy_table import RESULTS, SEEDS, toy_loader

TABLE = ["table", "splitdigits", "--rows", "xdg", "--seeds", "1", "--jobs", "1"]
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


def command(*arguments, **environment):
    """The command in a process of its own, its output read as bytes."""
    return subprocess.Popen(
        [sys.executable, "-m", "paper_tables", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A table trained where nothing can be written to the home folder and the terminal knows ASCII alone."""
    folder = tmp_path_factory.mktemp("results")
    process = command(*TABLE, "--results", folder, **ASCII, HOME="/proc/nobody")
    output, errors = process.communicate(timeout=300)
    return folder, process.returncode, output, errors


def test_an_ascii_terminal_and_no_home(trained):
    folder, status, output, errors = trained
    assert status == 0 and b"Traceback" not in errors
    assert output.isascii() and errors.isascii() and b"XdG" in output and rb"\u2013" in output  # a dash
    page = (folder / "tables" / "splitdigits.md").read_bytes().decode("utf-8")
    assert "–" in page and len(sweeps.versions(folder)) == 1


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_reader_that_leaves(trained, closed):
    folder = trained[0]
    before = sweeps.versions(folder)
    (folder / "tables" / "splitdigits.md").unlink()
    process = command(*TABLE, "--results", folder)
    getattr(process, closed).close()
    other = process.stderr if closed == "stdout" else process.stdout
    said = other.read()
    assert process.wait(timeout=300) in (141, 0 if closed == "stderr" else 141)
    assert b"Traceback" not in said and b"Exception ignored" not in said
    assert sweeps.versions(folder) == before
    assert (folder / "tables" / "splitdigits.md").is_file()


def test_a_device_that_is_not_there_is_refused_also_where_nothing_is_left_to_train(trained, capsys):
    assert main([*TABLE, "--results", str(trained[0]), "--device", "foo"]) == 2
    assert capsys.readouterr().err.startswith("error: device 'foo' is not available")


def test_the_readme_is_read_and_written_in_utf_8(tmp_path):
    readme = tmp_path / "README.md"
    text = "é ± –\n<!-- table toy: written by `make tables` -->\nold\n<!-- end of table -->\nß\n"
    readme.write_bytes(text.encode("utf-8"))
    code = "import sys; from pathlib import Path; from paper_tables.references import put_into; "
    code += r"[put_into(Path(sys.argv[1]), 'toy', '# Title\n\nnew \u2713\n') for _ in range(2)]"
    subprocess.run([sys.executable, "-c", code, readme], cwd=ROOT, env={**os.environ, **ASCII}, check=True)
    assert readme.read_bytes().decode("utf-8") == text.replace("old", "\nnew ✓\n")
    assert references.END in text


def test_help_needs_no_torch():
    code = "import sys; from paper_tables.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'numpy', 'pandas', 'matplotlib', 'avalanche'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "[]" and "Exit status: 0 when it is done" in done.stdout


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """A function: columns of a terminal -> what the toy table looks like there."""
    table = toy_loader(tmp_path)()
    cells = render.frame(table, RESULTS)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")

    def at(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        terminal.show(render.page(table, cells, SEEDS, "the Markdown", below="the rest"))
        return capsys.readouterr().out

    return at


def plain(text):
    return re.sub("\x1b\\[[0-9;]*m", "", text)


@pytest.mark.parametrize("columns", [80, 50])
def test_scenarios_stand_one_below_the_other_where_they_do_not_fit(printed, columns):
    lines = plain(printed(columns)).splitlines()
    assert max(map(len, lines)) <= columns
    assert not any("task: ours" in line and "class: ours" in line for line in lines)
    text = "\n".join(lines)
    assert text.index("task: ours") < text.index("90.00±1.00") < text.index("class: ours") < text.index("20.00±0.25")
    assert "Offline" not in text[: text.index("class: ours")] and text.rstrip().endswith("the rest")


def test_scenarios_stand_side_by_side_where_they_fit(printed):
    lines = plain(printed(150)).splitlines()
    assert any("task: ours" in line and "class: ours" in line for line in lines)
    (adam,) = [line for line in lines if line.split()[:1] == ["Adam"]]
    assert adam.split() == ["Adam", "90.00±1.00", "90.00±1.00", "+0.00", "?", "20.00±0.25", "20.0", "+0.00", "✓†"]


def test_verdicts_have_colours_unless_they_are_unwanted(printed, monkeypatch):
    text = printed(150)
    assert "\x1b[32m+0.00 ✓†" in text and "\x1b[33m+0.00 ?" in text
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in printed(150) and "+0.00 ✓†" in plain(printed(150))


def test_what_is_no_terminal_gets_the_markdown(printed, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    assert printed(150) == "the Markdown\n"

"""Run the code blocks of pages in a copy of the suite, all in one process: Python and torch start once.

A block of Python or TOML whose first line is `# folder/file` is written there. Other Python is executed. The blocks of
a page share their names. A block of sh is run by bash, with make as it is. Only .venv/bin/python is another: it writes
down what it was asked for, and the commands of the suite among that are done here. They train in this process. A table
that would train for long is planned instead.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock, patch

ROOT = Path(__file__).resolve().parents[2]
MADE = ("stay.py", "odddigits.py", "odd.toml")  # what a reader of the pages has made before
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "data", "results", "tests", "__pycache__", *MADE)
OURS = "odd"  # the table of the pages
DONE = ("naive", "ewc", "replay")  # rows of splitdigits whose records a reader has by then
PRETENDER = """#!/bin/sh
exec {python} -S -c 'import json, sys; open("asked", "a").write(json.dumps(sys.argv[1:]) + chr(10))' "$@"
"""


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, text) of each code block of a page."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def copy_to(folder: Path) -> Path:
    """A copy of the suite at `folder`, with the reference records."""
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    (folder / "results").mkdir()
    (folder / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PRETENDER.format(python=sys.executable), encoding="utf-8")
    python.chmod(0o755)
    (folder / ".venv" / ".ready").touch()
    return folder


def run(folder: Path, pages: dict[str, list[tuple[str, str]]]) -> dict[str, list[dict]]:
    """What came of each block of the pages, in order: its output, the commands it asked for, and an error or None."""
    done = subprocess.run(
        [sys.executable, "-P", __file__],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        input=json.dumps(pages),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0
    return json.loads(done.stdout)


def main() -> None:
    """Run the pages that standard input holds, and print what came of them."""
    from benchmarks import sweep
    from tests.support.sweeps import Inline

    sweep.Processes = Inline
    for module in ("dask", "dask_jobqueue"):
        sys.modules[module] = MagicMock()  # a queue is not at hand
    _make_done()
    print(json.dumps({page: [*_outcomes(page, todo)] for page, todo in json.load(sys.stdin).items()}))


def _make_done() -> None:
    """Give the reader the records of some rows of splitdigits: the reference's, as if today's code had made them."""
    from benchmarks import files, record

    for row in DONE:
        for file in files.REFERENCE.glob(f"splitdigits/*/{row}-*-seed1.json"):
            found = record.load(file)
            record.save(replace(found, digest=found.run.digest), files.LOCAL / found.run.place)


@contextmanager
def _no_long_wait():
    """A block that waits for ever ends where it begins to."""
    with patch.object(time, "sleep", side_effect=SystemExit), suppress(SystemExit):
        yield


def _outcomes(page: str, todo: list):
    names = {"__name__": page}
    for n, (language, text) in enumerate(todo):
        output, asked, error = io.StringIO(), [], None
        with redirect_stdout(output), redirect_stderr(output):
            try:
                asked = _run(language, text, names, f"{page}, block {n + 1}")
            except BaseException:
                error = traceback.format_exc()
        yield {"output": output.getvalue(), "asked": asked, "error": error}


def _run(language: str, text: str, names: dict, where: str) -> list:
    if file := re.match(r"# (\w+(?:/\w+)*\.\w+)\n", text):
        assert not Path(file[1]).exists(), f"{file[1]} is there already"
        Path(file[1]).write_text(text, encoding="utf-8")
        return []
    if language == "python":
        with _no_long_wait():
            exec(compile(text, where, "exec"), names)
        return []
    assert language == "sh", f"{where}: nobody knows how to run {language or 'a block without a language'}"
    asked = Path("asked")
    asked.unlink(missing_ok=True)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    commands = [json.loads(line) for line in asked.read_text(encoding="utf-8").splitlines()] if asked.exists() else []
    for module, *arguments in (command[1:] for command in commands if command[0] == "-m"):
        if module == "paper_tables":
            _command(arguments)
    return commands


def _command(arguments: list[str]) -> None:
    from paper_tables.__main__ import _parser, main

    _parser().parse_args(arguments)
    if "--cluster" in arguments:  # needs a scheduler: tests/benchmarks/test_cluster.py
        return
    if arguments[0] == "table" and arguments[1] != OURS and "--plan" not in arguments:
        _do(main, [*arguments, "--plan"])
        if "nothing to do" not in sys.stdout.getvalue():
            return
    _do(main, arguments)


def _do(main: Callable, arguments: list[str]) -> None:
    status = main(arguments)
    assert status == 0, f"{arguments}: exit status {status}"


if __name__ == "__main__":
    main()

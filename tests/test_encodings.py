"""Text is read and written in UTF-8 wherever the suite runs: no file is opened in the encoding of a locale."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [file for floor in ("methods", "benchmarks", "paper_tables", "tests") for file in (ROOT / floor).rglob("*.py")]


def without_encoding(text):
    """The lines of a source that open a text file and name no encoding."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _opens_text(call) and "encoding" not in {k.arg for k in call.keywords}]


def _opens_text(call):
    """Whether a call is open(...) or a method of a path. Those of os, tarfile, PIL and benchmarks.files are not."""
    name = ast.unparse(call.func)
    if name == "open" or (name.endswith(".open") and name not in ("os.open", "tarfile.open", "Image.open")):
        modes = [a.value for a in call.args if isinstance(a, ast.Constant) and set(str(a.value)) <= set("rwxab+")]
        return not any("b" in mode for mode in modes)
    return name.endswith((".read_text", ".write_text"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_every_text_file_is_opened_with_its_encoding(file):
    assert without_encoding(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("open(p)", [1]),
        ("p.read_text()", [1]),
        ("p.write_text('b')", [1]),
        ("open(p, 'r')", [1]),
        ("p.open('rb')", []),
        ("open(p, encoding='utf-8')", []),
        ("read_text(p)", []),
    ],
)
def test_what_is_found(line, found):
    assert without_encoding(line) == found

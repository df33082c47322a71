"""The page of traps: the tests that it names exist, and each line is whole."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINES = [
    line for line in (ROOT / "docs" / "traps.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")
]


def test_every_guard_is_a_test_of_this_suite():
    guards = {guard for line in LINES for guard in re.findall(r"`(tests/[^`]+)`", line)}
    assert len(guards) > 40
    known = {}
    for guard in sorted(guards):
        file, name = guard.split("::")
        if file not in known:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            known[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in known[file], guard


def test_every_line_says_what_happens():
    for line in LINES:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) in (4, 5) and all(cells[1:-1]), line

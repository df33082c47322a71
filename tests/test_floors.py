"""Imports run downwards only: paper_tables -> benchmarks -> methods."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {"methods": {"methods"}, "benchmarks": {"methods", "benchmarks"}}
FLOORS["paper_tables"] = {*FLOORS["benchmarks"], "paper_tables"}


def imported(file: Path) -> set[str]:
    """The modules that a file names in its imports, those inside functions included."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}, line {node.lineno}: write the whole name of the module"
            found.add(node.module)
    return found


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_nothing_above_it(floor):
    files = list((ROOT / floor).rglob("*.py"))
    assert files
    for file in files:
        ours = {name.split(".")[0] for name in imported(file)} & {*FLOORS, "tests"}
        assert ours <= FLOORS[floor], f"{file.relative_to(ROOT)} imports {ours - FLOORS[floor]}"


def test_the_modules_of_the_methods_folder_are_the_methods():
    import methods

    assert methods.names() == sorted(file.stem for file in (ROOT / "methods").glob("*.py") if file.stem != "__init__")


def test_no_test_module_imports_another():
    for file in (ROOT / "tests").rglob("*.py"):
        others = {name for name in imported(file) if name.startswith("tests.") and not name.startswith("tests.support")}
        assert not others, f"{file.relative_to(ROOT)} imports {others}: what tests share lies in tests/support"

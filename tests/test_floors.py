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


def lines(file: Path) -> int:
    """The lines of a file that are not blank."""
    return sum(bool(line.strip()) for line in file.read_text(encoding="utf-8").splitlines())


def test_a_file_is_read_in_one_sitting():
    long = {str(file.relative_to(ROOT)): lines(file) for floor in FLOORS for file in (ROOT / floor).rglob("*.py")}
    assert not {file: count for file, count in long.items() if count > 300}, "split what has two subjects"


def test_a_method_has_100_lines_and_three_of_them_150():
    """DEN trains in four phases, iCaRL has a memory and a classifier of its own, and GEM solves a quadratic program."""
    long = {file.stem: lines(file) for file in (ROOT / "methods").glob("*.py") if lines(file) > 100}
    assert set(long) <= {"den", "icarl", "gem"}
    assert max(long.values()) <= 150

"""The gate reports to machines in JUnit XML, in JSON, and in annotations and a step summary of GitHub."""

import json
import math
import os
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.files import write_atomically
from benchmarks.markdown import table as markdown_table
from paper_tables.gate import Cell


def write(files: dict[str, Path], name: str, cells: list[Cell], lines: list[str]) -> None:
    """Write the reports that are asked for, by their form."""
    for form, file in files.items():
        write_atomically(file, FORMS[form](name, cells, lines))


def junit(name: str, cells: list[Cell], lines: list[str]) -> str:
    """Return a test suite of the table with a test case for each cell."""
    failures = sum(not cell.passes for cell in cells)
    suite = ElementTree.Element("testsuite", name=f"regress {name}", tests=str(len(cells)), failures=str(failures))
    for cell in cells:
        case = ElementTree.SubElement(suite, "testcase", classname=f"{name}.{cell.row}", name=cell.scenario)
        if not cell.passes:
            ElementTree.SubElement(case, "failure", message=f"{cell.state}: {cell.why}").text = _shift(cell)
    ElementTree.SubElement(suite, "system-out").text = "\n".join(lines)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_json(name: str, cells: list[Cell], lines: list[str]) -> str:
    """Return every field of every cell. A missing value is null."""
    body = [
        {**vars(cell), "shift": None if math.isnan(cell.shift) else cell.shift, "passes": cell.passes} for cell in cells
    ]
    passes = bool(cells) and all(cell.passes for cell in cells)
    return (
        json.dumps({"table": name, "passes": passes, "summary": lines, "cells": body}, indent=1, allow_nan=False) + "\n"
    )


FORMS = {"junit": junit, "json": as_json}


def for_github(name: str, cells: list[Cell], lines: list[str]) -> None:
    """Annotate each cell that fails, and append to the step summary, in an action of GitHub."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for cell in cells:
        if not cell.passes:
            text = f"{cell.row}, {cell.scenario}: {cell.state}: {cell.why}{_shift(cell)}"
            print(f"::error title=regress {_escaped(name)}::{_escaped(text)}")
    if file := os.environ.get("GITHUB_STEP_SUMMARY"):
        failed = [cell for cell in cells if not cell.passes]
        rows = [[_plain(c.row), c.scenario, c.state, _plain(c.why + _shift(c))] for c in failed]
        table = markdown_table(["row", "scenario", "", ""], rows, [True] * 4) if rows else ""
        with Path(file).open("a", encoding="utf-8") as out:
            out.write("\n".join([f"## regress {name}", "", table, "", *map(_plain, lines), ""]) + "\n")


def _shift(cell: Cell) -> str:
    return "" if math.isnan(cell.shift) else f" ({cell.old:.2f} -> {cell.new:.2f})"


def _plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("\n", " ")


def _escaped(text: str) -> str:
    """Return the text as GitHub's commands need it, because a line break would end the annotation."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A")

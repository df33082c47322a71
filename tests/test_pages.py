"""The pages of docs/: each of their code blocks runs as it stands there, and each of their links leads somewhere."""

import re

import pytest

from paper_tables.verdict import LOOKS
from tests.support import pages
from tests.support.pages import ROOT

PAGES = {file.stem: file.read_text(encoding="utf-8") for file in sorted((ROOT / "docs").glob("*.md"))}
BLOCKS = [(page, n) for page, text in PAGES.items() for n in range(len(pages.blocks(text)))]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of each block of each page, in the order of the pages' names: the table of `extending` has a gate."""
    folder = pages.copy_to(tmp_path_factory.mktemp("pages") / "suite")
    return pages.run(folder, {page: pages.blocks(text) for page, text in PAGES.items()})


@pytest.mark.parametrize(("page", "n"), BLOCKS, ids=[f"{page}-{n + 1}" for page, n in BLOCKS])
def test_a_block_runs(outcomes, page, n):
    assert outcomes[page][n]["error"] is None, outcomes[page][n]["error"]


def test_no_block_is_missed():
    assert {page: text.count("```") for page, text in PAGES.items()} == {
        page: 2 * len(pages.blocks(text)) for page, text in PAGES.items()
    }


def output_of(outcomes, page):
    return "\n".join(outcome["output"] for outcome in outcomes[page])


def test_the_method_the_stream_and_the_table_make_a_table_with_a_gate(outcomes):
    (row,) = [line for line in output_of(outcomes, "extending").splitlines() if line.startswith("| Stay ")]
    task, seen = (float(cell) for cell in row.split("|")[2:4])
    assert 80 < task <= 100 and 20 < seen < 80
    assert "4 no reference" in output_of(outcomes, "gate") and output_of(outcomes, "gate").count("4 same") == 1


def test_the_first_table_is_planned_printed_and_reported(outcomes):
    shown = output_of(outcomes, "first_table")
    assert re.search(r"splitdigits: 186 of 201 runs to do", shown) and "30 of 45 runs to do" in shown
    assert re.search(r"^\| EWC +\|", shown, re.MULTILINE)
    assert "report.html" in shown


def test_made_up_runs_get_a_verdict(outcomes):
    assert "✓ reproduced" in output_of(outcomes, "verdicts")
    assert "runs {} seeds, and then {} and {} for".format(*LOOKS) in PAGES["verdicts"]


def test_the_parts_of_a_cluster_are_started_by_their_commands(outcomes):
    asked = [command for outcome in outcomes["cluster"] for command in outcome["asked"]]
    modules = [command[1] for command in asked if command[0] == "-m"]
    started = ["pip", "distributed.cli.dask_scheduler", "distributed.cli.dask_worker", "paper_tables", "paper_tables"]
    assert modules == started
    assert "CLUSTER=" in output_of(outcomes, "cluster")  # of the recipe for a queue


def test_links_lead_to_pages_and_modules_and_the_index_names_each_page():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\((?!https://)([^)#]+)", text):
            assert (ROOT / "docs" / target).is_file(), f"{page}: {target}"
    assert {f"{page}.md" for page in PAGES} - set(re.findall(r"\((\w+\.md)\)", PAGES["index"])) == {"index.md"}

"""All figures of a table: their files, and that no texts overlap in the fullest of them."""

import pytest

from benchmarks.standard_sets import DEFAULT_ROOT
from paper_tables import declaration, ledger
from paper_tables.__main__ import main
from paper_tables.figures import curves, draw, matrices, plane, strengths, strips
from paper_tables.figures.courses import courses
from paper_tables.references import references
from tests.support.pictures import faults, texts
from tests.support.toy_courses import toy_courses


def test_files_of_a_table(tmp_path):
    table, folder = toy_courses(tmp_path)
    files = draw.write(table, folder, DEFAULT_ROOT, tmp_path / "out")
    names = ("strips", "curves-task", "matrices-task", "curves-class")
    assert [file.name for file in files] == [f"toy-{n}.{f}" for n in names for f in ("png", "svg")]
    before = [file.read_bytes() for file in files]
    draw.write(table, folder, DEFAULT_ROOT, tmp_path / "out")
    assert [file.read_bytes() for file in files] == before
    assert draw.write(table, tmp_path / "nothing", DEFAULT_ROOT, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_no_record_is_a_line(tmp_path, capsys):
    assert main(["figures", "--table", "splitmnist", "--results", str(tmp_path)]) == 2
    assert "no finished run of splitmnist is recorded" in capsys.readouterr().err


@pytest.fixture(scope="module")
def full():
    table = declaration.load("splitmnist")
    return table, courses(references(table).results)


@pytest.mark.parametrize("kind", ["plane", "strips", "curves", "matrices", "strengths", "long labels"])
def test_no_text_covers_another(full, kind):
    table, found = full
    own = [course for course in found if course.scenario == "class"]
    digits = declaration.load("splitdigits")
    rotations = declaration.load("gem-mnist-rotations")
    drawn = {
        "plane": lambda: plane.draw(table, found),
        "strips": lambda: strips.draw(table, found),
        "curves": lambda: curves.draw(table, "class", own),
        "matrices": lambda: matrices.draw(table, "class", own),
        "strengths": lambda: strengths.draw(digits, "domain", ledger.read("splitdigits")),
        "long labels": lambda: curves.draw(rotations, "domain", courses(references(rotations).results)),
    }[kind]()
    assert len(texts(drawn.figure)) > 10 and faults(drawn.figure) == []
    assert drawn.caption and drawn.see.endswith(".")

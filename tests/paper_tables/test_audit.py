"""The page and the picture of the audit. What the words claim is what the committed measurement shows."""

import io
import re
import sys
import threading
import time
from html import unescape
from itertools import pairwise

import numpy as np
import pytest
from matplotlib import image

from benchmarks.audit.base import library, run
from benchmarks.audit.base.classify import KINDS, NONE, Cell
from benchmarks.audit.base.library import Library
from benchmarks.audit.base.quantities import QUANTITIES
from benchmarks.audit.base.run import Row
from paper_tables import audit, drawing
from paper_tables.__main__ import main
from paper_tables.report.page import audit_of, html

COMMITTED = drawing.FOLDER / "audit.csv"


@pytest.fixture(scope="module")
def found():
    return audit.read(COMMITTED)


def test_no_word_claims_what_the_committed_measurement_does_not_show(found):
    assert audit.contradictions(found) == []


def test_a_word_that_claims_something_else_is_found(found):
    changed = found.copy()
    exact = changed[changed.kind == "exact"].index[0]
    constant = changed[changed.kind == "times a constant"].index[0]
    changed.loc[exact, "kind"] = "no effect"
    changed.loc[constant, "factor"] *= 1.01
    lines = audit.contradictions(changed)
    assert len(lines) == 2 and "the words claim 'exact', measured is 'no effect" in lines[0]


def test_the_committed_cells_are_those_that_the_libraries_have_and_all_were_run(found):
    have = {(name, quantity) for name in library.names() for quantity in library.find(name).entries}
    assert {(cell.library, cell.quantity) for cell in found.itertuples()} == have
    assert "not run" not in set(found.kind) and set(found.kind) <= set(KINDS)
    assert (found.version != "").all()


def test_the_committed_page_is_that_of_the_committed_numbers(found):
    text = (drawing.FOLDER / "audit.md").read_text(encoding="utf-8")
    page, made_by = text.rsplit("\nMade by commit ", 1)
    assert page == audit.page(found) and "torch" in made_by


def test_every_word_that_is_not_exact_says_what_is_computed_and_where():
    for name in library.names():
        for quantity, entry in library.find(name).entries.items():
            assert entry.where, (name, quantity)
            assert entry.words or entry.claim == "exact", (name, quantity)


def test_the_picture_has_a_shade_and_a_sign_for_each_kind(found):
    picture = image.imread(io.BytesIO(audit.figure(found)))
    assert picture.shape[0] > 1000 and picture.shape[1] > 1000
    colours = {
        tuple(np.round(255 * pixel[:3]).astype(int)) for pixel in picture[::3, ::3].reshape(-1, picture.shape[2])
    }
    from paper_tables.audit_picture import LOOKS

    shades = []
    for kind, (colour, _, sign) in LOOKS.items():
        rgb = tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5)) if colour.startswith("#") else (255, 255, 255)
        assert rgb in colours, kind
        shades.append((0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2], sign))
    lightness = [shade for shade, _ in shades[:-1]]
    assert all(high - low > 20 for high, low in pairwise(lightness))
    assert len({sign for _, sign in shades}) == len(shades)


def row(name, **cells):
    return Row(name, "1.0", {quantity: cells.get(quantity, Cell(NONE)) for quantity in QUANTITIES})


def test_every_kind_has_its_words():
    cells = {
        "fisher": Cell("depends on the batch size", "empirical", 1e-8, 1.0, (1.0, 0.25, 0.125)),
        "ewc_2": Cell("times a constant", "", 1.0, 2.0),
        "mas": Cell("not run", text="killed by SIGKILL"),
        "lwf": Cell("no effect", text="0 everywhere"),
        "gem": Cell("refused", text="E: " + "x" * 200),
        "agem": Cell("exact", "", 1e-16, 1.0),
        "bwt": Cell("another quantity", "over T", 0.25, 0.9),
        "fwt": Cell("another quantity", text="1 of 5 are no numbers"),
    }
    frame = audit.numbers(
        [
            row("avalanche", **{name: cell for name, cell in cells.items() if name != "bwt"}),
            row("gmumcl", bwt=cells["bwt"]),
        ]
    )
    said = {cell.quantity: audit.said(cell) for cell in frame.itertuples()}
    assert said["fisher"] == "x 1, 0.25, 0.125 at batch sizes 1, 8, 64 (empirical)"
    assert said["ewc_2"] == "x 2" and said["mas"] == "killed by SIGKILL" and said["lwf"] == "0 everywhere"
    assert said["gem"].endswith("x...") and len(said["gem"]) < 100
    assert said["agem"] == "relative error 1e-16" and said["bwt"] == "relative error 0.25 (over T)"
    assert said["fwt"] == "1 of 5 are no numbers"
    page = audit.page(frame)
    assert "### Avalanche 1.0" in page and "| gmumcl" in page and "2 libraries, 8 cells" in page


def test_factors_have_their_names():
    expected = {0.5: "0.5 = 1/2", 2.0: "2", 6.25: "6.25 = T^2", 64.0: "64 = N", 1.016: "1.016 = N/(N-1)", 3.0: "3"}
    assert {value: audit.factor(value) for value in expected} == expected


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """The command with rows made up, in a folder of this test."""
    monkeypatch.setattr(audit, "LOCAL", tmp_path)
    monkeypatch.setattr(drawing, "FOLDER", tmp_path / "reference")
    fake = {"bwt": (None, "exact", "the words", "a.py"), "fwt": (None, "times 2", "twice", "b.py")}
    monkeypatch.setattr(library, "find", lambda name: Library("p", f"The {name}", fake))

    def go(cell, *arguments):
        own = Row("x", "1.0", row("x", bwt=cell, fwt=Cell("times a constant", factor=2.0)).cells)
        monkeypatch.setattr(audit, "audit", lambda name: Row(name, own.version, own.cells))
        return main(["audit", "--jobs", "1", *arguments])

    return go


def test_some_libraries_are_written_beside_your_own_runs(measured, tmp_path, capsys):
    assert measured(Cell("exact", error=0.0, factor=1.0), "--libs", "cl-gym, renate,") == 0
    assert (tmp_path / "tables" / "audit.csv").exists() and not (tmp_path / "reference").exists()
    shown = capsys.readouterr()
    assert "1 of 2: cl_gym 1.0" in shown.err and "The renate" in shown.out
    read = audit.read(tmp_path / "tables" / "audit.csv")
    assert read.library.unique().tolist() == ["cl_gym", "renate"] and read.text.tolist() == [""] * 4


def test_a_claim_that_no_longer_holds_is_named_and_is_status_1(measured, capsys):
    assert measured(Cell("another quantity", "", 0.1, 1.0), "--libs", "renate") == 1
    assert "renate, bwt: the words claim 'exact', measured is 'another quantity" in capsys.readouterr().err


def test_ctrl_c_ends_the_libraries_at_work(measured, monkeypatch, tmp_path):
    started, mark = threading.Event(), tmp_path / "alive"
    script = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"

    def work(name):
        if name == "gmumcl":
            started.wait(10)
            time.sleep(0.3)
            raise KeyboardInterrupt
        started.set()
        run._run([sys.executable, "-c", script], str(tmp_path), 60.0)

    monkeypatch.setattr(audit, "audit", work)
    begun = time.monotonic()
    assert main(["audit", "--jobs", "2", "--libs", "gmumcl,renate,avalanche,capymoa"]) == 130
    assert time.monotonic() - begun < 2.5 and not run.RUNNING
    time.sleep(3.2 - (time.monotonic() - begun))
    assert not mark.exists()


def test_a_library_that_was_not_run_claims_nothing(measured):
    assert measured(Cell("not run", text="no Java"), "--libs", "renate") == 0


@pytest.mark.parametrize(
    ("libs", "message"),
    [("avalanch", "unknown library 'avalanch'; the nearest is 'avalanche'"), (" , ", "LIBS must name libraries")],
)
def test_mistakes_are_one_line(libs, message, capsys):
    assert main(["audit", "--libs", libs]) == 2
    assert message in capsys.readouterr().err


def test_the_report_shows_the_picture_and_each_cell(found, tmp_path):
    text = html([], tmp_path, audited=audit_of(drawing.FOLDER))
    assert "<script>alert" not in text and text.count("data:image/png;base64,") == 1
    rows = re.findall(r"<tr><th scope=.row.>([^<]*)</th><td>([^<]*)</td><td>([^<]*)</td><td><code>", text)
    assert [tuple(map(unescape, row)) for row in rows] == [
        tuple(cell[:3]) for cells in audit.by_library(found).values() for cell in cells
    ]
    assert len(rows) == len(found) and "curvlinops 3.0.1 (" in text
    assert audit_of(tmp_path) is None and "audit-title" not in html([], tmp_path)

"""The looks of a method: one colour and marker in all figures, told apart in grey, and for those who see no colours."""

from dataclasses import replace
from itertools import combinations

from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

import methods
from paper_tables import declaration, drawing, ledger
from paper_tables.figures import curves, plane, strengths, strips
from paper_tables.figures.courses import courses
from paper_tables.references import references

# Markers that might be taken for one another. Triangles that point elsewhere are not.
ALIKE = ({"o", "h", "H", "p"}, {"D", "d", "s"}, {(4, 1, 0), (4, 1, 45)}, {"X", "P"}, {drawing.FLAT, drawing.UPRIGHT})
FAR = 0.08  # of the lightness from black to white


def lightness(colour):
    """CIE L* of a colour, from 0 to 1."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
    Y = sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return (116 * Y ** (1 / 3) - 16) / 100 if Y > 0.008856 else 9.033 * Y


def test_methods_have_their_own_marker_and_colour():
    assert set(drawing.STYLES) <= set(methods.names())
    for looks in (
        [style.marker for style in drawing.STYLES.values()],
        [to_hex(style.colour) for style in drawing.STYLES.values()],
        [str(style.line) for style in drawing.STYLES.values()],
    ):
        doubled = {look for look in looks if looks.count(look) > 1}
        assert doubled <= {"-", "#000000"}  # GEM and joint training are black


def test_markers_that_look_alike_differ_in_grey():
    for (one, a), (other, b) in combinations(drawing.STYLES.items(), 2):
        for group in ALIKE:
            if {a.marker, b.marker} <= group:
                assert abs(lightness(a.colour) - lightness(b.colour)) >= FAR, (one, other)


def test_every_colour_is_seen_on_white():
    assert all(lightness(style.colour) < 0.75 for style in drawing.STYLES.values())


def test_a_new_method_has_looks_of_its_own():
    stay, other = drawing.style("stay"), drawing.style("other")
    assert stay == drawing.style("stay") and stay.marker not in {s.marker for s in drawing.STYLES.values()}
    assert stay.label == "stay" and stay.marker != other.marker
    Figure().subplots().plot([1], [1], marker=stay.marker, color=stay.colour)


def test_rows_of_one_method_differ_by_their_fill():
    marks = drawing.marks({"Adam": "naive", "EWC": "ewc", "SGD": "naive", "Adagrad": "naive"})
    assert [marks[row]["fillstyle"] for row in ("Adam", "SGD", "Adagrad", "EWC")] == ["full", "none", "left", "full"]
    assert len({(mark["color"], mark["marker"]) for mark in marks.values()}) == 2


def test_a_method_has_one_colour_in_all_figures():
    table = declaration.load("splitdigits")
    mas = [course for course in courses(references(table).results) if course.label in ("MAS", "Offline")]
    task = [course for course in mas if course.scenario == "task"]
    alone = replace(table, rows=tuple(row for row in table.rows if row.label == "MAS"))
    figures = [
        plane.draw(table, mas),
        strips.draw(table, mas),
        curves.draw(table, "task", task),
        strengths.draw(alone, "task", ledger.read("splitdigits")),
    ]
    style = drawing.STYLES["mas"]
    for drawn in figures:
        lines = [line for axes in drawn.figure.axes for line in axes.lines if line.get_marker() == style.marker]
        assert lines and {to_hex(line.get_color()) for line in lines} == {to_hex(style.colour)}

"""The figures share this module: the looks of each method, a canvas, and the files of a figure.

A method has the same colour, line and marker in all figures. The marker tells it without its colour: where two markers
look alike, one of the colours is lighter. Rows of one table that run the same method differ by how
their marker is filled and by their line.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from benchmarks import machine
from benchmarks.files import ROOT, shown, write_atomically

FOLDER = ROOT / "results" / "tables"
DPI = 150
LEAST = 1.0  # points of accuracy that an axis spans at least, so that tenths do not look large
COLOURS, GREYS = 128, (0, *range(7, 256, 8))  # of a small picture
TINT = 16  # levels between the channels of a colour, at least: with less it would stand for white or a grey
DIGITS = "%.4g"  # of a number in a CSV
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, *_, CYAN = sns.color_palette("colorblind")


@dataclass(frozen=True)
class Style:
    """Hold a method's name in a figure, its colour, its line and its marker."""

    label: str
    colour: tuple[float, float, float] | str
    line: str | tuple
    marker: str | tuple


# Colours of one family of methods are neighbours. A marker of numbers is a star: (points, 1, degrees).
HOURGLASS = ((-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1))
BOW_TIE = ((-1, -1), (-1, 1), (1, -1), (1, 1), (-1, -1))
FLAT = ((-1, -0.45), (1, -0.45), (1, 0.45), (-1, 0.45), (-1, -0.45))
TEE = ((-1, 1), (1, 1), (1, 0.3), (0.35, 0.3), (0.35, -1), (-0.35, -1), (-0.35, 0.3), (-1, 0.3), (-1, 1))
UPRIGHT = ((-0.45, -1), (-0.45, 1), (0.45, 1), (0.45, -1), (-0.45, -1))
STYLES = {
    "naive": Style("fine-tuning", "0.35", (0, (1, 1.2)), "*"),
    "joint": Style("joint training", "0.0", "-", "d"),
    "ewc": Style("EWC", BLUE, "-", "s"),
    "online_ewc": Style("online EWC", CYAN, (0, (5, 1.5)), "D"),
    "ewcpp": Style("EWC++", "#17426b", (0, (5, 1.5, 1, 1.5)), "p"),
    "si": Style("SI", ORANGE, (0, (4, 1, 1, 1)), "^"),
    "mas": Style("MAS", GREEN, (0, (6, 1)), "o"),
    "rwalk": Style("RWalk", PURPLE, (0, (2, 1)), "v"),
    "scp": Style("SCP", RED, (0, (3, 1, 1, 1, 1, 1)), "X"),
    "l2": Style("L2", BROWN, (0, (6, 1, 1, 1)), "P"),
    "gem": Style("GEM", "0.0", (0, (3, 1.5)), "h"),
    "agem": Style("A-GEM", "0.68", (0, (3, 3)), "H"),
    "replay": Style("experience replay", "#7a3b00", (0, (8, 1)), (4, 1, 0)),
    "rehearsal": Style("rehearsal", "#b5651d", (0, (8, 1, 1, 1)), (4, 1, 45)),
    "icarl": Style("iCaRL", "#005f46", (0, (8, 1, 3, 1)), TEE),
    "lwf": Style("LwF", "#a89000", (0, (4, 2)), "<"),
    "dgr": Style("DGR", "#8f2d63", (0, (2, 2)), ">"),
    "rtf": Style("RtF", "#e377ad", (0, (2, 2, 4, 2)), BOW_TIE),
    "xdg": Style("XdG", "#a8a4e6", (0, (1, 2)), FLAT),
    "pnn": Style("PNN", "#6a3d9a", (0, (6, 2)), HOURGLASS),
    "den": Style("DEN", "#4b5d16", (0, (6, 2, 2, 2)), UPRIGHT),
}
FILLS = ("full", "none", "left", "right", "top", "bottom")  # of the marker, for rows of one method
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 2)))


def style(method: str) -> Style:
    """Return the looks of a method. One that is not listed is grey, and its first letter is its marker."""
    if method in STYLES:
        return STYLES[method]
    grey = 0.25 + int(hashlib.sha256(method.encode()).hexdigest(), 16) % 5 / 10
    return Style(method, f"{grey:.2f}", "-", f"${method[0].upper()}$")


def marks(methods: dict[str, str]) -> dict[str, dict]:
    """Return how the marker of each row is drawn: {row: method} -> {row: options of Axes.plot}."""
    drawn, before = {}, list(methods.values())
    for n, (row, method) in enumerate(methods.items()):
        fill = FILLS[before[:n].count(method) % len(FILLS)]
        looks = style(method)
        drawn[row] = {"color": looks.colour, "marker": looks.marker, "fillstyle": fill, "markerfacecoloralt": "white"}
    return drawn


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Lend a figure of this size in inches, in the common style."""
    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), sns.plotting_context("paper"):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing


def lines(axes, n: int, margin: float) -> None:
    """Shade every other of n lines of marks. The horizontal axis gets a few round ticks and LEAST points at least."""
    for line in range(1, n, 2):
        axes.axhspan(line - 0.5, line + 0.5, color="0.965", zorder=0)
    axes.grid(False, axis="y")
    axes.margins(x=margin)
    sns.despine(ax=axes, left=True)
    left, right = axes.get_xlim()
    if right - left < LEAST:
        axes.set_xlim((left + right - LEAST) / 2, (left + right + LEAST) / 2)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def png(drawing: Figure, dpi: int = DPI) -> bytes:
    """Return the figure as a PNG."""
    return picture(drawing, "png", dpi)


def picture(drawing: Figure, form: str, dpi: int = DPI) -> bytes:
    """Return the figure as a PNG or an SVG. The same figure gives the same bytes."""
    data = io.BytesIO()
    with rc_context({"svg.hashsalt": "continual"}):
        drawing.savefig(data, format=form, dpi=dpi, metadata={"Date": None} if form == "svg" else None)
    return data.getvalue()


def small(png: bytes) -> bytes:
    """Return a PNG with few colours, a third of its bytes. MAXCOVERAGE keeps colours of few pixels, as of marks."""
    data, picture = io.BytesIO(), Image.open(io.BytesIO(png)).convert("RGB")
    found = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).getpalette()[: 3 * COLOURS]
    colours = [colour for colour in zip(*[iter(found)] * 3, strict=True) if max(colour) - min(colour) > TINT]
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for colour in [*colours, *((grey,) * 3 for grey in GREYS)] for level in colour])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(data, format="png", optimize=True)
    return data.getvalue()


def write(folder: Path, name: str, page: str, picture: bytes, numbers: dict[str, pd.DataFrame] | None = None) -> None:
    """Write a figure, its page and its numbers, each under `name` and its key. Print the page.

    The page ends with the code and the versions that made it.
    """
    versions = machine.versions()
    made_by = ", ".join(f"{package} {versions[package]}" for package in ("python", "torch", "numpy"))
    page += f"\nMade by commit {machine.commit()} with {made_by}.\n"
    files = {".md": page, ".png": picture}
    for key, frame in (numbers or {}).items():
        files[f"{key}.csv"] = frame.to_csv(index=False, float_format=DIGITS, lineterminator="\n")
    for ending, content in files.items():
        write_atomically(folder / f"{name}{ending}", content)
    print(page, end="")
    print(f"written: {', '.join(str(shown(folder / f'{name}{ending}')) for ending in files)}")

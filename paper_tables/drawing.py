"""The figures share this module: the looks of each method, a canvas, and the files of a figure.

A method has the same colour, line and marker in all figures. Line and marker tell it without its colour.
"""

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

from benchmarks import machine
from benchmarks.files import shown, write_atomically
from benchmarks.record import ROOT

FOLDER = ROOT / "results" / "tables"
DPI = 150
DIGITS = "%.4g"  # of a number in a CSV
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, _, GREY, _, CYAN = sns.color_palette("colorblind")


@dataclass(frozen=True)
class Style:
    """Hold a method's name in a figure, its colour, its line and its marker."""

    label: str
    colour: tuple[float, float, float] | str
    line: str | tuple
    marker: str


STYLES = {
    "naive": Style("fine-tuning", "0.35", (0, (1, 1.2)), "*"),
    "ewc": Style("EWC", BLUE, "-", "s"),
    "online_ewc": Style("online EWC", CYAN, (0, (5, 1.5)), "D"),
    "si": Style("SI", ORANGE, (0, (4, 1, 1, 1)), "^"),
    "mas": Style("MAS", GREEN, (0, (6, 1)), "o"),
    "rwalk": Style("RWalk", PURPLE, (0, (2, 1)), "v"),
    "scp": Style("SCP", RED, (0, (3, 1, 1, 1, 1, 1)), "X"),
    "l2": Style("L2", BROWN, (0, (6, 1, 1, 1)), "P"),
    "gem": Style("GEM", "0.0", (0, (3, 1.5)), "h"),
}


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Lend a figure of this size in inches, in the common style."""
    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), sns.plotting_context("paper"):
        drawing = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing


def png(drawing: Figure, dpi: int = DPI) -> bytes:
    """Return the figure as a PNG."""
    return picture(drawing, "png", dpi)


def picture(drawing: Figure, form: str, dpi: int = DPI) -> bytes:
    """Return the figure as a PNG or an SVG. The same figure gives the same bytes."""
    data = io.BytesIO()
    with rc_context({"svg.hashsalt": "continual"}):
        drawing.savefig(data, format=form, dpi=dpi, metadata={"Date": None} if form == "svg" else None)
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

"""The picture of the audit: a grid of libraries by quantities. Shade and sign of a cell say the same."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from benchmarks.audit.base import library
from benchmarks.audit.base.classify import BATCH, CONSTANT, EXACT, NO_EFFECT, NOT_RUN, OTHER, REFUSED
from benchmarks.audit.base.quantities import FISHERS, METHODS, METRICS, QUANTITIES
from paper_tables import drawing

# The lightness falls from kind to kind, so that the picture reads in grey.
LOOKS = {  # colour, colour of the sign, sign
    EXACT: ("#e3f2e9", "#2b6b4a", "="),
    CONSTANT: ("#eccb4e", "black", "×"),
    OTHER: ("#e8a03c", "black", "≠"),
    BATCH: ("#3a86bb", "white", "B"),
    NO_EFFECT: ("#6f3670", "white", "0"),
    REFUSED: ("#1f1f1f", "white", "!"),
    NOT_RUN: ("white", "0.4", "?"),
}
SIDE = 0.34  # inches, of a cell
LEFT, RIGHT, TITLES, LEGEND, BOTTOM = 1.75, 0.95, 1.35, 0.62, 0.12  # inches
GAP = 0.5  # cells, between two groups of columns
PANELS = (("methods", METHODS), ("metrics", METRICS)), (("Fisher diagonals", FISHERS),)


def figure(found: pd.DataFrame) -> bytes:
    """Return a PNG: a panel of methods and metrics, and one of Fisher diagonals, below a legend."""
    panels = [panel for panel in (_columns(found, groups) for groups in PANELS) if panel]
    names = [[name for name in dict.fromkeys(found.library) if _has(found, name, columns)] for columns in panels]
    heights = [TITLES + SIDE * len(own) for own in names]
    width = LEFT + SIDE * (max(max(columns.values()) for columns in panels) + 1) + RIGHT
    total = LEGEND + sum(heights) + BOTTOM
    with drawing.canvas(width, total) as picture:
        picture.set_layout_engine("none")
        axes = picture.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-LEFT / SIDE, (width - LEFT) / SIDE), ylim=(total / SIDE, 0))
        axes.set_axis_off()
        _legend(axes)
        top = LEGEND / SIDE
        for columns, own, height in zip(panels, names, heights, strict=True):
            _panel(axes, found, columns, own, top + TITLES / SIDE)
            top += height / SIDE
        return drawing.png(picture)


def _columns(found: pd.DataFrame, groups: tuple) -> dict[str, float]:
    """Return the place of each quantity that some library has, with a gap between two groups."""
    used, places, x = set(found.quantity), {}, 0.0
    for _, group in groups:
        own = [name for name, quantity in QUANTITIES.items() if quantity.group == group and name in used]
        for name in own:
            places[name] = x
            x += 1
        x += GAP if own else 0
    return places


def _has(found: pd.DataFrame, name: str, columns: dict[str, float]) -> bool:
    return bool(found[found.library == name].quantity.isin(list(columns)).any())


def _panel(axes: Axes, found: pd.DataFrame, columns: dict[str, float], names: list[str], top: float) -> None:
    cells = {(cell.library, cell.quantity): cell for cell in found.itertuples()}
    for quantity, x in columns.items():
        text = QUANTITIES[quantity].title
        axes.text(x + 0.4, top - 0.15, text, rotation=50, rotation_mode="anchor", va="bottom", fontsize=7.5)
    for row, name in enumerate(names):
        y = top + row + 0.5
        version = found[found.library == name].version.iloc[0]
        axes.text(-0.15, y, f"{library.find(name).label} {version}".strip(), ha="right", va="center", fontsize=7.5)
        for quantity, x in columns.items():
            cell = cells.get((name, quantity))
            if cell is None:
                axes.text(x + 0.5, y, "–", ha="center", va="center", color="0.75", fontsize=7)
            else:
                _cell(axes, x, y, cell.kind, f"×{cell.factor:.3g}" if cell.kind == CONSTANT else LOOKS[cell.kind][2])


def _cell(axes: Axes, x: float, y: float, kind: str, sign: str) -> None:
    colour, ink, _ = LOOKS[kind]
    axes.add_patch(Rectangle((x + 0.03, y - 0.47), 0.94, 0.94, facecolor=colour, edgecolor="0.7", linewidth=0.4))
    size = {1: 8.5, 2: 8, 3: 7.5, 4: 6.5, 5: 5.8}.get(len(sign), 4.6)
    axes.text(x + 0.5, y + 0.03, sign, ha="center", va="center", color=ink, fontsize=size)


def _legend(axes: Axes) -> None:
    """Two lines of kinds."""
    kinds = [kind for kind in LOOKS if kind != NOT_RUN]
    for n, kind in enumerate(kinds):
        x, y = -4.2 + 8.0 * (n % 3), 0.62 + 1.02 * (n // 3)
        _cell(axes, x, y, kind, LOOKS[kind][2])
        axes.text(x + 1.2, y + 0.03, kind, va="center", fontsize=8)
    axes.text(20.1, 0.62, "– not offered", va="center", fontsize=8, color="0.35")
    axes.text(20.1, 1.64, "? not run", va="center", fontsize=8, color="0.35")

"""The picture of the audit: a grid of libraries by quantities. Shade and sign of a cell say the same."""

import pandas as pd
from matplotlib.patches import Rectangle

from benchmarks.audit.base import library
from benchmarks.audit.base.classify import BATCH, CONSTANT, EXACT, NO_EFFECT, NOT_RUN, OTHER, REFUSED
from benchmarks.audit.base.quantities import FISHERS, QUANTITIES
from paper_tables import drawing

# The lightness falls from kind to kind, so that the picture reads in grey.
LOOKS = {  # colour, colour of the sign, sign
    EXACT: ("#dff0e6", "#2b6b4a", "="),
    CONSTANT: ("#f4e28a", "black", "×"),
    OTHER: ("#eaa03c", "black", "≠"),
    BATCH: ("#3f8fc4", "white", "B"),
    NO_EFFECT: ("#7b3f78", "white", "0"),
    REFUSED: ("#262626", "white", "!"),
    NOT_RUN: ("white", "0.4", "?"),
}
SIDE, LEFT, TITLES, LEGEND = 0.34, 1.35, 1.25, 0.42  # inches: of a cell, of the labels, of the headings, of the legend


def figure(found: pd.DataFrame) -> bytes:
    """Return a PNG: one grid of methods and metrics, and one of Fisher diagonals, below a legend."""
    grids = [
        [
            name
            for name, quantity in QUANTITIES.items()
            if (quantity.group == FISHERS) == fishers and name in set(found.quantity)
        ]
        for fishers in (False, True)
    ]
    grids = [(quantities, _libraries(found, quantities)) for quantities in grids if quantities]
    width = LEFT + SIDE * max(len(quantities) for quantities, _ in grids) + 0.75
    heights = [TITLES + SIDE * len(libraries) + 0.1 for _, libraries in grids]
    total = sum(heights) + LEGEND
    with drawing.canvas(width, total) as picture:
        picture.set_layout_engine("none")
        top = total - LEGEND
        for (quantities, libraries), height in zip(grids, heights, strict=True):
            top -= height
            size = (SIDE * len(quantities), SIDE * len(libraries))
            axes = picture.add_axes((LEFT / width, (top + 0.05) / total, size[0] / width, size[1] / total))
            _grid(axes, found, quantities, libraries)
        _legend(picture.add_axes((0.02, 1 - LEGEND / total, 0.96, LEGEND / total)), width)
        return drawing.png(picture)


def _libraries(found: pd.DataFrame, quantities: list[str]) -> list[str]:
    return list(dict.fromkeys(found[found.quantity.isin(quantities)].library))


def _grid(axes, found: pd.DataFrame, quantities: list[str], libraries: list[str]) -> None:
    cells = {(cell.library, cell.quantity): cell for cell in found.itertuples()}
    for row, name in enumerate(libraries):
        for column, quantity in enumerate(quantities):
            cell = cells.get((name, quantity))
            if cell is not None:
                _cell(axes, column, row, cell.kind, _sign(cell))
    axes.set(xlim=(-0.5, len(quantities) - 0.5), ylim=(len(libraries) - 0.5, -0.5))
    axes.set_yticks(range(len(libraries)), [library.find(name).label for name in libraries], fontsize=8)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(quantities)), [QUANTITIES[name].title for name in quantities], fontsize=7.5)
    for label in axes.get_xticklabels():
        label.set(rotation=50, ha="left", rotation_mode="anchor")
    axes.tick_params(length=0, pad=2)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _sign(cell) -> str:
    return f"×{cell.factor:.2g}" if cell.kind == CONSTANT else LOOKS[cell.kind][2]


def _cell(axes, x: float, y: float, kind: str, sign: str) -> None:
    colour, ink, _ = LOOKS[kind]
    axes.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, facecolor=colour, edgecolor="0.75", linewidth=0.4))
    size = 8.5 if len(sign) < 3 else 6.5 if len(sign) < 5 else 5.3
    axes.text(x, y + 0.02, sign, ha="center", va="center", color=ink, fontsize=size)


def _legend(axes, width: float) -> None:
    axes.set(xlim=(0, width / SIDE), ylim=(1, -0.2))
    axes.set_axis_off()
    x = 1.0
    for kind, (_, _, sign) in LOOKS.items():
        if kind != NOT_RUN:
            _cell(axes, x, 0.45, kind, sign)
            axes.text(x + 0.65, 0.47, kind, va="center", fontsize=7.5)
            x += 1.5 + 0.235 * len(kind)

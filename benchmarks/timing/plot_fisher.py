"""This module draws the figure of compare_fisher.py: time against error, in a panel for each network."""

import io
import math
import statistics

import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

BLUE, ORANGE = sns.color_palette("colorblind")[:2]
NOTHING = 1e2  # the place of a diagonal that is not a number
SPLIT = 1e-3  # errors of rounding lie left of it; errors of another definition or of a draw lie right
LABELS = {"left": 4e-5, "right": 3e2}  # where labels begin
GAP = 0.033  # of the height, between labels


def figure(rows) -> bytes:
    """Return a PNG of the timed rows. This suite has one colour. Hollow marks are estimates or replacements."""
    nets = list(dict.fromkeys(row.net for row in rows))
    with sns.axes_style("whitegrid", {"grid.color": "0.9"}), sns.plotting_context("paper"):
        drawing = Figure(figsize=(7.5 * len(nets), 6.5), layout="constrained")
        FigureCanvasAgg(drawing)
        for axes, net in zip(drawing.subplots(1, len(nets), squeeze=False)[0], nets, strict=True):
            _panel(axes, [row for row in rows if row.net == net and row.ratios])
            axes.set_title(net)
        drawing.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False)
        data = io.BytesIO()
        drawing.savefig(data, format="png", dpi=150)
    return data.getvalue()


def _panel(axes, rows):
    points = [(row, statistics.median(row.ratios), row.error if row.error < NOTHING else NOTHING) for row in rows]
    low, high = math.log10(min(time for _, time, _ in points)), math.log10(max(time for _, time, _ in points))
    margin = 0.1 * (high - low)
    axes.set(xscale="log", yscale="log", xlim=(1e-8, 1e7), ylim=(10 ** (low - margin), 10 ** (high + margin)))
    axes.set_xticks([1e-8, 1e-6, 1e-4, 1e-2, 1, NOTHING], ["1e-8", "1e-6", "1e-4", "1e-2", "1", "not a\nnumber"])
    axes.minorticks_off()
    axes.set_xlabel("relative error")
    axes.set_ylabel("CPU time / forward and backward pass")
    for side, start in LABELS.items():
        group = sorted((p for p in points if (p[2] < SPLIT) == (side == "left")), key=lambda p: p[1])
        places = _apart([math.log10(time) for _, time, _ in group], GAP * (high - low + 2 * margin))
        for (row, time, error), place in zip(group, places, strict=True):
            colour, marker = _look(row.ours)
            face = "white" if row.peer.note else colour
            axes.plot(error, time, marker, color=colour, markerfacecolor=face, markersize=5, zorder=3)
            line = {"arrowstyle": "-", "color": "0.7", "linewidth": 0.6, "relpos": (0, 0.5)}
            axes.annotate(row.name, (error, time), (start, 10**place), va="center", fontsize=8, arrowprops=line)


def _look(ours: bool):
    return (BLUE, "o") if ours else (ORANGE, "D")


def _apart(values: list[float], gap: float) -> list[float]:
    """Move rising values as little as it takes to be `gap` apart. Groups that touch are centred on their mean."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _ends(groups[-2], gap)[1] + gap > _ends(groups[-1], gap)[0]:
            last = groups.pop()
            groups[-1] += last
    return [_ends(group, gap)[0] + k * gap for group in groups for k in range(len(group))]


def _ends(group: list[float], gap: float) -> tuple[float, float]:
    half = gap * (len(group) - 1) / 2
    return statistics.mean(group) - half, statistics.mean(group) + half


def _legend() -> list[Line2D]:
    handles = []
    for ours, name in ((True, "this suite"), (False, "others")):
        colour, marker = _look(ours)
        for face, kind in ((colour, ""), ("white", ", drawn, by products or of batch means")):
            style = {"color": colour, "markerfacecolor": face, "linestyle": "none", "markersize": 5}
            handles.append(Line2D([], [], marker=marker, label=name + kind, **style))
    return handles

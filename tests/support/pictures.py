"""The texts of a figure: which cover one another, and which are cut off."""

from itertools import combinations


def texts(figure):
    """The texts that are drawn: a tick outside of its axis is not."""
    found, parts = [], [figure, *figure.subfigs]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    found += [part._suptitle for part in parts]
    for legend in filter(None, legends):
        found += [legend.get_title(), *legend.get_texts()]
    for axes in (axes for axes in figure.axes if axes.get_visible()):
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [label for tick in ticks for label in (tick.label1, tick.label2)] if axis.get_visible() else []
    return [text for text in found if text is not None and text.get_visible() and text.get_text().strip()]


def faults(figure):
    """The pairs of texts of a figure that cover one another, and the texts that reach beyond it."""
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    width, height = figure.canvas.get_width_height()
    pairs = [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1
    ]
    cut = [text for text, b in boxes if b.x0 < -1 or b.x1 > width + 1 or b.y0 < -1 or b.y1 > height + 1]
    return pairs + cut

"""Draw the error surfaces of two tasks on one plane, and the paths that methods take on the second task.

A network of the table `splitdigits` learns the first task, 0 against 1, and stands at theta_1. From there it learns the
second, 2 against 3, by fine-tuning (to theta_2), with L2, with EWC and with GEM. Joint training on both tasks also
starts at theta_1 and leads to theta_12. These three solutions span the plane, with orthonormal u and v:

    theta(a, b) = theta_1 + a u + b v      u along theta_2 - theta_1, v towards theta_12

A surface is the mean cross entropy of a task's training data at theta(a, b). A path is drawn at its projection (u .
(theta - theta_1), v . (theta - theta_1)). It leaves the plane, and `off_plane` says how far: the distance from theta to
its projection, over the distance from theta to theta_1. Fine-tuning ends on the plane by definition.

Training and GEM's memory are those of the table (domain-incremental). L2 and EWC take the best of the strengths that
the table searches, but for these two tasks: by the mean accuracy on the images that are held out of their training
sets, on a seed that no table reports. `make figure-landscape` writes figure, page and numbers to
results/tables/landscape*.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.patheffects import Normal, Stroke
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks import numerics, streams
from benchmarks.learner import Train, learn, network
from benchmarks.markdown import table as markdown_table
from benchmarks.stream import Stream
from methods import make
from methods.base.examples import Examples
from methods.base.method import cross_entropy
from methods.base.net import Net
from paper_tables import declaration, drawing, ledger
from paper_tables.declaration import Row
from paper_tables.watched import watched

TABLE, SCENARIO, SEED = "splitdigits", "domain", 1
ROWS = {"naive": "Adam", "l2": "L2", "ewc": "EWC", "gem": "GEM"}  # of the table, by method
JOINT = "Offline"
SIDE = 61  # points of a surface along an axis
MARGIN = 0.35  # of the span of the solutions, on each side
CHUNK = 64  # points of a surface at a time


@dataclass(frozen=True)
class Plane:
    """Hold the plane through three solutions: theta_1 [P] and the orthonormal u and v [P]."""

    origin: Tensor
    u: Tensor
    v: Tensor

    @classmethod
    def through(cls, one: Tensor, two: Tensor, joint: Tensor) -> "Plane":
        """Return the plane through three points that are not on one line."""
        u = (two - one) / (two - one).norm()
        rest = (joint - one) - ((joint - one) @ u) * u
        return cls(one, u, rest / rest.norm())

    def project(self, thetas: Tensor) -> Tensor:
        """Return (a, b) [S, 2] of thetas [S, P]."""
        return (thetas - self.origin) @ torch.stack([self.u, self.v], 1)

    def at(self, places: Tensor) -> Tensor:
        """Return theta(a, b) [S, P] at places [S, 2]."""
        return self.origin + places @ torch.stack([self.u, self.v])

    def off(self, thetas: Tensor) -> Tensor:
        """Return the distances [S] of thetas [S, P] from the plane over those from theta_1, 0 at theta_1."""
        from_start = (thetas - self.origin).norm(dim=1)
        return (thetas - self.at(self.project(thetas))).norm(dim=1) / from_start.where(from_start > 0, 1.0)


@dataclass(frozen=True)
class Landscape:
    """Hold the plane, the places [3, 2] of the solutions, the surfaces on a grid, and the paths in full."""

    plane: Plane
    solutions: Tensor
    axes: tuple[Tensor, Tensor]  # a [SIDE], b [SIDE]
    losses: Tensor  # [2, SIDE, SIDE] of both tasks, by b and a
    paths: dict[str, Tensor]  # by method: theta [S, P] after every step of the second task, from theta_1 on
    path_losses: dict[str, Tensor]  # by method: [S, 2], in the full space
    joint_losses: list[float]  # of joint training on both tasks
    accuracies: dict[str, list[float]]  # by method, and of "joint": test accuracy on both tasks at the end, in percent


def main(root: Path, folder: Path = drawing.FOLDER) -> None:
    """Train, evaluate the surfaces, and write the figure, its page and its numbers."""
    numerics.settle()
    table = declaration.load(TABLE)
    rows = {row.label: row for row in table.rows}
    stream = first_two(streams.build(streams.resolve(rows[JOINT].stream), SCENARIO, SEED, root))
    options = options_of(rows, stream)
    found = landscape(options, Train(**rows[JOINT].train), stream, SIDE)
    files = {"": paths(found), "-surface": surface(found)}
    drawing.write(folder, "landscape", page(found, options), figure(found), files)


def options_of(rows: dict[str, Row], stream: Stream) -> dict[str, dict]:
    """Return the options of each method. A strength that the table searches is searched for this stream."""
    held_out, seed = stream.evaluated_on("held-out"), ledger.SEEDS[0]
    options = {}
    for name, label in track(ROWS.items(), description="searching strengths", console=Console(stderr=True)):
        row = rows[label]
        options[name] = {key: value for key, value in row.method.items() if key not in ("name", *row.search)}
        for option, values in row.search.items():
            tried = {}
            for value in values:
                method = make(name, **options[name], **{option: value})
                net = network(row.train["net"], stream, seed)
                correct, _ = learn(method, net, net.vector(), held_out, Train(**row.train), (seed,))
                tried[value] = sum(_percent(correct[-1], held_out))
            options[name][option] = max(tried, key=tried.get)
    return options


def first_two(stream: Stream) -> Stream:
    """Return the stream of the first two tasks."""
    return replace(stream, tasks=stream.tasks[:2], tests=stream.tests[:2], owned=stream.owned[:2])


def landscape(options: dict[str, dict], train: Train, stream: Stream, side: int) -> Landscape:
    """Train every method on both tasks, and evaluate the losses on the plane."""
    tasks = [task.train for task in stream.tasks]
    net = network(train.net, stream, SEED)
    walks, accuracies = {}, {}
    for name in track(options, description="training", console=Console(stderr=True)):
        method = watched(name, options[name])
        correct, _ = learn(method, net, net.vector(), stream, train, (SEED,))
        walks[name] = torch.stack([method.ends[0], *method.path[method.lengths[0] :]])
        accuracies[name] = _percent(correct[-1], stream)
    one, two = walks["naive"][0], walks["naive"][-1]
    correct, joint = learn(make("joint"), net, one, stream.joined(), train, (SEED,))
    accuracies["joint"] = _percent(correct[-1], stream)
    plane = Plane.through(one, two, joint)
    solutions = plane.project(torch.stack([one, two, joint]))
    reached = torch.cat([solutions, *(plane.project(walk) for walk in walks.values())])
    axes = tuple(_axis(reached[:, n], side) for n in range(2))
    grid = torch.cartesian_prod(axes[1], axes[0]).flip(1)  # b is the slow index, as of the rows of a picture
    pieces = track(grid.split(CHUNK), description="surfaces", console=Console(stderr=True))
    surfaces = [losses(net, plane.at(places), tasks) for places in pieces]
    return Landscape(
        plane=plane,
        solutions=solutions,
        axes=axes,
        losses=torch.cat(surfaces).T.reshape(2, side, side),
        paths=walks,
        path_losses={
            name: torch.cat([losses(net, some, tasks) for some in w.split(CHUNK)]) for name, w in walks.items()
        },
        joint_losses=losses(net, joint[None], tasks)[0].tolist(),
        accuracies=accuracies,
    )


def _percent(correct: list[int], stream: Stream) -> list[float]:
    return [100 * n / len(test) for n, test in zip(correct, stream.tests, strict=True)]


def _axis(reached: Tensor, side: int) -> Tensor:
    """Return points that reach beyond all that is drawn."""
    low, high = float(reached.min()), float(reached.max())
    margin = MARGIN * (high - low)
    return torch.linspace(low - margin, high + margin, side)


@torch.no_grad()
def losses(net: Net, thetas: Tensor, tasks: list[Examples]) -> Tensor:
    """Return the mean cross entropy [S, 2] of both tasks' training data at thetas [S, P]."""
    columns = []
    for examples in tasks:
        x, y, mask = examples.take(torch.arange(len(examples)))
        z = net(thetas, x.expand(len(thetas), *x.shape)) + mask
        columns.append(cross_entropy(z, y.expand(len(thetas), -1)))
    return torch.stack(columns, 1)


def paths(found: Landscape) -> pd.DataFrame:
    """Return a line for each method and step: its place on the plane, how far it is off, and both losses."""
    frames = []
    for name, walk in found.paths.items():
        a, b = found.plane.project(walk).T
        one, two = found.path_losses[name].T
        values = {"a": a, "b": b, "off_plane": found.plane.off(walk), "loss_task_1": one, "loss_task_2": two}
        frames.append(pd.DataFrame({"method": name, "step": np.arange(len(walk))} | values))
    return pd.concat(frames)


def surface(found: Landscape) -> pd.DataFrame:
    """Return a line for each point of the grid: the losses of both tasks."""
    a, b = found.axes
    places = torch.cartesian_prod(b, a)
    one, two = found.losses.flatten(1)
    return pd.DataFrame({"a": places[:, 1], "b": places[:, 0], "loss_task_1": one, "loss_task_2": two})


def page(found: Landscape, options: dict[str, dict]) -> str:
    """Return the page: what to see, and where each path ends."""
    lines, last = [], paths(found).groupby("method").last()
    for name in found.paths:
        end, (first, second) = last.loc[name], found.accuracies[name]
        shown = ", ".join(f"{key} = {value:g}" for key, value in options[name].items()) or "none"
        values = [f"{end.loss_task_1:.3f}", f"{end.loss_task_2:.3f}", f"{first:.1f}", f"{second:.1f}"]
        lines.append([drawing.STYLES[name].label, shown, *values, f"{100 * end.off_plane:.0f} %"])
    off, ends = (", ".join(f"{line[0]} {line[place]}" for line in lines) for place in (-1, 2))
    first, second = found.accuracies["joint"]
    one, two = (f"{loss:.3f}" for loss in found.joint_losses)
    lines.append(["joint training", "none", one, two, f"{first:.1f}", f"{second:.1f}", "0 %"])
    header = ["", "options", "loss on task 1", "loss on task 2", "accuracy on task 1 (%)", "on task 2 (%)"]
    header.append("off the plane")
    return f"""# Error surfaces of two tasks

![Error surfaces of two tasks, and paths on them](landscape.png)

**What to see.** Both panels show the same plane of weights: left with the error of task 1 (0 against 1), right with
that of task 2 (2 against 3). Light is low. All paths start at the black disc, a solution of task 1. It is low at the
left and high at the right. Fine-tuning follows the right surface alone, down to the solution of task 2. On the left
surface the same path climbs: that is forgetting. The diamond is low on both, so there are weights that serve both
tasks, but the gradient of task 2 does not point there. L2 draws all weights back to the disc alike. EWC draws them by
their importance for task 1, and ends nearer to the diamond's direction. GEM turns each gradient so that it does not
point uphill on a memory of task 1, and leaves the high ground at the left aside. The true losses on task 1 at the ends
are {ends}.

**How much to trust it.** The plane has two of {found.plane.origin.numel()} dimensions. A path is drawn at its
projection, and the surface under it is that of the projection. So a path may stand on high ground in the picture and
be low where it is. Distance from the plane at the end of each path, as a share of the distance from the start: {off}.
The table has the losses at the true ends.

Domain-incremental split digits, the first two tasks, seed {SEED}, cross entropy on the training data. The strengths
of L2 and EWC are the best of those that the table [splitdigits](splitdigits.md) tries, on images held out of these
two tasks. Distances are Euclidean, in the units of the weights. [Paths](landscape.csv),
[surfaces](landscape-surface.csv). `make figure-landscape` writes this page, its figure and its numbers.

{markdown_table(header, lines)}
"""


def figure(found: Landscape) -> bytes:
    """Return a PNG: the surface of each task with all paths on it."""
    a, b = found.axes
    levels = np.logspace(-3, 1, 17)
    with drawing.canvas(10.4, 4.5) as picture:
        panels = picture.subplots(1, 2, sharex=True, sharey=True)
        for k, axes in enumerate(panels):
            shown = found.losses[k].clamp(levels[0], levels[-1])
            norm = mpl.colors.LogNorm(levels[0], levels[-1])
            drawn = axes.contourf(a, b, shown, levels, norm=norm, cmap="Greys", alpha=0.75)
            axes.contour(a, b, shown, levels[::4], colors="0.45", linewidths=0.5)
            for name, walk in found.paths.items():
                style = drawing.STYLES[name]
                places = found.plane.project(walk)
                halo = [Stroke(linewidth=3.6, foreground="white"), Normal()]
                looks = {"color": style.colour, "linewidth": 1.8, "path_effects": halo}
                axes.plot(*places.T, linestyle=style.line, **looks)
                end = {"color": style.colour, "marker": style.marker, "markersize": 14 if style.marker == "*" else 9}
                end |= {"markeredgecolor": "black", "markeredgewidth": 1.0}
                axes.plot(*places[-1:].T, linestyle="none", zorder=4, **end)
                axes.plot([], [], style.marker, color=style.colour, linestyle=style.line, label=style.label)
            one, _, joint = found.solutions
            for place, marker, size, inside, edge, label in (
                (one, "o", 9, "black", "white", "task 1 learnt"),
                (joint, "d", 10, "white", "black", "both learnt jointly"),
            ):
                looks = {"color": inside, "markeredgecolor": edge, "markersize": size, "zorder": 5}
                axes.plot(*place, marker, **looks, label=label)
            axes.set(
                title=f"error of task {k + 1}",
                xlabel="towards the solution of task 2 (distance in weights)",
                aspect="equal",
            )
            axes.grid(False)
        panels[0].set_ylabel("towards the joint solution\n(distance in weights)")
        bar = picture.colorbar(
            drawn, ax=panels, label="mean cross entropy (nats)", shrink=0.85, ticks=[1e-3, 1e-2, 0.1, 1, 10]
        )
        bar.ax.minorticks_off()
        picture.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
        return drawing.png(picture)

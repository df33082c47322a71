"""Compare the Fisher estimators on one trained network: each with the exact diagonal, and where its mass lies.

An MLP 784-400-400-10 is trained on MNIST for one epoch. Every diagonal is of all its training examples, in evaluation
mode. The figure has a panel for each estimator, parameter by parameter (both axes logarithmic, counts in colour). It
also shows the share of each layer in the sum of the diagonal. Parameters whose exact entry is 0 (pixels that are always
black) are left out. `make figure-fisher` writes figure and numbers to results/tables/fisher-estimators.*.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks import streams
from benchmarks.learner import Train, fit, network
from benchmarks.markdown import table as markdown_table
from benchmarks.stream import Stream
from methods import make
from methods.base.examples import Examples
from methods.base.net import Net
from methods.base.rng import generator
from methods.importance.fisher import diagonal
from paper_tables import drawing

TRAIN = Train(net="mlp-400-400", optimizer="adam", lr=1e-3, optimizer_state="keep", batch=128, epochs=1)
SEED = 1
ESTIMATORS = ("exact", "sample", "empirical", "argmax", "p_weighted", "batched", "batched_rescaled")
COLUMNS = 3
DECADES = 8  # of the exact diagonal are shown


def main(root: Path, folder: Path = drawing.FOLDER) -> None:
    """Train, estimate, and write the figure and the numbers."""
    stream = streams.build(streams.resolve({"name": "splitmnist"}), "class", SEED, root)
    net, theta, examples = trained(stream, TRAIN)
    estimates = diagonals(net, theta, examples)
    drawing.write(folder, "fisher-estimators", markdown(numbers(net, estimates)), figure(net, estimates))


def trained(stream: Stream, train: Train) -> tuple[Net, Tensor, Examples]:
    """Return a network trained on all tasks together, its parameters [P], and what it was trained on."""
    (task,) = stream.joined().tasks
    net = network(train.net, stream, SEED)
    theta, method = net.vector(), make("naive")
    method.begin(net, theta, lambda role, task, replica=0: generator(SEED, role, task))
    fit(method, theta, task, train.make_optimizer(theta), train, [generator(SEED, "batches", 0)])
    return net, theta, task.train


def diagonals(net: Net, theta: Tensor, examples: Examples) -> dict[str, Tensor]:
    """Return every estimator's diagonal [P] on the same examples."""
    shown = track(ESTIMATORS, description="diagonals", console=Console(stderr=True))
    return {name: diagonal(net, theta, examples, name, [generator(SEED, name, 0)]) for name in shown}


def numbers(net: Net, estimates: dict[str, Tensor]) -> pd.DataFrame:
    """Return for each estimator: sum over the exact sum, ||F - F*|| / ||F*||, each layer's share of its own sum."""
    exact = estimates["exact"].double()
    lines = {}
    for name, F in estimates.items():
        F = F.double()
        shares = {layer: float(F[places].sum() / F.sum()) for layer, places in layers(net).items()}
        distance = float((F - exact).norm() / exact.norm())
        lines[name] = {"sum / exact": float(F.sum() / exact.sum()), "distance": distance} | shares
    return pd.DataFrame.from_dict(lines, orient="index")


def layers(net: Net) -> dict[str, Tensor]:
    """Return the places in theta of each layer's weights and biases."""
    places = torch.arange(net.n_parameters).split(net.sizes)
    owners: dict[str, list[Tensor]] = {}
    for name, own in zip(net.shapes, places, strict=True):
        owners.setdefault(name.rpartition(".")[0], []).append(own)
    return {name: torch.cat(own) for name, own in owners.items()}


def markdown(table: pd.DataFrame) -> str:
    """Return the numbers as a page."""
    shares = list(table.columns[2:])
    header = ["", "sum / exact's sum", "distance from exact", *(f"share of {name}" for name in shares)]
    lines = [
        [name, f"{row.iloc[0]:.3g}", f"{row.iloc[1]:.2g}", *(f"{100 * share:.1f} %" for share in row.iloc[2:])]
        for name, row in table.iterrows()
    ]
    about = (
        f"{TRAIN.net} after {TRAIN.epochs} epoch of MNIST, on all its training examples. The distance from the exact\n"
        "diagonal F* is ||F - F*|| / ||F*||. `make figure-fisher` writes this page and its figure."
    )
    return f"# Fisher estimators on one network\n\n{about}\n\n{markdown_table(header, lines)}\n"


def figure(net: Net, estimates: dict[str, Tensor]) -> bytes:
    """Return a PNG with a panel for each estimator beside `exact`. The layers' shares stand below."""
    others = [name for name in estimates if name != "exact"]
    rows = -(-len(others) // COLUMNS)
    with drawing.canvas(3.1 * COLUMNS, 2.6 * rows + 2.6) as picture:
        grid = picture.add_gridspec(rows + 1, COLUMNS, height_ratios=[*[1] * rows, 0.8])
        exact = estimates["exact"].numpy()
        top = 10 ** np.ceil(np.log10(exact.max()))
        for n, name in enumerate(others):
            axes = picture.add_subplot(grid[n // COLUMNS, n % COLUMNS])
            drawn = _panel(axes, exact, estimates[name].numpy(), top)
            axes.set_title(name)
        picture.colorbar(drawn, ax=picture.axes, label="parameters", shrink=0.6, pad=0.01)
        _shares(picture.add_subplot(grid[rows, :]), numbers(net, estimates).iloc[:, 2:])
        return drawing.png(picture)


def _panel(axes, exact, other, top):
    low = top / 10**DECADES
    here = exact > 0
    values = np.clip(other[here], low, top), np.clip(exact[here], low, top)  # values beyond stand at the edge
    extent = [np.log10(low), np.log10(top)] * 2
    norm = mpl.colors.LogNorm(vmin=1, vmax=here.sum() / 10)
    scales = {"xscale": "log", "yscale": "log", "extent": extent, "norm": norm}
    drawn = axes.hexbin(values[1], values[0], gridsize=45, mincnt=1, cmap="viridis", linewidths=0, **scales)
    axes.plot([low, top], [low, top], color="0.3", linewidth=0.8, linestyle="--")
    axes.set(xlabel="exact", ylabel="estimate", aspect="equal")
    return drawn


def _shares(axes, shares):
    left = np.zeros(len(shares))
    for layer, colour in zip(shares.columns, sns.color_palette("colorblind"), strict=False):
        axes.barh(shares.index, 100 * shares[layer], left=left, color=colour, label=layer, height=0.7)
        left += 100 * shares[layer].to_numpy()
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set(xlim=(0, 100), xlabel="share of the diagonal's sum by layer (%)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)

"""Compare our Fisher diagonals with plain autograd and other packages: time, memory and error, in one table.

All run on one thread and are measured in turns, in rounds of a new order each:

    time      CPU time of a diagonal over that of a plain forward and backward pass just before it, for each
              example, because slow contenders get fewer
    memory    the most that is resident during a call above what is resident before it
    error     ||F - F*|| / ||F*||, F* from a double loop over examples and classes in float64

A drawn diagonal, or one of batch means, is compared with what it stands for. The table and its figure are written to
results/tables/bench-fisher.*.
"""

import ctypes
import math
import platform
import random
import statistics
import sys
import textwrap
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from benchmarks import machine, numerics
from benchmarks.files import ROOT, write_atomically
from benchmarks.markdown import table as markdown_table
from benchmarks.timing import plot_fisher
from benchmarks.timing.bench_fisher import SIZES, STEPS, data, network, ours, plain
from benchmarks.timing.peers import BATCH, DRAW, MEANS, PEERS, PRODUCTS, Peer, flat

FEW = 128  # examples for the errors, and for the time of slow contenders
ROUNDS, LEAST, SECONDS = 11, 3, 2.0  # a contender sits out the rounds after SECONDS, if it has had LEAST
TWO = "exact, 2 classes"
OURS = {
    "exact": Peer("torch", "exact", ours("exact")),
    TWO: Peer("torch", TWO, ours("exact", units=2)),
    "sample": Peer("torch", "exact", ours("sample"), DRAW),
    "empirical": Peer("torch", "empirical", ours("empirical")),
    "argmax": Peer("torch", "argmax", ours("argmax")),
    "p_weighted": Peer("torch", "p_weighted", ours("p_weighted")),
    "batched": Peer("torch", "empirical", ours("batched"), MEANS),
    "mas": Peer("torch", "mas", ours("mas")),
}
LIMITS = {  # what the project holds itself to
    "mlp": {"exact": 3.0, TWO: 1.3, "sample": 1.1, "empirical": 1.1, "argmax": 1.1, "mas": 1.1},
    "conv": {"exact": 9.0, "empirical": 1.9},
}


def truth(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return each estimator's diagonal [P] in float64, by its definition."""
    module, total = deepcopy(module).double(), defaultdict(float)
    parameters = list(module.parameters())

    def gradient(value: Tensor) -> Tensor:
        return flat(torch.autograd.grad(value, parameters, retain_graph=True))

    for x_n, y_n in zip(x.double(), y.tolist(), strict=True):
        z = module(x_n[None])[0]
        total["mas"] += gradient(z.square().sum()).abs()
        log_p, two = z.log_softmax(0), z[:2].log_softmax(0)
        p = log_p.detach().exp()
        for c in range(len(z)):
            square = gradient(log_p[c]).square()
            total["exact"] += p[c] * square
            total["empirical"] += square * (c == y_n)
            total["p_weighted"] += p[c] * square * (c == y_n)
            total["argmax"] += square * (c == int(p.argmax()))
        for c in range(2):
            total[TWO] += two[c].detach().exp() * gradient(two[c]).square()
    return {name: value / len(x) for name, value in total.items()}


@dataclass
class Row:
    """Hold what is known of one contender on one network. `failure` says why it is not more."""

    net: str
    label: str
    peer: Peer
    n: int  # examples that are timed
    work: Callable | None = None
    ratios: list[float] = field(default_factory=list)
    spent: float = 0.0
    memory: float = math.nan
    error: float = math.nan
    failure: str = ""

    @property
    def ours(self) -> bool:
        """Say whether the contender is this suite's."""
        return self.label in OURS

    @property
    def name(self) -> str:
        """Return the label, told apart from others'."""
        return f"ours: {self.label}" if self.ours else self.label


def installed(package: str) -> str | None:
    """Return the version of the package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def measure(net: str) -> list[Row]:
    """Measure all that is installed, on one network."""
    module, (x, y) = network(net), data(SIZES[net])
    expected, rows = truth(module, x[:FEW], y[:FEW]), []
    for label, peer in (OURS | PEERS).items():
        if not installed(peer.package):
            continue
        row = Row(net, label, peer, FEW if peer.slow else len(x))
        rows.append(row)
        try:
            F_star = expected[peer.of]
            found = peer.build(module, x[:FEW], y[:FEW])().double()
            row.error = ((found - F_star).norm() / F_star.norm()).item()
            work = peer.build(module, x[: row.n], y[: row.n])
            row.memory = peak_memory(work)
            row.work = work
        except Exception as error:  # the others go on, whatever it is
            row.failure = f"failed: {type(error).__name__}: {error}"
    base, timed = plain(BATCH)(module, x, y), [row for row in rows if row.work]
    for _ in track(range(ROUNDS), description=f"{net}: rounds", console=Console(stderr=True)):
        random.shuffle(timed)
        for row in timed:
            if len(row.ratios) < LEAST or row.spent < SECONDS:
                one, own = seconds(base), seconds(row.work)
                row.ratios.append((own / row.n) / (one / len(x)))
                row.spent += own
    return rows


def seconds(work: Callable) -> float:
    """Return the CPU time of a call. On one thread it is the wall time of a machine that does nothing else."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_memory(work: Callable) -> float:
    """Return the peak in MiB, or NaN if the system does not tell."""
    if sys.platform != "linux":
        return math.nan
    ctypes.CDLL(None).malloc_trim(0)  # otherwise memory that was freed earlier is taken again unseen
    machine.reset_peak_memory()
    before = machine.memory_mb()
    result = work()  # held until the peak is read
    peak = machine.peak_memory_mb()
    del result
    return peak - before


TITLE = "Fisher diagonals: time, memory and error"
COLUMNS = ("net", "", "what it is of", "time", "middle half", "MiB", "error", "remark")
LEFT = (True, True, True, False, False, False, False, True)
WIDTH = 150  # columns of a terminal


def cells(row: Row) -> tuple[str, ...]:
    """Return a line of the table."""
    middle = spread = "–"
    if row.ratios:
        low, _, high = statistics.quantiles(row.ratios, n=4)
        middle, spread = f"{statistics.median(row.ratios):.2f}", f"{low:.2f} to {high:.2f}"
    memory = "–" if math.isnan(row.memory) else f"{row.memory:.0f}"
    kind = f"{row.peer.of}, {row.peer.note}" if row.peer.note else row.peer.of
    limit = LIMITS[row.net].get(row.label)
    remark = row.failure or (f"at most {limit:.1f}" if limit else "")
    return row.net, row.name, kind, middle, spread, memory, f"{row.error:.0e}", remark


def caption() -> list[str]:
    """Return what has to be known to read the table, and what is missing from it."""
    packages = sorted({peer.package for peer in PEERS.values()})
    versions = [f"{name} {installed(name)}" for name in packages if installed(name)]
    cpu = machine.machine("cpu")
    notes = [
        f"Time: CPU time of a diagonal over that of a plain forward and backward pass in batches of {BATCH} over the "
        f"same data, median and middle half of {LEAST} to {ROUNDS} rounds. {SIZES['mlp']} examples for mlp, "
        f"{SIZES['conv']} for conv, {FEW} of them for what is slow (loops, Opacus, curvlinops), counted by example. At "
        "most: what the project holds itself to.",
        "MiB: the most that is resident during a call, above what is before it.",
        f"Error: relative, in the Euclidean norm, to a double loop over {FEW} examples and all classes in float64.",
        "mas: mean |gradient of the outputs' squared norm|. One draw: of a label from the model for each example. Of "
        f"batch means: squared gradients of the mean loss of {BATCH} examples, which is not a Fisher. {PRODUCTS} "
        "products: of the matrix with random vectors (Hutchinson).",
        f"mlp: 784-400-400-10. conv: conv3x3-16, conv3x3-32, pool, 128, 10, on 28x28. {STEPS} steps of Adam before.",
        f"{cpu['cpu']}, {cpu['capability']}, threads: {cpu['threads']}. Python {platform.python_version()}, "
        f"{', '.join(versions)}.",
    ]
    missing = [name for name in packages if not installed(name)]
    if missing:
        install = ".venv/bin/pip install -r benchmarks/timing/peers.txt"
        notes.append(f"Not installed: {', '.join(missing)}; `{install}` installs them.")
    return notes


def markdown(rows: list[Row]) -> str:
    """Return the table and its caption."""
    text = [f"# {TITLE}", "", markdown_table(COLUMNS, [cells(row) for row in rows], LEFT), ""]
    for note in caption():
        text += textwrap.wrap(f"- {note}", WIDTH, subsequent_indent="  ", break_long_words=False)
    return "\n".join(text) + "\n"


def main() -> None:
    """Print the table. Write it and its figure."""
    numerics.settle()
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")  # the packages make torch warn
    rows = [row for net in SIZES for row in measure(net)]
    table = Table(*COLUMNS, title=TITLE)
    for row in rows:
        table.add_row(*cells(row))
    Console().print(table, *caption(), sep="\n")
    folder = ROOT / "results" / "tables"
    write_atomically(folder / "bench-fisher.md", markdown(rows))
    write_atomically(folder / "bench-fisher.png", plot_fisher.figure(rows))


if __name__ == "__main__":
    main()

"""Time what a table costs beside its training: from the command to the first step, to the table, and a finished table.

The table has two runs (two seeds) of one method on Split MNIST, class-incremental, 471 steps each. It is run in a copy
of the sources, as the command would be: `python -m paper_tables table start`. The copy holds one more method. It trains
as the timed one does and notes when it takes its first step. `again` is the same command when all records are there.
Beside it, a script of Avalanche's own makes the same two runs: the stream, the loop, the batches and accuracies after
each task. Commands take turns in rounds. Each figure is the median over the rounds. From the second round on, our
stream is dealt by the plan that the first one kept, as in all later commands of a user.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from methods.base.errors import UserError

ROOT = Path(__file__).parents[2]
ROUNDS, SEEDS, BATCH = 3, (1, 2), 128
OPTIONS = {"naive": {}, "ewc": {"lam": 100.0}}
UNNEEDED = (".git", ".venv", ".audit", "data", "results", "docs", "tests", "*.toml")
NOTE = "FIRST_STEP"  # the variable that names the file whose time says when the first step was taken
TABLE = """
title     = "Two runs"
source    = "Nothing is published"
metric    = "average_accuracy"
margin    = 1.0
scenarios = ["class"]
seeds     = 2
stream    = {{ name = "splitmnist", tasks = 5 }}

[train]
net = "mlp-400-400"
optimizer = "adam"
lr = 1e-3
optimizer_state = "keep"
batch = {batch}
epochs = 1

[[row]]
label    = "timed"
method   = {{ name = "timed"{options} }}
strength = "none"
"""
TIMED = """
import os
from dataclasses import dataclass
from pathlib import Path
from methods.{name} import {cls}

@dataclass
class Timed({cls}):
    def before_batch(self, index):
        note = Path(os.environ["{note}"])
        if not note.exists():
            note.touch()
        super().before_batch(index)
"""


def copied(name: str, folder: Path) -> None:
    """Write a copy of the sources, with the table and the method that notes its first step."""
    import methods

    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*UNNEEDED))
    options = "".join(f", {key} = {value}" for key, value in OPTIONS[name].items())
    (folder / "paper_tables" / "start.toml").write_text(TABLE.format(batch=BATCH, options=options), encoding="utf-8")
    text = TIMED.format(name=name, cls=methods.find(name).__name__, note=NOTE)
    (folder / "methods" / "timed.py").write_text(text, encoding="utf-8")


def seconds_of(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the seconds from the start of a command to its first step, if there is one, and to its end."""
    note = folder / "first-step"
    note.unlink(missing_ok=True)
    before, begun = time.time(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ | {NOTE: str(note)}, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise UserError(
            f"{' '.join(command[1:4])} ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
        )
    return (note.stat().st_mtime - before if note.exists() else float("nan")), seconds


def avalanche(name: str, root: str) -> None:
    """Make the two runs with Avalanche alone."""
    import torch
    from avalanche.benchmarks.classic import SplitMNIST
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import SimpleMLP
    from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
    from avalanche.training.supervised import EWC, Naive

    class Note(SupervisedPlugin):
        def before_training_iteration(self, strategy, **_):
            note = Path(os.environ[NOTE])
            if not note.exists():
                note.touch()

    for seed in SEEDS:
        torch.manual_seed(seed)
        stream = SplitMNIST(5, seed=seed, dataset_root=root)
        net = SimpleMLP(num_classes=10, hidden_size=400, hidden_layers=2, drop_rate=0.0)
        made, options = {"naive": (Naive, {}), "ewc": (EWC, {"ewc_lambda": OPTIONS["ewc"]["lam"]})}[name]
        strategy = made(
            model=net,
            optimizer=torch.optim.Adam(net.parameters(), lr=1e-3, fused=True),
            criterion=torch.nn.CrossEntropyLoss(),
            train_mb_size=BATCH,
            eval_mb_size=2500,
            plugins=[Note()],
            evaluator=EvaluationPlugin(accuracy_metrics(experience=True)),
            **options,
        )
        for experience in stream.train_stream:
            strategy.train(experience)
            strategy.eval(stream.test_stream)


def main() -> None:
    """Measure, and print the table."""
    from benchmarks import data

    root = Path(os.environ.get("DATA") or ROOT / "data").resolve()
    if not data.is_there("mnist", root):
        raise UserError(f"MNIST is not in {root}: run `make data-mnist`, or set DATA=<root>")
    shown = Table("", "first step (s)", "two runs (s)", "again (s)", title="From the command to the table")
    for name in track(OPTIONS, description="methods", console=Console(stderr=True)):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "copy"
            copied(name, folder)
            ours = [sys.executable, "-m", "paper_tables", "table", "start", "--data", str(root), "--results", "new"]
            theirs = [sys.executable, "-m", "benchmarks.timing.bench_start", name, str(root)]
            times = []
            for _ in range(ROUNDS):
                shutil.rmtree(folder / "new", ignore_errors=True)
                times.append((*seconds_of(ours, folder), seconds_of(ours, folder)[1], *seconds_of(theirs, folder)))
        first, whole, again, *other = map(statistics.median, zip(*times, strict=True))
        shown.add_row(name, f"{first:.1f}", f"{whole:.1f}", f"{again:.1f}")
        shown.add_row(f"Avalanche's {name}", *(f"{seconds:.1f}" for seconds in other), "")
    Console().print(shown)


if __name__ == "__main__":
    try:
        avalanche(*sys.argv[1:]) if len(sys.argv) > 1 else main()
    except UserError as error:
        sys.exit(f"error: {error}")

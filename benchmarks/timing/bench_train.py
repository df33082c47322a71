"""Time what a training step costs. Each method's time is a ratio to that of a loop written by hand.

The hand-written loop trains the same module on the same tensors with the same fused Adam: index a batch, forward,
backward, step. One thread trains an MLP 784-400-400-10 on random pixels in batches of 128. Every method that runs
domain-incrementally has four past tasks. So its penalty is active, and GEM has four constraints. A task is one epoch.
Its time holds what a method does before the first step. LwF records its targets there, and so costs less a step in a
longer task.

Contenders take turns in rounds in one process, in a new order each. The ratio is the median over the rounds of the
ratios within a round, so that the machine's drift cancels. Avalanche's own strategies run beside it on the same
tensors, through their own data loader. Their training ends with their importance pass. The last line compares a step of
offline EWC after many tasks with one after one task. It should cost the same.
"""

import random
import statistics
import time
import warnings
from collections.abc import Callable
from itertools import cycle, islice

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import methods
from benchmarks import models, numerics
from benchmarks.learner import Train, fit
from benchmarks.stream import Stream, TaskData, assemble
from methods.base.net import Net
from methods.base.rng import generator

CLASSES, PIXELS, EXAMPLES, BATCH = 10, 784, 5120, 128
STEPS, ROUNDS = EXAMPLES // BATCH, 15
TRAIN = Train(net="mlp-400-400", optimizer="adam", lr=1e-3, optimizer_state="keep", batch=BATCH, epochs=1)
PAST = 4
EARLY, LATE, LATE_BY_EARLY = "ewc, task 2", "ewc, task 50", "ewc, task 50 / task 2"
OPTIONS = {
    "rehearsal": {"budget": 1000},
    "replay": {"memory": 1000, "batch_memory": BATCH},
    "gem": {"per_task": 256},
    "agem": {"per_class": 25, "batch_memory": BATCH},
}
LIMITS = {  # what the project holds itself to
    "naive": 1.12,
    "ewc": 1.3,
    "mas": 1.3,
    "si": 1.6,
    "ewcpp": 1.7,
    "rwalk": 2.1,
    "scp": 1.3,
    "lwf": 1.5,
    "agem": 2.2,
    "gem": round(1 + 1.3 * PAST * 256 / BATCH, 1),
    LATE_BY_EARLY: 1.05,
}
PLAIN = "hand-written loop"


def main() -> None:
    """Print the table of ratios."""
    numerics.settle()
    stream = random_stream()
    contenders = {PLAIN: _by_hand(stream)}
    timed = {name: methods.find(name) for name in methods.names()}
    timed = {name: cls for name, cls in timed.items() if "domain" in cls.scenarios and not cls.joins_tasks}
    contenders |= {name: _ours(name, cls, stream) for name, cls in timed.items()}
    for name, past in ((EARLY, 1), (LATE, 49)):  # a Fisher of few examples, because a step's penalty is the same
        contenders[name] = _ours("ewc", timed["ewc"], stream, past, n_samples=BATCH)
    contenders |= {f"Avalanche {name}": work for name, work in _avalanche(stream).items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in track(range(ROUNDS), description="rounds", console=Console(stderr=True)):
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            contenders[name]()
            times[name].append((time.perf_counter() - start) / STEPS)
    table = Table("", "ratio", "of rounds, middle half", "ms per step", "limit", title=f"Training step, {PLAIN} = 1")
    rows = [(name, own, times[PLAIN]) for name, own in times.items()]
    for name, own, base in [*rows, (LATE_BY_EARLY, times[LATE], times[EARLY])]:
        ratios = [mine / other for mine, other in zip(own, base, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        limit = f"{LIMITS[name]:.2f}" if name in LIMITS else ""
        spread = f"{low:.2f} to {high:.2f}"
        table.add_row(name, f"{statistics.median(ratios):.2f}", spread, f"{1000 * statistics.median(own):.2f}", limit)
    table.caption = (
        "Avalanche 0.6.0's SI is timed, not compared. On a CPU its importances are 0: the weights that it keeps from "
        "before a step are views of those after it (avalanche/training/plugins/synaptic_intelligence.py)."
    )
    Console().print(table)


def random_stream() -> Stream:
    """Return domain-incremental tasks of random pixels. The last of them is the one that is timed."""
    torch.manual_seed(0)
    tasks = []
    for _ in range(PAST + 1):
        side = torch.rand(EXAMPLES, PIXELS), torch.arange(EXAMPLES), torch.randint(CLASSES, (EXAMPLES,))
        tasks.append(TaskData(tuple(range(CLASSES)), side, side))
    return assemble("domain", tasks)


def _module() -> nn.Module:
    return models.build(TRAIN.net, torch.Size([PIXELS]), CLASSES, seed=0)


def _by_hand(stream: Stream) -> Callable[[], None]:
    module = _module()
    optimizer = torch.optim.Adam(module.parameters(), lr=TRAIN.lr, fused=True)
    x, y, _ = stream.tasks[-1].train.take(torch.arange(EXAMPLES))

    def epoch() -> None:
        for index in torch.randperm(EXAMPLES).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(module(x[index]), y[index]).backward()
            optimizer.step()

    return epoch


def _ours(name: str, cls: type[methods.Method], stream: Stream, n_past: int = PAST, **options) -> Callable[[], None]:
    options |= OPTIONS.get(name, {cls.strength: 1e-3} if cls.strength else {})
    method, net = methods.make(name, **options), Net(_module())
    theta: Tensor = net.vector()
    method.begin(net, theta.clone(), lambda role, task, replica=0: generator(0, role, task))
    method.net, theta = method.grow(net, theta, stream.tasks[0])
    optimizer = TRAIN.make_optimizer(theta)
    *past, last = stream.tasks
    for task in islice(cycle(past), n_past):
        fit(method, theta, task, optimizer, TRAIN, [generator(0, "batches", task.index)])
        with torch.no_grad():
            method.after_task(theta.clone(), task)
    if name == "rehearsal":  # its epoch repeats examples, so it takes as many steps as the others
        train = Train(**{**vars(TRAIN), "epochs": None, "steps": STEPS})
    else:
        train = TRAIN
    return lambda: fit(method, theta, last, optimizer, train, [generator(0, "batches", last.index)])


def _avalanche(stream: Stream) -> dict[str, Callable[[], None]]:
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.training.supervised import EWC, MAS, Naive, SynapticIntelligence
    from torch.utils.data import TensorDataset

    warnings.filterwarnings("ignore")
    sets = []
    for task in stream.tasks:
        x, y, _ = task.train.take(torch.arange(EXAMPLES))
        tensors = TensorDataset(x, y)
        tensors.targets = y.tolist()
        sets.append(as_classification_dataset(tensors))
    *past, last = benchmark_from_datasets(train=sets, test=sets).train_stream
    made = {
        "Naive": (Naive, {}),
        "EWC": (EWC, {"ewc_lambda": 1e-3, "mode": "online", "decay_factor": 1.0}),
        "MAS": (MAS, {"lambda_reg": 1e-3}),
        "SI": (SynapticIntelligence, {"si_lambda": 1e-3}),
    }
    contenders = {}
    for name, (strategy, options) in made.items():
        module = _module()
        optimizer = torch.optim.Adam(module.parameters(), lr=TRAIN.lr, fused=True)
        loop = {"train_mb_size": BATCH, "train_epochs": 1, "evaluator": None}
        own = strategy(model=module, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), **loop, **options)
        for experience in past:
            own.train(experience)
        contenders[name] = lambda own=own: own.train(last)
    return contenders


if __name__ == "__main__":
    main()

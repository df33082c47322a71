"""Time what a training step costs. Each method's time is a ratio to that of a loop written by hand.

The hand-written loop trains the same module on the same tensors with the same fused optimiser: index a batch, forward,
backward, step. One thread trains an MLP 784-400-400-10 on random pixels in batches of 128. Every method that runs
domain-incrementally has four past tasks. So its penalty is active, and GEM has four constraints. A task is one epoch.
Its time holds what a method does before the first step. LwF records its targets there, and so costs less a step in a
longer task. A second table is of the reduced ResNet-18 on random images of 32x32 pixels in batches of 10, for five
methods of paper_tables/agem-splitcifar.toml in its variants. The last column says what the project aims at on a machine
whose matrix products are slow (AMD EPYC, one core at 100 GFLOP/s). Nothing fails beyond it, as a machine's caches and
load move the ratios.

Contenders take turns in rounds in one process, in a new order each. The ratio is the median over the rounds of the
ratios within a round, so that the machine's drift cancels. Times are those of the thread, so that other processes cost
only the caches that they take. Avalanche's own strategies run beside it on the same tensors, through their own data
loader. Their training ends with their importance pass. The peak of resident memory is that of a process which does
this contender alone, with its past tasks, on the same tensors. The last line of the first table compares a step of
offline EWC after many tasks with one after one task. It should cost the same.
"""

import multiprocessing
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import methods
from benchmarks import models, numerics
from benchmarks.learner import OPTIMIZERS, Train, fit
from benchmarks.machine import peak_memory_mb, reset_peak_memory
from benchmarks.stream import Stream, TaskData, assemble
from methods.base.net import Net
from methods.base.rng import generator

ROUNDS = 15
PLAIN = "hand-written loop"
Contenders = dict[str, Callable[[], Callable[[], None]]]  # each makes what trains for one task


@dataclass(frozen=True)
class Problem:
    """Hold a network, how it is trained, and the tasks of random pixels that it is trained on: `past`, and one more."""

    train: Train
    shape: tuple[int, ...]
    classes: int
    examples: int  # of a task
    past: int
    aims: dict[str, float]  # ratios

    @property
    def steps(self) -> int:
        """Return the steps of a task."""
        return self.examples // self.train.batch

    def module(self, seed: int = 0) -> nn.Module:
        """Return the network."""
        return models.build(self.train.net, torch.Size(self.shape), self.classes, seed)

    def stream(self) -> Stream:
        """Return domain-incremental tasks. The last of them is the one that is timed."""
        torch.manual_seed(0)
        tasks, rows = [], torch.arange(self.examples)
        for _ in range(self.past + 1):
            side = torch.rand(self.examples, *self.shape), rows, torch.randint(self.classes, (self.examples,))
            tasks.append(TaskData(tuple(range(self.classes)), side, side))
        return assemble("domain", tasks)


EARLY, LATE, LATE_BY_EARLY = "ewc, task 2", "ewc, task 50", "ewc, task 50 / task 2"
BATCH, PAST = 128, 4
PERCEPTRON = Problem(
    train=Train(net="mlp-400-400", optimizer="adam", lr=1e-3, optimizer_state="keep", batch=BATCH, epochs=1),
    shape=(784,),
    classes=10,
    examples=5120,
    past=PAST,
    aims={
        "naive": 1.05,
        "ewc": 1.11,
        "mas": 1.11,
        "scp": 1.11,
        "l2": 1.11,
        "si": 1.24,
        "ewcpp": 1.5,
        "rwalk": 1.6,
        "lwf": 1.4,
        "agem": 2.1,
        "gem": round(1 + 1.3 * PAST * 256 / BATCH, 1),
        LATE_BY_EARLY: 1.05,
    },
)
OPTIONS = {
    "rehearsal": {"budget": 1000},
    "replay": {"memory": 1000, "batch_memory": BATCH},
    "gem": {"per_task": 256},
    "agem": {"per_class": 25, "batch_memory": BATCH},
}
OF_AVALANCHE = {  # its strategies, with what ours have
    "Naive": {},
    "EWC": {"ewc_lambda": 1e-3, "mode": "online", "decay_factor": 1.0},
    "MAS": {"lambda_reg": 1e-3},
    "SynapticIntelligence": {"si_lambda": 1e-3},
    "Replay": {"mem_size": 1000},
    "GEM": {"patterns_per_exp": 256},
}
OF_RESNET = {  # as in the table, with a penalty that leaves random pixels trainable
    "naive": {},
    "ewcpp": {"preset": "released", "interval": 50, "lam": 1e-3},
    "si": {"preset": "agem", "c": 1e-3},
    "mas": {"preset": "agem", "lam": 1e-3},
    "rwalk": {"preset": "released", "interval": 50, "lam": 1e-3},
}
RESNET = Problem(
    train=Train(net="resnet18-reduced", optimizer="sgd", lr=1e-2, optimizer_state="reset", batch=10, epochs=1),
    shape=(3, 32, 32),
    classes=5,
    examples=100,
    past=1,
    aims=dict.fromkeys(OF_RESNET, 1.05),
)


def main() -> None:
    """Print the tables of ratios."""
    numerics.settle()
    warnings.showwarning = lambda *_, **__: None  # Avalanche resets the filters.
    stream = PERCEPTRON.stream()
    contenders: Contenders = {PLAIN: partial(_by_hand, PERCEPTRON, stream, PERCEPTRON.module())}
    timed = {name: methods.find(name) for name in methods.names()}
    timed = {name: cls for name, cls in timed.items() if "domain" in cls.scenarios and not cls.joins_tasks}
    for name, cls in timed.items():
        options = OPTIONS.get(name, {cls.strength: 1e-3} if cls.strength else {})
        contenders[name] = partial(_ours, name, options, PERCEPTRON, stream, PAST)
    for name, past in ((EARLY, 1), (LATE, 49)):  # a Fisher of few examples, because a step's penalty is the same
        contenders[name] = partial(_ours, "ewc", {"lam": 1e-3, "n_samples": BATCH}, PERCEPTRON, stream, past)
    contenders |= {f"Avalanche {name}": partial(_avalanche, name, stream) for name in OF_AVALANCHE}
    images, channels_first = RESNET.stream(), RESNET.module()
    channels_first.body[0] = nn.Identity()
    of_resnet: Contenders = {PLAIN: partial(_by_hand, RESNET, images, RESNET.module())}
    of_resnet["the same, channels first"] = partial(_by_hand, RESNET, images, channels_first)
    of_resnet |= {name: partial(_ours, name, options, RESNET, images, 1) for name, options in OF_RESNET.items()}
    peaks, peaks_of_resnet = _peaks(contenders), _peaks(of_resnet)  # while this process is small
    table = _compare(PERCEPTRON, contenders, peaks, {LATE_BY_EARLY: (LATE, EARLY)})
    table.caption = (
        "Avalanche 0.6.0's SI is timed, not compared. On a CPU its importances are 0: the weights that it keeps from "
        "before a step are views of those after it (avalanche/training/plugins/synaptic_intelligence.py)."
    )
    Console().print(table)
    Console().print(_compare(RESNET, of_resnet, peaks_of_resnet, {}))


def _compare(
    problem: Problem, contenders: Contenders, peaks: dict[str, float], pairs: dict[str, tuple[str, str]]
) -> Table:
    """Return the table of a problem. `pairs` names two contenders for a line that compares them."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    made = {name: make() for name, make in _shown(contenders.items(), "past tasks")}
    order = list(contenders)
    for _ in _shown(range(ROUNDS), "rounds"):
        random.shuffle(order)
        for name in order:
            start = time.thread_time()
            made[name]()
            times[name].append((time.thread_time() - start) / problem.steps)
    title = f"Training step of {problem.train.net}, {PLAIN} = 1"
    table = Table("", "ratio", "middle half", "steps a second", "peak MiB", "aim", title=title)
    rows = [(name, own, times[PLAIN]) for name, own in times.items()]
    for name, own, base in [*rows, *((name, times[one], times[other]) for name, (one, other) in pairs.items())]:
        ratios = [mine / other for mine, other in zip(own, base, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        aim = f"{problem.aims[name]:.2f}" if name in problem.aims else ""
        speed, peak = (f"{1 / statistics.median(own):.0f}", f"{peaks[name]:.0f}") if name in peaks else ("", "")
        table.add_row(name, f"{statistics.median(ratios):.2f}", f"{low:.2f} to {high:.2f}", speed, peak, aim)
    return table


def _shown(items: Iterable, what: str) -> Iterable:
    return track(list(items), description=what, console=Console(stderr=True))


def _peaks(contenders: Contenders) -> dict[str, float]:
    return {name: _peak(make) for name, make in _shown(contenders.items(), "memory")}


def _peak(make: Callable[[], Callable[[], None]]) -> float:
    """Return the peak of resident memory [MiB] of a forked process that makes a contender and trains for one task."""
    context = multiprocessing.get_context("fork")  # This process has one thread.
    told, tell = context.Pipe(duplex=False)

    def work() -> None:
        reset_peak_memory()
        make()()
        tell.send(peak_memory_mb())

    process = context.Process(target=work)
    process.start()
    tell.close()  # so that a process that dies ends the wait
    peak = told.recv()
    process.join()
    return peak


def _by_hand(problem: Problem, stream: Stream, module: nn.Module) -> Callable[[], None]:
    train = problem.train
    optimizer = OPTIMIZERS[train.optimizer](module.parameters(), lr=train.lr, fused=True)
    x, y, _ = stream.tasks[-1].train.take(torch.arange(problem.examples))

    def epoch() -> None:
        for index in torch.randperm(problem.examples).split(train.batch):
            optimizer.zero_grad()
            F.cross_entropy(module(x[index]), y[index]).backward()
            optimizer.step()

    return epoch


def _ours(name: str, options: dict, problem: Problem, stream: Stream, n_past: int) -> Callable[[], None]:
    train = problem.train
    method, net = methods.make(name, **options), Net(problem.module())
    theta: Tensor = net.vector()
    method.begin(net, theta.clone(), lambda role, task, replica=0: generator(0, role, task))
    method.net, theta = method.grow(net, theta, stream.tasks[0])
    optimizer = train.make_optimizer(theta)
    *past, last = stream.tasks
    for task in islice(cycle(past), n_past):
        fit(method, theta, task, optimizer, train, [generator(0, "batches", task.index)])
        with torch.no_grad():
            method.after_task(theta.clone(), task)
    if name == "rehearsal":  # its epoch repeats examples, so it takes as many steps as the others
        train = replace(train, epochs=None, steps=problem.steps)
    return lambda: fit(method, theta, last, optimizer, train, [generator(0, "batches", last.index)])


def _avalanche(name: str, stream: Stream) -> Callable[[], None]:
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.training import supervised
    from torch.utils.data import TensorDataset

    sets = []
    for task in stream.tasks:
        x, y, _ = task.train.take(torch.arange(PERCEPTRON.examples))
        tensors = TensorDataset(x, y)
        tensors.targets = y.tolist()
        sets.append(as_classification_dataset(tensors))
    *past, last = benchmark_from_datasets(train=sets, test=sets).train_stream
    module = PERCEPTRON.module()
    optimizer = torch.optim.Adam(module.parameters(), lr=PERCEPTRON.train.lr, fused=True)
    loop = {"train_mb_size": BATCH, "train_epochs": 1, "evaluator": None}
    make = getattr(supervised, name)
    own = make(model=module, optimizer=optimizer, criterion=nn.CrossEntropyLoss(), **loop, **OF_AVALANCHE[name])
    for experience in past:
        own.train(experience)
    return lambda: own.train(last)


if __name__ == "__main__":
    main()

"""Time training steps of stacked seeds on a device, beside one seed on the CPU.

    python -m benchmarks.timing.bench_device [DEVICE]      (make bench-device DEVICE=cuda)

The network and the tasks are those of bench_train.py. Steps are of fine-tuning and of EWC with its penalty active. R
seeds are trained together, as theta [R, P], each on an order of its own. The first epoch warms up; the median of the
next ones counts. What a sweep gains is the last column: steps of all seeds a second, as a ratio to the CPU's.
"""

import statistics
import sys
import time

import torch
from rich.console import Console
from rich.table import Table

import methods
from benchmarks import machine, numerics
from benchmarks.learner import fit
from benchmarks.stream import Stream
from benchmarks.timing.bench_train import PERCEPTRON
from methods.base.errors import UserError
from methods.base.net import Net
from methods.base.rng import generator

STACKS, EPOCHS = (1, 5, 10, 20), 5
METHODS = {"naive": {}, "ewc": {"lam": 1e-3, "n_samples": PERCEPTRON.train.batch}}


def main(device: str) -> None:
    """Print steps a second of each method and stack on the CPU and on the device."""
    machine.check_device(device)
    numerics.settle()
    stream = PERCEPTRON.stream()
    table = Table("method", "where", "R", "ms a step", "steps of a seed a second", "ratio", title="Stacked seeds")
    for name in METHODS:
        base = None
        for where, R in [("cpu", 1), *((device, R) for R in STACKS if device != "cpu" or R > 1)]:
            seconds = step(name, stream, where, R)
            base = base or 1 / seconds
            table.add_row(
                name, where, str(R), f"{1000 * seconds:.2f}", f"{R / seconds:.0f}", f"{R / seconds / base:.2f}"
            )
    Console().print(table)


def step(name: str, stream: Stream, device: str, R: int) -> float:
    """Return the median seconds of a step of R seeds in the second task."""
    method, stream = methods.make(name, **METHODS[name]), stream.to(torch.device(device))
    nets = [Net(PERCEPTRON.module(seed).to(device)) for seed in range(R)]
    theta = nets[0].vector() if R == 1 else torch.stack([net.vector() for net in nets])
    method.begin(nets[0], theta.clone(), lambda role, task, replica=0: generator(replica, role, task))
    train, times = PERCEPTRON.train, []
    optimizer = train.make_optimizer(theta)
    first, second, *_ = stream.tasks
    for task in (first, *[second] * (EPOCHS + 1)):
        _wait(device)
        begun = time.perf_counter()
        fit(method, theta, task, optimizer, train, [generator(seed, "batches", task.index) for seed in range(R)])
        _wait(device)
        times.append((time.perf_counter() - begun) / PERCEPTRON.steps)
        if task is first:
            with torch.no_grad():
                method.after_task(theta.clone(), task)
    return statistics.median(times[2:])


def _wait(device: str) -> None:
    """Wait until the device has done what it was given."""
    if device != "cpu":
        getattr(torch, torch.device(device).type).synchronize()


if __name__ == "__main__":
    try:
        main(*(sys.argv[1:] or ["cuda"]))
    except UserError as error:
        sys.exit(f"error: {error}")

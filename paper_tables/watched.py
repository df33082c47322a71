"""The figures look on while a method trains: its class is given a subclass that keeps theta along the way."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import track

import methods
from benchmarks.executors import Processes, ended
from methods.base.method import Method


class Watched:
    """Keep theta at the beginning and after every `every` steps, `path`, and at the end of each task, `ends`.

    `lengths` says how long the path is at the end of each task.
    """

    every = 1

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.path, self.ends, self.lengths, self.steps = [theta.clone()], [], [], 0

    def after_step(self, old, new, grad):
        super().after_step(old, new, grad)
        self.steps += 1
        if self.steps % self.every == 0:
            self.path.append(new.clone())

    def after_task(self, theta, task):
        super().after_task(theta, task)
        self.ends.append(theta.clone())
        self.lengths.append(len(self.path))


def watched(name: str, options: dict, every: int = 1, also: type | None = None) -> Method:
    """Return the method `name` as a watched one. `also` is a class whose hooks come before the method's own."""
    methods.make(name, **options)  # refuses wrong options
    bases = (Watched, *([also] if also else []), methods.find(name))
    return type(methods.find(name).__name__, bases, {"every": every})(**options)


def in_processes(function: Callable, arguments: list[tuple], jobs: int) -> list:
    """Return function(*each) for each of `arguments`, `jobs` at a time. A bar shows how far it is."""
    executor, results = Processes(min(jobs, len(arguments))), [None] * len(arguments)
    try:
        done = ended(executor, function, arguments)
        for n, future in track(done, total=len(arguments), description="runs", console=Console(stderr=True)):
            results[n] = future.result()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()
    return results

"""The figures look on while a method trains: its class is given a subclass that keeps theta along the way."""

from collections.abc import Callable, Iterator

from rich.console import Console

import methods
from benchmarks.executors import Processes, ended
from benchmarks.progress import Line
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
    """Return function(*each) for each of `arguments`, `jobs` at a time. A line shows how far it is."""
    executor, results = Processes(min(jobs, len(arguments))), [None] * len(arguments)
    try:
        with Line(Console(stderr=True), len(arguments)) as line:

            def begun() -> Iterator[tuple]:
                for n, each in enumerate(arguments):
                    line.begin(n)
                    yield each

            for n, future in ended(executor, function, begun()):
                results[n] = future.result()
                line.end(n)
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()
    return results

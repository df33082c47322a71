"""Where the runs of a sweep are worked on: any `concurrent.futures.Executor`. This one has processes on one machine.

The standard library's pool of processes gives all its runs up when one process dies. Here each process is a pool of
its own, so that a death costs one run: its future raises BrokenProcessPool, and the next run gets a new process.
"""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor

from benchmarks import numerics


class Processes(Executor):
    """Up to n futures at a time, each in a process that is kept for the next one."""

    def __init__(self, n: int):
        self.n = n
        self._last: dict[ProcessPoolExecutor, Future] = {}  # of each process, what it was given last

    def submit(self, function, /, *arguments) -> Future:
        """The future of function(*arguments); no more than n may be unfinished."""
        for pool, last in list(self._last.items()):
            if last.done() and not last.cancelled() and isinstance(last.exception(), BrokenExecutor):
                pool.shutdown(wait=False)
                del self._last[pool]
        idle = (pool for pool, last in self._last.items() if last.done())
        pool = next(idle, None) or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin_worker)
        self._last[pool] = pool.submit(function, *arguments)
        return self._last[pool]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes; with `cancel_futures` also those that are at work."""
        if cancel_futures:
            for process in multiprocessing.active_children():
                process.terminate()
        for pool in self._last:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def begin_worker() -> None:
    """A worker leaves Ctrl-C to its parent, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    numerics.settle()
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

"""The executor that a sweep works with: processes on one machine. Those of a cluster are in benchmarks/cluster.py.

The standard library's pool of processes gives up all its runs when one process dies. Here each process is a pool of its
own, so that a death costs one run. The run's future raises BrokenProcessPool, and the next run gets a new process.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess

# The first optimiser of a process imports torch._dynamo, which takes as long as torch itself.
PRELOADED = ["torch", "torch._dynamo"]
FORKS = sys.platform == "linux"  # elsewhere libraries of the system may not outlive a fork
# glibc reads this when a process begins, from version 2.35 on. It asks the kernel for pages of 2 MB where it would give
# pages of 4 kB. A step on vectors of some megabytes then takes a tenth less, and no number changes.
LARGE_PAGES = "glibc.malloc.hugetlb=1"


class Lost(BrokenExecutor):
    """Nothing came back from the worker of a run. The text completes the sentence "its worker ..."."""


def ended(executor: Executor, function: Callable, calls: Iterable[tuple]) -> Iterator[tuple[int, Future]]:
    """Yield (n, the future of function(*calls[n])) as they end. No more are unfinished than the executor takes.

    A call is asked for when its turn has come.
    """
    waiting, inside = enumerate(calls), {}
    while True:
        for n, arguments in islice(waiting, max(0, executor.n - len(inside))):
            inside[executor.submit(function, *arguments)] = n
        if not inside:
            return
        for future in wait(inside, return_when=FIRST_COMPLETED).done:
            yield inside.pop(future), future


def prepare() -> None:
    """Let the processes' server begin, so that it imports torch while the caller does. It ends with this process.

    Processes are forked from the server, which has imported torch (PRELOADED) once for all of them. The code of the
    project is not imported there, so that each process has it as it is by then. On other systems than Linux nothing
    happens.
    """
    if FORKS:
        own = os.environ.get("GLIBC_TUNABLES", "")
        if "glibc.malloc.hugetlb" not in own:  # the user's word holds
            os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (own, LARGE_PAGES)))
        multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
        with _deaf_to_interrupts():
            forkserver.ensure_running()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that begin here ignore Ctrl-C from their first moment: it is the parent's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Processes(Executor):
    """Work on up to n futures at a time, each in a process that is kept for the next one."""

    tries = 2  # of a run whose worker dies

    def __init__(self, n: int):
        self.n = n
        prepare()
        self._context = multiprocessing.get_context("forkserver" if FORKS else "spawn")
        self._last: dict[ProcessPoolExecutor, Future] = {}  # what each process was given last
        self._children: set[BaseProcess] = set()

    def submit(self, function, /, *arguments) -> Future:
        """Return the future of function(*arguments). No more than n futures may be unfinished."""
        for pool, last in list(self._last.items()):
            if last.done() and not last.cancelled() and isinstance(last.exception(), BrokenExecutor):
                self._drop(pool)
        for pool in [pool for pool, last in self._last.items() if last.done()]:
            try:
                return self._give(pool, function, *arguments)
            except BrokenExecutor:  # it died while it had nothing to do
                self._drop(pool)
        return self._give(ProcessPoolExecutor(1, self._context, begin_worker), function, *arguments)

    def _give(self, pool: ProcessPoolExecutor, function: Callable, *arguments) -> Future:
        before = set(multiprocessing.active_children())
        self._last[pool] = pool.submit(function, *arguments)
        self._children |= set(multiprocessing.active_children()) - before
        return self._last[pool]

    def _drop(self, pool: ProcessPoolExecutor) -> None:
        pool.shutdown(wait=False)
        del self._last[pool]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes. With `cancel_futures`, end those at work too."""
        if cancel_futures:
            for process in self._children & set(multiprocessing.active_children()):
                process.terminate()
        for pool in self._last:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)


def begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent ends."""
    from benchmarks import numerics  # here, as this imports torch, and `prepare` is for those who have not done it yet

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    numerics.settle()
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

"""The client of a cluster's engine, with a limit to every wait: a call of the engine may never return."""

import itertools
import logging
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future

from benchmarks import cluster_worker, numerics
from methods.base.errors import UserError

CONNECT = 10.0  # seconds to find the scheduler
ANSWER = 30.0  # seconds that the scheduler may take for an answer


def measured_here() -> dict:
    """Return the settings that every run should report. In a thread of its own, as flushing is set for a thread."""
    import torch

    torch.set_flush_denormal(numerics.FLUSH_DENORMALS)
    return cluster_worker.measured() | {"threads": numerics.THREADS}


def connect(address: str):
    """Return a client of the scheduler."""
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise UserError("a cluster needs the package distributed: make cluster-setup") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said here, in one line
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions are compared at every run
        try:
            return Client(address, timeout=CONNECT, set_as_default=False, name="suite")
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise UserError(
                f"no scheduler answers at CLUSTER={address} ({' '.join(str(error).split())}): "
                "give tcp://HOST:PORT of one that `make cluster-scheduler` started"
            ) from error


_numbers = itertools.count()


def background(function: Callable, *arguments, **options) -> Future:
    """Call a function that may never return, in a thread that ends with the process."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name=f"cluster-{next(_numbers)}").start()
    return future


def stop(client, handles: list, names: list[str], addresses: list[str]) -> list[str]:
    """End calls that are at work at these workers. Return the workers that may not have let go.

    A worker whose run does not end is started anew, where it has a nanny.
    """

    def end() -> list[str]:
        client.cancel(handles)
        left = client.run(cluster_worker.stop, names, workers=addresses, on_error="return")
        return [address for address, names in left.items() if isinstance(names, list) and names]

    try:
        if stuck := background(end).result(ANSWER):
            background(client.restart_workers, stuck, 20).result(ANSWER)
    except Exception:
        return addresses
    return []

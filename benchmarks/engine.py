"""The client of a cluster's engine, with a limit to every wait: a call of the engine may never return."""

import logging
import warnings

from benchmarks import cluster_worker, numerics
from benchmarks.background import background
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


def stop(client, calls: list) -> list[str]:
    """End calls that are at work at these workers. Return the workers that may not have let go.

    A worker whose run does not end is started anew, where it has a nanny.
    """

    def end() -> list[str]:
        client.cancel([call.handle for call in calls])
        left = client.run(cluster_worker.stop, [call.name for call in calls], workers=addresses, on_error="return")
        return [address for address, names in left.items() if isinstance(names, list) and names]

    addresses = [call.address for call in calls]
    try:
        if stuck := background(end).result(ANSWER):
            background(client.restart_workers, stuck, 20).result(ANSWER)
    except Exception:
        return addresses
    return []

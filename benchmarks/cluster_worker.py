"""A worker of a cluster gets a text and gives a text back, whatever happens. It refuses what it would do differently.

The scheduler imports this module, too, to pass calls on. So the module itself imports the standard library alone.

A worker has its own checkout and its own data root: the environment variable DATA, by default data/. It compares its
versions, the code of the run, its data and its device with those of the submitter, before every run. Each run also sets
what another task on the same worker may have changed, and reports what was in force at its end.
"""

import asyncio
import ctypes
import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "results" / "local" / ".cluster"
WEEK = 7 * 24 * 3600.0  # seconds after which a checkpoint that nobody went on from is removed
GRACE = 5.0  # seconds in which a stopped run should have ended

_lock = threading.Lock()
_threads: dict[str, int] = {}  # of the calls at work
_stopped: set[str] = set()


class Stopped(BaseException):
    """The submitter does not want the run any more. No `except Exception` on the way catches this."""


def _sources() -> str:
    """Return a checksum of the code that a worker may have imported."""
    digest = hashlib.sha256()
    folders = ("benchmarks/*.py", "benchmarks/streams/*.py", "methods/**/*.py")
    for file in sorted(file for folder in folders for file in ROOT.glob(folder)):
        with suppress(OSError):
            digest.update(f"{file}\0".encode() + file.read_bytes())
    return digest.hexdigest()


SOURCES = _sources()  # when the process began: it goes on with this code whatever is edited


def settings(dask_scheduler) -> tuple:
    """Return allowed-failures and worker-ttl of the scheduler."""
    return dask_scheduler.allowed_failures, dask_scheduler.worker_ttl


async def stop(names: list[str]) -> list[str]:
    """End the calls of these names, and let none of them begin. Return those that are still at work after a while."""
    with _lock:
        _stopped.update(names)
    end = time.monotonic() + GRACE
    while True:
        with _lock:
            left = [name for name in names if name in _threads]
            for name in left:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(_threads[name]), ctypes.py_object(Stopped))
        if not left or time.monotonic() > end:
            return left
        await asyncio.sleep(0.05)


@contextmanager
def _at_work(name: str) -> Iterator[None]:
    with _lock:
        if name in _stopped:
            raise Stopped
        _threads[name] = threading.get_ident()
    try:
        yield
    finally:
        with _lock:
            del _threads[name]


def call(text: str) -> str:
    """Do what a submitter asks. Return JSON: an "outcome" and what is "measured", what is "refused", or a "fault"."""
    asked = json.loads(text)
    try:
        with _at_work(asked["name"]):
            _announce(asked)
            answer = _answer(asked)
    except BaseException as error:  # an exit inside a task would end the worker, and the engine would start it again
        answer = {"fault": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    return json.dumps(answer)


def _announce(asked: dict) -> None:
    """Tell the submitter that the call has begun. If the worker dies, those that waited behind it are not to blame."""
    from distributed import get_worker

    with suppress(ValueError):  # not on a worker
        get_worker().log_event(asked["topic"], asked["name"])


def _answer(asked: dict) -> dict:
    from dataclasses import replace

    from benchmarks import worker

    try:
        job = worker.Job.from_text(asked["job"])
    except Exception as error:
        return {"refused": [["the code", f"unable to read the run ({worker.reason_of(error)})", "able to"]]}
    root = _data_root()
    try:
        unlike = _unlike(asked["versions"], job, root)
    except Exception as error:
        unlike = [["the comparison of code and data", f"failed ({worker.reason_of(error)})", "asked for"]]
    if unlike:
        return {"refused": unlike}
    checkpoint = _checkpoint(Path(job.checkpoint).name) if job.checkpoint else ""
    job = replace(job, root=str(root), checkpoint=checkpoint)
    _settle(job.run.seed)
    try:
        outcome = {"work": worker.work, "check": worker.check}[asked["do"]](job.to_text())
    except Stopped:
        raise
    except BaseException as error:
        failed = worker.failed(job, worker.reason_of(error)) if asked["do"] == "work" else []
        outcome = worker.Outcome(tuple(failed)).to_text()
    if checkpoint:
        Path(checkpoint).unlink(missing_ok=True)
    return {"outcome": outcome, "measured": measured() if asked["do"] == "work" else None}


def _unlike(versions: dict[str, str], job, root: Path) -> list[list[str]]:
    """Return what differs from the submitter: [what, there, here], where "there" is this worker."""
    from benchmarks import data, machine, standard_sets, streams
    from methods.base.errors import UserError

    if _sources() != SOURCES:
        return [["the code", "edited after the worker was started", "as it stands"]]
    own = all_versions()
    unlike = [[name, own.get(name, "missing"), wanted] for name, wanted in versions.items() if own.get(name) != wanted]
    if unlike:
        return unlike
    if job.run.digest != job.context.digest:
        return [["the digest of the code", job.run.digest, job.context.digest]]
    try:
        machine.check_device(job.context.device)
    except UserError as error:
        return [[f"the device {job.context.device}", f"not available ({error})", "asked for"]]
    name, wanted = streams.recipe(job.run.stream).data_set, job.context.data
    try:
        if name in standard_sets.SETS and not data.is_there(name, root):  # a worker downloads nothing
            return [[f"the data set {name}", f"missing in the data root {root}", wanted]]
        found = data.fingerprint(name, root)
        if found == wanted:
            data.require(name, root, announce=lambda note: None)
    except UserError as error:
        found = str(error)
    return [] if found == wanted else [[f"the data set {name}", found, wanted]]


def all_versions() -> dict[str, str]:
    """Return the versions that a worker and its submitter must share."""
    from importlib.metadata import version

    from benchmarks import machine, record

    return machine.versions() | {"distributed": version("distributed"), "the schema of records": str(record.SCHEMA)}


def measured() -> dict:
    """Return the numeric settings that are in force in this thread."""
    import torch

    flushed = not (torch.tensor([1e-40]) * torch.ones(1)).any()
    return {"threads": torch.get_num_threads(), "denormals": "flushed" if flushed else "kept"}


def _settle(seed: int) -> None:
    """Put back what another task in this process may have changed. The threads and denormals of a run are its own."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


def _data_root() -> Path:
    from benchmarks.standard_sets import DEFAULT_ROOT

    return Path(os.environ.get("DATA") or DEFAULT_ROOT).resolve()


def _checkpoint(name: str) -> str:
    """Return this worker's own file for the state of a long run, or "" where none can be written."""
    try:
        CHECKPOINTS.mkdir(parents=True, exist_ok=True)
        for left in CHECKPOINTS.iterdir():
            if time.time() - left.stat().st_mtime > WEEK:
                left.unlink(missing_ok=True)
    except OSError:
        return ""
    return str(CHECKPOINTS / name) if os.access(CHECKPOINTS, os.W_OK) else ""

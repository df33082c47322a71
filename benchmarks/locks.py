"""A lock for each run keeps two sweeps in one folder from doing the same run at once. Killed sweeps leave no trace."""

import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.run import Run
from methods.base.errors import UserError

DAY = 24 * 3600.0  # seconds


def name(run: Run) -> str:
    """Return the name of the files beside a run's record, which are its lock and its checkpoint."""
    return f"{run.place.stem}-{run.scenario}-{run.stream.name}"


def acquire(folder: Path, run: Run) -> FileLock:
    """Take the lock of a run and return it. Raise Timeout if another sweep has it."""
    file = _file(folder, run)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, timeout=0)
        lock.acquire()
        file.write_text(f"{platform.node()}, process {os.getpid()}\n", encoding="utf-8")
    except OSError as error:
        if isinstance(error, Timeout):
            raise
        raise UserError(f"cannot lock runs in the results folder {folder}: {error.strerror or error}") from error
    return lock


def release(lock: FileLock) -> None:
    """Give a lock back. Its file goes first. Whoever waits for it notices, and makes another."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def holder(folder: Path, run: Run) -> str:
    """Return who has the lock of a run."""
    with suppress(OSError):
        return _file(folder, run).read_text(encoding="utf-8").strip()
    return ""


def clear_leftovers(folder: Path) -> None:
    """Remove what killed sweeps left: locks that nobody holds, and unfinished files of a day ago."""
    for file in (folder / ".locks").glob("*.lock"):
        lock = FileLock(file, timeout=0)
        with suppress(OSError):  # Timeout is an OSError: somebody holds the lock
            lock.acquire()
            release(lock)
    for left in (*folder.glob("*/*/.*.json.*"), *folder.glob("tables/.*.*.*")):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > DAY:
                left.unlink()


def remove_unfinished(file: Path) -> None:
    """Remove what a killed writer of this record left. Nobody else writes the record while its run is locked."""
    for left in file.parent.glob(f".{file.name}.*"):
        left.unlink(missing_ok=True)


def _file(folder: Path, run: Run) -> Path:
    return folder / ".locks" / f"{name(run)}.lock"

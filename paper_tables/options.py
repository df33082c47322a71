"""This module reads the options of the command line. It is apart from the parser, so that --help imports no torch."""

import argparse
import os
from pathlib import Path

from benchmarks import machine
from benchmarks.standard_sets import DEFAULT_ROOT
from methods.base.errors import UserError, unknown

TRACKERS = ("tensorboard",)  # benchmarks/tracking.py


def sweeping(options: argparse.Namespace) -> tuple[Path, int | str, str]:
    """Return data root, runs at a time and device of a command that trains, checked even if nothing is to train.

    On a cluster, its address takes the place of the runs at a time, and the workers check the device.
    """
    root = data_root(options.data)
    if options.cluster:
        if options.jobs:
            raise UserError(f"JOBS={options.jobs} and CLUSTER exclude each other: a cluster does a run on each worker")
        return root, options.cluster, options.device
    at_a_time = jobs(options.jobs)
    machine.check_device(options.device)
    return root, at_a_time, options.device


def curves(options: argparse.Namespace, folder: Path) -> Path | None:
    """Return where the runs of a table write their curves, or None without TRACK. `folder` is that of the records."""
    if options.track is None:
        return None
    if options.track not in TRACKERS:
        raise unknown("TRACK", options.track, TRACKERS)
    if options.cluster:
        raise UserError(f"TRACK={options.track} and CLUSTER exclude each other: the workers would keep the curves")
    return folder / options.track / options.name


def jobs(text: str | None) -> int:
    """Return how many runs go at a time. By default there are as many as cores."""
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not (text.isascii() and text.isdecimal()) or len(text) > 6 or int(text) < 1:
        raise UserError(f"JOBS must be a whole number >= 1, got {text!r}")
    return int(text)


def data_root(text: str | None) -> Path:
    """Return the data root: the option, else the environment variable DATA, else data/."""
    given = text or os.environ.get("DATA")
    return path(given, "DATA") if given else DEFAULT_ROOT


def path(text: str, name: str) -> Path:
    """Return the path that an option names."""
    if "\0" in text:
        raise UserError(f"{name} must be a path, got {text!r}")
    return Path(text)

"""A small sweep in processes of its own, for the tests that start two at once or kill one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks import record, run, streams
from benchmarks.stream import pack
from methods.base.examples import SCENARIOS

TRAIN = {"net": "mlp-16", "optimizer": "adam", "lr": 1e-3, "optimizer_state": "keep", "batch": 32, "epochs": 8}
RUNS = [
    run.resolve(
        {
            "stream": {"name": "splitdigits"},
            "scenario": scenario,
            "method": method,
            "train": TRAIN,
            "seed": seed,
        }
    )
    for seed in (1, 2, 3)
    for scenario in ("task", "class")
    for method in ({"name": "naive"}, {"name": "ewc", "lam": 100.0})
]
# Streams built beforehand, so that the processes need not import Avalanche.
PREBUILT = """
import json, sys, time
from pathlib import Path
import torch
from benchmarks import streams, sweep
from paper_tables.__main__ import main
from benchmarks.stream import unpack
place = Path(sys.argv[1])
built = {name: unpack(packed) for name, packed in torch.load(place / "streams.pt", weights_only=True).items()}
streams.build = lambda spec, scenario, seed, root: built[scenario]
"""
SWEEP = """
while not (place / "go").exists():
    time.sleep(0.01)
sweep.sweep(json.loads((place / "runs.json").read_text()), Path(sys.argv[2]), Path("data"), int(sys.argv[3]))
"""
COMMAND = "sys.exit(main(sys.argv[2:]))"


def prepare(place):
    """What the processes read: the runs and their streams."""
    built = {name: pack(streams.build(RUNS[0]["stream"], name, 1, Path("data"))) for name in SCENARIOS}
    torch.save(built, place / "streams.pt")
    (place / "runs.json").write_text(json.dumps(RUNS))


def start(place, script, *arguments):
    """A process in a group of its own, its output read through one pipe that its workers hold too."""
    ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)  # a child of a background shell would ignore Ctrl-C
    try:
        return subprocess.Popen(
            [sys.executable, "-c", PREBUILT + script, str(place), *map(str, arguments)],
            cwd=record.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, ignored)


def finish(process):
    """What a process and its workers printed; an error if one of them still holds the pipe after a while."""
    try:
        return process.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def versions(folder):
    """Each record under `folder` with what changes when it is written again."""
    found = {}
    for file in folder.glob("[!.]*/*/*.json"):
        status = file.stat()
        found[file.relative_to(folder).as_posix()] = (status.st_ino, status.st_mtime_ns)
    return found


def wait_for(folder, n, process):
    """Wait until `n` records are there and the process is still at work."""
    end = time.monotonic() + 60
    while len(versions(folder)) < n:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.005)


def damaged(folder):
    """Records under `folder` that are not whole."""
    return [file for file in folder.glob("[!.]*/*/*.json") if not isinstance(record.load(file), record.Record)]

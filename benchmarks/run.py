"""One run: a method, trained with one seed on one scenario of one stream; from its description to its record."""

import platform
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch

import methods
from benchmarks import record, streams
from benchmarks.checkpoint import Checkpoint
from benchmarks.learner import Trace, Train, start
from benchmarks.record import Record
from benchmarks.stream import Stream
from methods.base.errors import UserError

CHECKPOINT_EVERY = 60.0  # seconds: a short run is sooner done again than its state is written
PACKAGES = ("torch", "torchvision", "avalanche-lib", "numpy")


def resolve(run: dict) -> dict:
    """The run with every option's value filled in; an unknown or impossible one raises UserError."""
    method = dict(run["method"])
    made = methods.make(**method)
    if run["scenario"] not in made.scenarios:
        allowed = ", ".join(made.scenarios)
        raise UserError(f"{method['name']} does not run {run['scenario']}-incremental, only: {allowed}")
    preset = {"preset": method["preset"]} if "preset" in method else {}
    try:
        train = Train(**run["train"])
    except TypeError as error:
        raise UserError(f"train: {str(error).partition('() ')[2]}") from error
    return {
        "stream": streams.resolve(run["stream"]),
        "scenario": run["scenario"],
        "method": {"name": method["name"], **preset, **methods.describe(made)},
        "train": asdict(train),
        "seed": run["seed"],
    }


def digest(run: dict) -> str:
    """Of the sources that can change this run's numbers."""
    own = (f"benchmarks.streams.{run['stream']['name']}", f"methods.{run['method']['name']}")
    return record.digest("benchmarks.learner", "benchmarks.stream", *own)


@dataclass(frozen=True)
class Context:
    """What a run cannot know by itself."""

    device: str
    commit: str
    data: str  # fingerprint of the data set
    digest: str  # of the sources, taken when the sweep began: an edit during it does not pass for what ran


def execute(
    run: dict, stream: Stream, context: Context, seconds_of_data: float, checkpoint: Path | None = None
) -> Record:
    """Train and evaluate a resolved run; divergence gives a failed record, with its reason.

    A run of minutes leaves its state in the file `checkpoint`, and one that finds it there goes on.
    """
    _reset_peak_memory()
    trace, reason, correct, n_parameters = Trace(), None, None, None
    made, train = methods.make(**run["method"]), Train(**run["train"])
    identity = run | {"digest": context.digest, "data": context.data, "device": context.device}
    saved = checkpoint and Checkpoint(checkpoint, identity, every=CHECKPOINT_EVERY)
    try:
        correct, n_parameters = start(made, stream, train, run["seed"], context.device, trace, saved)
    except FloatingPointError as error:
        reason = str(error)
    return Record(
        schema=record.SCHEMA,
        run=run,
        reason=reason,
        correct=correct,
        total=[len(test) for test in stream.tests],
        n_parameters=n_parameters,
        seeds=trace.seeds,
        seconds={"data": round(seconds_of_data, 3)} | {phase: round(s, 3) for phase, s in trace.seconds.items()},
        peak_memory_mb=round(_peak_memory_mb(), 1),
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        machine=machine(context.device),
        commit=context.commit,
        data=context.data,
        digest=context.digest,
        memory=None if reason else trace.memory,
    )


def machine(device: str) -> dict:
    """What rounding depends on, beside the versions."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    capability = torch.backends.cpu.get_cpu_capability()
    return {"cpu": _cpu(), "capability": capability, "device": name, "threads": torch.get_num_threads()}


@lru_cache(maxsize=1)
def _cpu() -> str:
    with suppress(OSError, KeyError):
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        # A cloud names many generations alike; the numbers tell them apart.
        numbers = " ".join(f"{name} {fields[name]}" for name in ("cpu family", "model", "stepping"))
        return f"{fields['model name']} ({numbers})"
    return platform.processor() or platform.machine()


def commit() -> str:
    """The checkout's commit, marked where files differ from it; "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=record.ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def check_device(device: str) -> None:
    """Refuse a device that is not there."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {device!r} is not available: {str(error).splitlines()[0]}") from error


def _reset_peak_memory() -> None:
    with suppress(OSError):  # not Linux, or not allowed: the peak is then that of the process
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mb() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return peak / (1024**2 if sys.platform == "darwin" else 1024)

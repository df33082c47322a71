"""A record names its machine and its checkout: processor, versions, commit, peak memory."""

import math
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.files import ROOT
from methods.base.errors import UserError

PACKAGES = ("torch", "torchvision", "avalanche-lib", "numpy", "scipy")


def machine(device: str) -> dict:
    """Return what rounding depends on beside the versions."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else device
    capability = torch.backends.cpu.get_cpu_capability()
    return {"cpu": _cpu(), "capability": capability, "device": name, "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@lru_cache(maxsize=1)
def _cpu() -> str:
    with suppress(OSError, KeyError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
        fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        # A cloud gives many generations one name. The numbers tell them apart.
        numbers = " ".join(f"{name} {fields[name]}" for name in ("cpu family", "model", "stepping"))
        return f"{fields['model name']} ({numbers})"
    return platform.processor() or platform.machine()


def commit() -> str:
    """Return the checkout's commit, marked if files differ from it, or "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def check_device(device: str) -> None:
    """Refuse a device that is not there."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device {device!r} is not available: {str(error).splitlines()[0]}") from error


def reset_peak_memory() -> None:
    """Begin to measure the peak anew, where the system allows it."""
    with suppress(OSError):  # if the system has no such file, the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def memory_mb(kind: str = "VmRSS") -> float:
    """Return the resident memory of this process in MiB, or what Linux names otherwise; NaN where it is not told."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1024
    return math.nan


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process since `reset_peak_memory`, in MiB."""
    if not math.isnan(told := memory_mb("VmHWM")):
        return told
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB elsewhere
    return peak / (1024**2 if sys.platform == "darwin" else 1024)

"""The process in a library's environment: it computes each quantity in each case and writes a line for each.

A line is JSON: {"quantity", "case", "values"} or {"quantity", "case", "error"}. It is written at once, so what is
finished stays if the process hangs or dies later. The first line has the package's version.
"""

import json
import sys
import traceback
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from benchmarks.audit.base import library, problem
from benchmarks.audit.base.absent import stand_in
from benchmarks.audit.base.quantities import QUANTITIES


def main(name: str, folder: str) -> None:
    """Compute all quantities of a library on the problem in `folder`. Write `answers.jsonl` there."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    work, found = problem.read(Path(folder)), library.find(name)
    stand_in(*found.absent)
    with open(Path(folder) / "answers.jsonl", "w", encoding="utf-8") as answers:

        def say(**line) -> None:
            answers.write(json.dumps(line) + "\n")
            answers.flush()

        say(version=_version(found.package))
        for quantity, entry in found.entries.items():
            for n, case in enumerate(QUANTITIES[quantity].cases):
                torch.manual_seed(0)
                np.random.seed(0)
                try:
                    say(quantity=quantity, case=n, values=_numbers(entry.function(work, **case)))
                except Exception as error:
                    traceback.print_exc()
                    say(quantity=quantity, case=n, error=_first_line(error))


def _numbers(values) -> list[float]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    return [float(value) for value in np.asarray(values, dtype=float).ravel()]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main(*sys.argv[1:])

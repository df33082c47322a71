"""A checkpoint holds a run between two tasks. The run goes on from it to the same numbers, to the bit.

The checkpoint holds theta, the module's buffers, the state of the optimiser and of the method, and the counts so far.
Random generators need no state, because each is derived afresh from (seed, role, task). Files load with
weights_only=True. So a file from somebody else can run no code.
"""

import io
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor
from torch.serialization import safe_globals

from benchmarks.files import set_aside, write_atomically
from methods.base.examples import Examples, Part

STATE = [Examples, Part]  # what a method may keep beside tensors and plain containers
CONTAINERS = (dict, OrderedDict, list, tuple, set)
SIMPLE = (int, float, complex, bool, str, bytes, type(None))
PLAIN = (Tensor, torch.nn.Parameter, torch.Size, torch.device, torch.dtype, *SIMPLE)


@dataclass
class Checkpoint:
    """Say where a run leaves its state. identity: every option of the run; it tells files of other runs apart.

    every: at least so many seconds pass between two writes. notes: what the user should hear of the file.
    """

    file: Path
    identity: dict
    every: float = 0.0
    notes: list[str] = field(default_factory=list)
    _written: float = field(default_factory=lambda: time.monotonic(), init=False)

    def save(self, state: dict) -> None:
        """Write the state, whole or not at all, if it is time."""
        if time.monotonic() - self._written < self.every:
            return
        if unfit := _unfit(state, "state"):
            note = f"no checkpoint of {self.file.stem}: {unfit} cannot be read back; keep tensors and plain numbers"
            self.notes += [note] if note not in self.notes else []
            return
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, "state": state}, buffer)
        write_atomically(self.file, buffer.getvalue())
        self._written = time.monotonic()

    def load(self, device: torch.device) -> dict | None:
        """Return the state on `device`, or None without a file. Set aside a file that is damaged or of another run."""
        try:
            with safe_globals(STATE):
                found = torch.load(self.file, map_location=device, weights_only=True)
            identity, state = found["identity"], found["state"]
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, ValueError):
            return self._set_aside("is damaged")
        if identity != self.identity:
            there, here = _first_difference(identity, self.identity)
            return self._set_aside(f"is of another run: it has {there}, this run {here}")
        return state

    def _set_aside(self, fault: str) -> None:
        aside = set_aside(self.file)
        self.notes.append(f"the checkpoint {self.file} {fault}; it was moved to {aside}, and the run begins anew")


def _unfit(value, name: str) -> str | None:
    """Return the name and type of the first value that `load` would not read, or None."""
    kind = type(value)
    if kind in PLAIN:
        return None
    if kind in CONTAINERS:
        named = isinstance(value, dict)
        parts = ((key, part) for key in value for part in (key, value[key])) if named else enumerate(value)
    elif kind in STATE:
        parts = vars(value).items()
    else:
        return f"{name} ({kind.__module__}.{kind.__name__})"
    return next(filter(None, (_unfit(part, f"{name}[{key!r}]") for key, part in parts)), None)


def holdings(state) -> tuple[int, int]:
    """Return how many examples and how many bytes a method's state holds. What is held twice counts once."""
    found = {id(value): value for value in _walk(state)}.values()
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in found if isinstance(t, Tensor)}
    return sum(len(value) for value in found if isinstance(value, Examples)), sum(storages.values())


def _walk(value) -> Iterator:
    yield value
    if isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, list | tuple):
        inside = value
    else:
        inside = vars(value).values() if type(value) in STATE else ()
    for each in inside:
        yield from _walk(each)


def _first_difference(there: dict, here: dict, name: str = "") -> tuple[str, str]:
    for key in [*here, *there]:
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            return _first_difference(old, new, f"{name}{key}.")
        if old != new:
            return f"{name}{key} = {old!r}", f"{new!r}"
    raise AssertionError("equal")

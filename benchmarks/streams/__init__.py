"""Streams, one file each: a stream is known because its file is here.

A stream file has `stream(scenario, root, seed, *, options) -> Stream`. Its result depends on the run's seed only where
an option has the value "seeded". An option whose default is None is no part of a run's description while it is not
given, so that a stream may get one without moving the records that there are.
"""

import inspect
import math
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from benchmarks.errors import UserError, unknown
from benchmarks.stream import SCENARIOS, Stream


def names() -> list[str]:
    """Every stream there is."""
    return sorted(module.name for module in iter_modules(__path__))


def resolve(spec: dict) -> dict:
    """`spec` ({"name": ..., options}) with every option's value filled in; unknown names and options are refused."""
    options = dict(spec)
    name = options.pop("name", None)
    if name not in names():
        raise unknown("stream", name, names())
    parameters = inspect.signature(import_module(f"{__name__}.{name}").stream).parameters.values()
    known = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of the stream {name}", option, known)
        if isinstance(known[option], int | float) and not _numbers(value):
            raise UserError(f"option {option} of the stream {name} takes numbers, got {value!r}")
    defaults = {option: value for option, value in known.items() if value is not None}
    return {"name": name, **defaults, **options}


def _numbers(value: object) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)


def data_name(spec: dict) -> str:
    """The data set that a stream reads, as benchmarks.data names it."""
    if spec["name"] == "arrays":
        return spec["data"]
    return spec["name"].removeprefix("split").removeprefix("permuted").removeprefix("rotated")


def build(spec: dict, scenario: str, seed: int, root: Path) -> Stream:
    """The stream of a resolved `spec`; streams that do not depend on the seed are built once for all seeds."""
    if scenario not in SCENARIOS:
        raise unknown("scenario", scenario, SCENARIOS)
    options = tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in spec.items())
    return _build(options, scenario, seed if "seeded" in spec.values() else 0, root)


@cache
def _build(options: tuple, scenario: str, seed: int, root: Path) -> Stream:
    arguments = dict(options)
    return import_module(f"{__name__}.{arguments.pop('name')}").stream(scenario, root, seed, **arguments)

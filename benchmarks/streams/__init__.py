"""Streams, one file each: a stream is known because its file is here.

A stream file has `stream(scenario, root, seed, *, options) -> Stream`. Its result depends on the run's seed only where
an option has the value "seeded". Every stream has the option `evaluate` (Stream.evaluated_on) beside its own.
"""

import inspect
import math
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from benchmarks.stream import EVALUATE, Stream
from methods.base.errors import UserError, unknown
from methods.base.examples import SCENARIOS


def names() -> list[str]:
    """Every stream there is."""
    return sorted(module.name for module in iter_modules(__path__))


def resolve(spec: dict) -> dict:
    """`spec` ({"name": ..., options}) with every option's value filled in; unknown names and options are refused."""
    options = dict(spec)
    name = options.pop("name", None)
    if name not in names():
        raise unknown("stream", name, names())
    known = defaults(name)
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of the stream {name}", option, known)
        if isinstance(known[option], int | float) and not _numbers(value):
            raise UserError(f"option {option} of the stream {name} takes numbers, got {value!r}")
    if options.get("evaluate", "test") not in EVALUATE:
        raise unknown(f"evaluate of the stream {name}", options["evaluate"], EVALUATE)
    return {"name": name, **known, **options}


def defaults(name: str) -> dict:
    """The options of the stream `name`, with their defaults."""
    parameters = inspect.signature(import_module(f"{__name__}.{name}").stream).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | {"evaluate": "test"}


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
    name, evaluate = arguments.pop("name"), arguments.pop("evaluate")
    return import_module(f"{__name__}.{name}").stream(scenario, root, seed, **arguments).evaluated_on(evaluate)

"""Streams, one file each: a stream is known because its file is here.

A stream file has `stream(scenario, root, seed, *, options) -> Stream`. Its result depends on the run's seed only where
an option has the value "seeded". Every stream has the option `evaluate` (Stream.evaluated_on) beside its own.
"""

import inspect
import math
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from benchmarks.stream import EVALUATE, Stream
from methods.base.choice import Choice
from methods.base.errors import UserError, unknown


def names() -> list[str]:
    """Every stream there is."""
    return sorted(module.name for module in iter_modules(__path__))


def resolve(spec: dict) -> Choice:
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
    return Choice(name, {**known, **options})


def defaults(name: str) -> dict:
    """The options of the stream `name`, with their defaults."""
    parameters = inspect.signature(import_module(f"{__name__}.{name}").stream).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | {"evaluate": "test"}


def _numbers(value: object) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values)


def data_set(stream: Choice) -> str:
    """The data set that a stream reads, as benchmarks.data names it."""
    if stream.name == "arrays":
        return stream.options["data"]
    return stream.name.removeprefix("split").removeprefix("permuted").removeprefix("rotated")


def needs_seed(stream: Choice) -> bool:
    """Whether the stream depends on the seed of the run."""
    return "seeded" in stream.options.values()


def build(stream: Choice, scenario: str, seed: int, root: Path) -> Stream:
    """The stream; it gets the seed only if it says that it depends on it."""
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in stream.options.items()}
    evaluate = options.pop("evaluate")
    made = import_module(f"{__name__}.{stream.name}").stream(
        scenario, root, seed if needs_seed(stream) else 0, **options
    )
    return made.evaluated_on(evaluate)

"""Streams: every module here is one, and adding one edits nothing else.

A stream file has one class of its own that derives from `Recipe` (benchmarks/materialise.py): a frozen dataclass whose
fields are its options.
"""

import os
from dataclasses import asdict
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from benchmarks import materialise
from benchmarks.materialise import Recipe
from benchmarks.stream import Stream
from methods.base.choice import Choice
from methods.base.errors import UserError, unknown


def names() -> list[str]:
    """Every stream there is."""
    files = [file for folder in __path__ for file in os.listdir(folder)]
    return sorted(file.removesuffix(".py") for file in files if file.endswith(".py") and file != "__init__.py")


def find(name: str) -> type[Recipe]:
    """The recipe in the file `name`."""
    if name not in names():
        raise unknown("stream", name, names())
    module = import_module(f"{__name__}.{name}")
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    own = [c for c in own if issubclass(c, Recipe)]
    if len(own) != 1 or "__dataclass_fields__" not in vars(own[0]):
        wanted = "one class of its own that derives from Recipe, with @dataclass(frozen=True) above it"
        raise UserError(f"benchmarks/streams/{name}.py needs {wanted}, found {[c.__name__ for c in own]}")
    return own[0]


def resolve(spec: dict) -> Choice:
    """`spec` ({"name": ..., options}) with every option's value filled in; unknown names and options are refused."""
    given = dict(spec)
    name = given.pop("name", None)
    known = defaults(name)
    for option in given:
        if option not in known:
            raise unknown(f"option of the stream {name}", option, known)
    try:
        made = asdict(find(name)(**given))
    except UserError as error:
        raise UserError(f"the stream {name}: {error}") from error
    return Choice(name, {option: made[option] for option in known})


def defaults(name: str) -> dict:
    """The options of the stream `name`, with their defaults."""
    return find(name).options()


@lru_cache
def _recipe(stream: Choice) -> Recipe:
    return find(stream.name)(**stream.options)


def data_set(stream: Choice) -> str:
    """The data set that a stream reads, as benchmarks.data names it."""
    return _recipe(stream).data_set


def needs_seed(stream: Choice) -> bool:
    """Whether the stream depends on the seed of the run."""
    return _recipe(stream).needs_seed


def build(stream: Choice, scenario: str, seed: int, root: Path) -> Stream:
    """The stream; it gets the seed only if it says that it depends on it."""
    return materialise.build(_recipe(stream), scenario, seed, root)

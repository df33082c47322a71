"""Streams: every module here is one, and adding one edits nothing else.

A stream file has one class of its own that derives from `Recipe` (benchmarks/materialise.py): a frozen dataclass whose
fields are its options.
"""

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from benchmarks import materialise
from benchmarks.materialise import Recipe
from benchmarks.stream import Stream
from methods.base import modules
from methods.base.choice import Choice
from methods.base.errors import UserError
from methods.base.options import check_names


def names() -> list[str]:
    """Return the name of every stream there is."""
    return modules.names(__path__)


def find(name: str) -> type[Recipe]:
    """Return the recipe in the file `name`."""
    return modules.find(__name__, name, Recipe)


def resolve(spec: dict) -> Choice:
    """Return `spec` ({"name": ..., options}) with every option filled in. Unknown names and options are refused."""
    given = dict(spec)
    name = given.pop("name", None)
    cls, what = find(name), f"the stream {name}"
    check_names(cls, what, given)
    try:
        made = asdict(cls(**given))
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    return Choice(name, {option: made[option] for option in defaults(name)})


def defaults(name: str) -> dict:
    """Return the options of the stream `name`, with their defaults."""
    return find(name).options()


@lru_cache
def recipe(stream: Choice) -> Recipe:
    """Return what the stream is made by: it names the data set, and says whether the stream depends on the seed."""
    return find(stream.name)(**stream.options)


def build(stream: Choice, scenario: str, seed: int, root: Path) -> Stream:
    """Return the stream. It gets the seed only if it says that it depends on it."""
    return materialise.build(recipe(stream), scenario, seed, root)

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
def _recipe(stream: Choice) -> Recipe:
    return find(stream.name)(**stream.options)


def data_set(stream: Choice) -> str:
    """Return the data set that a stream reads, as benchmarks.data names it."""
    return _recipe(stream).data_set


def needs_seed(stream: Choice) -> bool:
    """Say whether the stream depends on the seed of the run."""
    return _recipe(stream).needs_seed


def order_seed(stream: Choice, seed: int) -> int:
    """Return the seed of the class order in the run with this seed.

    The stream has an order of a paper's seeds (Split.order_seeds).
    """
    return _recipe(stream).order_seed(seed)


def build(stream: Choice, scenario: str, seed: int, root: Path) -> Stream:
    """Return the stream. It gets the seed only if it says that it depends on it."""
    return materialise.build(_recipe(stream), scenario, seed, root)

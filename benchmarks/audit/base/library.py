"""A library's file says, for each quantity, how to have it computed, and in words what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

from benchmarks import audit
from benchmarks.audit.base.quantities import QUANTITIES
from methods.base.errors import unknown


@dataclass(frozen=True)
class Entry:
    """How a library computes a quantity: function(problem, **case) -> numbers, or the library's own error.

    `claim` is what the words are about: the kind of the cell, or `times <factor>`. `where` is in the library's source.
    """

    function: Callable
    claim: str
    words: str
    where: str


class Library:
    """A package and what it computes. `label` is its name in the picture.

    absent: modules that the package imports though no quantity needs them: loggers, plots, other frameworks. The worker
    has stand-ins for them (absent.py).
    """

    def __init__(
        self, package: str, label: str, entries: dict[str, tuple[Callable, str, str, str]], absent: tuple[str, ...] = ()
    ):
        self.package, self.label, self.absent = package, label, absent
        self.entries = {quantity: Entry(*entry) for quantity, entry in entries.items()}
        for quantity in self.entries:
            if quantity not in QUANTITIES:
                raise unknown("quantity", quantity, list(QUANTITIES))


def names() -> list[str]:
    """Return the names of all libraries: the modules beside this package."""
    return sorted(module.name for module in iter_modules(audit.__path__) if not module.ispkg)


def find(name: str) -> Library:
    """Return the library of a module. The module itself imports the package only inside its functions."""
    if name not in names():
        raise unknown("library", name, names())
    return import_module(f"benchmarks.audit.{name}").library

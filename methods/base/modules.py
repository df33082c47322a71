"""A method is one file, and so is a stream: the file's name is theirs, and the file holds one class of its kind."""

import os
from collections.abc import Iterable
from importlib import import_module

from methods.base.errors import UserError, unknown


def names(folder: Iterable[str]) -> list[str]:
    """Return the name of every module in a package's folder. Packages in it do not count, and nothing is imported."""
    files = [file for place in folder for file in os.listdir(place)]
    return sorted(file.removesuffix(".py") for file in files if file.endswith(".py") and file != "__init__.py")


def find(package: str, name: str, base: type) -> type:
    """Return the class of the module package.name that derives from `base` and has no subclass there.

    It may derive from the class of another module. Helper classes may stand beside it.
    """
    known = names(import_module(package).__path__)
    if name not in known:
        raise unknown(package.rpartition(".")[2].removesuffix("s"), name, known)
    module = import_module(f"{package}.{name}")
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    own = [c for c in own if issubclass(c, base)]
    last = [c for c in own if not any(issubclass(other, c) for other in own if other is not c)]
    file = f"{package.replace('.', '/')}/{name}.py"
    if len(last) != 1:
        found = " and ".join(c.__name__ for c in last) or "none"
        raise UserError(f"{file} needs one class of its own that derives from {base.__name__}, found {found}")
    (cls,) = last
    if "__dataclass_fields__" not in vars(cls):
        wanted = "@dataclass(frozen=True)" if base.__dataclass_params__.frozen else "@dataclass"
        raise UserError(f"{file}: write {wanted} above class {cls.__name__}: its fields are the options")
    return cls

"""Every module here that is not a package is a continual-learning method. Adding one edits no other file.

The method is the class of the module that derives from `Method` and has no subclass there. It may derive from the class
of another method. Helper classes may stand beside it.
"""

import os
from dataclasses import MISSING, asdict, fields
from importlib import import_module

from methods.base.errors import UserError, unknown
from methods.base.method import Method


def names() -> list[str]:
    """Return the name of every method. No method is imported."""
    files = [file for folder in __path__ for file in os.listdir(folder)]
    return sorted(file.removesuffix(".py") for file in files if file.endswith(".py") and file != "__init__.py")


def find(name: str) -> type[Method]:
    """Return the method class of the file `name`."""
    if name not in names():
        raise unknown("method", name, names())
    module = import_module(f"methods.{name}")
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    own = [c for c in own if issubclass(c, Method)]
    last = [c for c in own if not any(issubclass(other, c) for other in own if other is not c)]
    if len(last) != 1:
        found = " and ".join(c.__name__ for c in last) or "none"
        raise UserError(f"methods/{name}.py needs one class of its own that derives from Method, found {found}")
    (cls,) = last
    if "__dataclass_fields__" not in vars(cls):
        raise UserError(f"methods/{name}.py: write @dataclass above class {cls.__name__}: its fields are the options")
    return cls


def make(name: str, preset: str | None = None, **options) -> Method:
    """Return the method `name`. Given options replace those of the preset. UserError says what is wrong."""
    cls = find(name)
    known = {field.name: field for field in fields(cls)}
    if preset is not None and preset not in cls.presets:
        raise unknown(f"preset of {name}", preset, cls.presets)
    for option in options:
        if option not in known:
            raise unknown(f"option of {name}", option, known)
    try:
        return cls(**{**cls.presets.get(preset, {}), **options})
    except TypeError as error:
        raise UserError(f"{name}: {str(error).partition('() ')[2] or error}") from error


def defaults(name: str) -> dict:
    """Return the options of the method `name` that have a default, with their defaults."""
    return {field.name: field.default for field in fields(find(name)) if field.default is not MISSING}


def describe(method: Method) -> dict:
    """Return every option of a method with its value, by name."""
    return asdict(method)

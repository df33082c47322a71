"""Continual-learning methods, one file each: a method is known because its file is here.

A file is a method if it defines a subclass of `Method`. Nothing else is edited to add one.
"""

import inspect
from dataclasses import MISSING, asdict, fields
from importlib import import_module
from pkgutil import iter_modules

from methods.base.errors import UserError, unknown
from methods.base.method import Method


def names() -> list[str]:
    """Every method there is, found without importing any."""
    return sorted(module.name for module in iter_modules(__path__) if not module.ispkg)


def find(name: str) -> type[Method]:
    """The method class of the file `name`."""
    if name not in names():
        raise unknown("method", name, names())
    module = import_module(f"methods.{name}")
    (cls,) = (
        c
        for _, c in inspect.getmembers(module, inspect.isclass)
        if c.__module__ == module.__name__ and issubclass(c, Method)
    )
    return cls


def make(name: str, preset: str | None = None, **options) -> Method:
    """The method `name` with its options: a preset's first, then those given; UserError says what is wrong."""
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
    """The options of the method `name` that have a default, with it."""
    return {field.name: field.default for field in fields(find(name)) if field.default is not MISSING}


def describe(method: Method) -> dict:
    """Every option of a method with its value, by name."""
    return asdict(method)

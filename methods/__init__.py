"""Every module here that is not a package is a continual-learning method. Adding one edits no other file.

methods/base/modules.py says which class of a module is the method.
"""

from dataclasses import MISSING, fields

from methods.base import modules
from methods.base.errors import unknown
from methods.base.method import Method
from methods.base.options import construct


def names() -> list[str]:
    """Return the name of every method. No method is imported."""
    return modules.names(__path__)


def find(name: str) -> type[Method]:
    """Return the method class of the file `name`."""
    return modules.find(__name__, name, Method)


def make(name: str, preset: str | None = None, **options) -> Method:
    """Return the method `name`. Given options replace those of the preset. UserError says what is wrong."""
    cls = find(name)
    if preset is not None and preset not in cls.presets:
        raise unknown(f"preset of {name}", preset, cls.presets)
    return construct(cls, name, {**cls.presets.get(preset, {}), **options})


def defaults(name: str) -> dict:
    """Return the options of the method `name` that have a default, with their defaults."""
    return {field.name: field.default for field in fields(find(name)) if field.default is not MISSING}

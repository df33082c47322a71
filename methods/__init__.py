"""Every module here that is not a package is a continual-learning method. Adding one edits no other file.

methods/base/modules.py says which class of a module is the method. torch is imported once a method is asked for. So the
errors of this floor are there without it.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

from methods.base import modules
from methods.base.errors import unknown

if TYPE_CHECKING:
    from methods.base.method import Method


def names() -> list[str]:
    """Return the name of every method. No method is imported."""
    return modules.names(__path__)


def find(name: str) -> type[Method]:
    """Return the method class of the file `name`."""
    from methods.base.method import Method

    return modules.find(__name__, name, Method)


def make(name: str, preset: str | None = None, **options) -> Method:
    """Return the method `name`. Given options replace those of the preset. UserError says what is wrong."""
    from methods.base.options import check_needs, construct

    cls = find(name)
    if preset is not None and preset not in cls.presets:
        raise unknown(f"preset of {name}", preset, cls.presets)
    usual = cls.presets.get(preset, {})
    made = construct(cls, name, usual | options)
    check_needs(made, options, defaults(name) | usual)
    return made


def defaults(name: str) -> dict:
    """Return the options of the method `name` that have a default, with their defaults."""
    return {field.name: field.default for field in fields(find(name)) if field.default is not MISSING}

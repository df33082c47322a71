"""This module has the errors that a user can mend, the answer to a wrong name, and checks of plain values."""

import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """This is a mistake that the user can mend. It is shown as one line, no traceback; the exit status is 2."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Return the error for a `name` that is not among the `known` names of its `kind`. It names the nearest one."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1, cutoff=0.0)
    hint = f"; the nearest is {near[0]!r}" if near else ""
    return UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(known) or 'none'})")


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Refuse a value that is not a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be a whole number >= {least}, got {value!r}")


def check_number(name: str, value: object, wanted: str, fits: Callable[[float], bool]) -> None:
    """Refuse a value that is not a finite number that `fits`; `wanted` says what it must be."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) <= sys.float_info.max or not fits(value):
        raise UserError(f"{name} must be {wanted}, got {value!r}")


def check_either(**options: object) -> None:
    """Refuse two options unless exactly one of them is given."""
    (a, first), (b, second) = options.items()
    if (first is None) == (second is None):
        raise UserError(f"{a} and {b}: give exactly one, got {first!r} and {second!r}")

"""This module has the errors that a user can mend, and the answer to a wrong name."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """This is a mistake that the user can mend. It is shown as one line, no traceback; the exit status is 2."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Return the error for a `name` that is not among the `known` names of its `kind`. It names the nearest one."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1, cutoff=0.0)
    hint = f"; the nearest is {near[0]!r}" if near else ""
    return UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(known) or 'none'})")


def check_either(**options: object) -> None:
    """Refuse two options unless exactly one of them is given."""
    (a, first), (b, second) = options.items()
    if (first is None) == (second is None):
        raise UserError(f"{a} and {b}: give exactly one, got {first!r} and {second!r}")

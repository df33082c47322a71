"""Errors that are the user's to mend, and how a wrong name is answered."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can mend: shown as one line, without a traceback; the command exits with status 2."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """The error for a `name` that is not one of the `known` names of its `kind`; it names the nearest known one."""
    known = sorted(known)
    near = get_close_matches(str(name), known, n=1, cutoff=0.0)
    hint = f"; the nearest is {near[0]!r}" if near else ""
    return UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(known) or 'none'})")

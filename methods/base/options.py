"""The type of an option says which values it takes. Options are checked once, by these types.

    lam: NonNegative                        a finite number >= 0
    batch: Count = 128                      a whole number >= 1
    ema: Share | None = None                a number in [0, 1], or None
    norm: Literal["squared", "l2"] = "l2"   one of these words
    flips: bool = False                     true or false
    sizes: tuple[Count, ...] = ()           a list of whole numbers >= 1

The alternatives of a union are tried in turn: `Count | Literal["seeded"]`.
Another bound is another `Annotated` type: `Annotated[float, Bound("a number > 1", lambda value: value > 1)]`.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor

from methods.base.errors import UserError, unknown


@dataclass(frozen=True)
class Bound:
    """Say which numbers an option takes, in words and as a test."""

    wanted: str
    fits: Callable[[float], bool] = lambda value: True


NonNegative = Annotated[float, Bound("a finite number >= 0", lambda value: value >= 0)]
Positive = Annotated[float, Bound("a finite number > 0", lambda value: value > 0)]
Share = Annotated[float, Bound("a number in [0, 1]", lambda value: 0 <= value <= 1)]
Count = Annotated[int, Bound("a whole number >= 1", lambda value: value >= 1)]
CountOrZero = Annotated[int, Bound("a whole number >= 0", lambda value: value >= 0)]
ANY = {int: Bound("a whole number"), float: Bound("a finite number")}


def construct(cls: type, what: str, options: dict) -> Any:
    """Return cls(**options). UserError says which options of `what` are unknown or missing."""
    check_names(cls, what, options)
    return cls(**options)


def check_names(cls: type, what: str, options: dict) -> None:
    """Refuse options that the dataclass does not have, and the lack of one that it needs."""
    known = {field.name: field for field in fields(cls)}
    for option in options:
        if option not in known:
            raise unknown(f"option of {what}", option, known)
    needed = [name for name, field in known.items() if field.default is MISSING and field.default_factory is MISSING]
    if missing := [name for name in needed if name not in options]:
        raise UserError(f"{what}: missing {' and '.join(map(repr, missing))}")


def check_options(options) -> None:
    """Refuse values of a dataclass that the types of its fields do not allow.

    Equal values are kept alike, so that equal runs have one record: a float option is kept as a float, but as a whole
    number in a list. NumPy's and torch's scalars become plain Python numbers, which a record can hold.
    """
    kinds = _kinds(type(options))
    for field in fields(options):
        value = checked(field.name, getattr(options, field.name), kinds[field.name])
        object.__setattr__(options, field.name, value)  # a frozen dataclass has no other way


@cache
def _kinds(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields."""
    return get_type_hints(cls, include_extras=True)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray | Tensor) and value.ndim == 0):
        return value.item()
    return value


def checked(name: str, value: Any, kind: Any) -> Any:
    """Return the value as it is kept. Raise UserError if `kind` does not allow it."""
    value = _plain(value)
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in kinds:
        fits, kept = _fitted(name, value, one)
        if fits:
            return kept
    if len(kinds) == 1 and get_origin(kind) is Literal:
        raise unknown(name, value, get_args(kind))
    raise UserError(f"{name} must be {', or '.join(_wanted(name, one) for one in kinds)}, got {value!r}")


def _fitted(name: str, value: Any, kind: Any) -> tuple[bool, Any]:
    """Return whether one kind of option allows the value, and the value as it is kept."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            return False, value
        items = [_fitted(name, _plain(item), get_args(kind)[0]) for item in value]
        return all(fits for fits, _ in items), tuple(_whole(kept) for _, kept in items)
    if kind is NoneType:
        return value is None, value
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind), value
    if kind in (bool, str):
        return isinstance(value, kind), value
    number, bound = _bound(name, kind)
    whole = isinstance(value, int) and not isinstance(value, bool)
    finite = whole or (number is float and isinstance(value, float) and math.isfinite(value))
    fits = finite and abs(value) <= sys.float_info.max and bound.fits(value)
    return fits, float(value) if fits and number is float else value


def _whole(item: Any) -> Any:
    """Return a float that is a whole number, and exact as one, as that number."""
    return int(item) if isinstance(item, float) and item.is_integer() and abs(item) < 2**53 else item


def _bound(name: str, kind: Any) -> tuple[type, Bound]:
    if kind not in ANY and get_origin(kind) is not Annotated:
        raise TypeError(f"option {name} is declared as {kind}: methods/base/options.py says what an option can be")
    return get_args(kind) or (kind, ANY[kind])


def _wanted(name: str, kind: Any) -> str:
    """Say in words what a kind of option takes."""
    if get_origin(kind) is tuple:
        return f"a list, each item {_wanted(name, get_args(kind)[0])}"
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    words = {NoneType: "None", bool: "true or false", str: "a string"}
    return words[kind] if kind in words else _bound(name, kind)[1].wanted

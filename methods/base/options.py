"""The type of an option says which values it takes. Options are checked once, by these types.

    lam: NonNegative                        a finite number >= 0
    batch: Count = 128                      a whole number >= 1
    ema: Share | None = None                a number in [0, 1], or None
    norm: Literal["squared", "l2"] = "l2"   one of these words
    flips: bool = False                     true or false
    sizes: tuple[Count, ...] = ()           a list of whole numbers >= 1
    found: dict[str, Share]                 a table, each value a number in [0, 1]
    extra: Any = None                       anything

The alternatives of a union are tried in turn: `Count | Literal["seeded"]`.
Another bound is another `Annotated` type: `Annotated[float, Bound("a number > 1", lambda value: value > 1)]`.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import cache, partial
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


@dataclass(frozen=True)
class Need:
    """Say what an option needs beside it to have an effect, in words and as a test of what has the options."""

    words: str
    met: Callable[[Any], bool]


NonNegative = Annotated[float, Bound("a finite number >= 0", lambda value: value >= 0)]
Positive = Annotated[float, Bound("a finite number > 0", lambda value: value > 0)]
Share = Annotated[float, Bound("a number in [0, 1]", lambda value: 0 <= value <= 1)]
Count = Annotated[int, Bound("a whole number >= 1", lambda value: value >= 1)]
CountOrZero = Annotated[int, Bound("a whole number >= 0", lambda value: value >= 0)]
ANY = {int: Bound("a whole number"), float: Bound("a finite number")}
WORDS = {NoneType: "None", bool: "true or false", str: "a string"}
UNIONS = (Union, UnionType)


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
    for name, kind in kinds(type(options)).items():
        value = checked(name, getattr(options, name), kind)
        object.__setattr__(options, name, value)  # a frozen dataclass has no other way


def check_needs(made, given: dict, instead: dict) -> None:
    """Refuse a given option that has no effect in `made`, unless it is as it would be without being given."""
    for name, value in given.items():
        need = made.needs.get(name)
        if need and not need.met(made) and value != instead[name]:
            raise UserError(f"{name} = {value!r} has no effect without {need.words}: give that, or leave {name} out")


@cache
def kinds(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def checked(name: str, value: Any, kind: Any) -> Any:
    """Return the value as it is kept. Raise UserError if `kind` does not allow it."""
    value = _plain(value)
    fits, kept = fitted(name, kind)(value)
    if fits:
        return kept
    if get_origin(kind) is Literal:
        raise unknown(name, value, get_args(kind))
    raise UserError(f"{name} must be {wanted(kind)}, got {value!r}")


@cache
def fitted(name: str, kind: Any) -> Callable[[Any], tuple[bool, Any]]:
    """Return a function that says whether the kind of option `name` allows a value, and the value as it is kept."""
    outer, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: (True, value)
    if kind in WORDS:
        return lambda value: (isinstance(value, kind), value)
    if outer is Literal:
        return lambda value: (isinstance(value, str) and value in inner, value)
    if outer in UNIONS:
        return partial(_first, [fitted(name, one) for one in inner])
    if outer in (tuple, list):
        return partial(_listed, outer, fitted(name, inner[0]))
    if outer is dict:
        return partial(_by_key, fitted(name, inner[1]))
    if outer is Annotated or kind in ANY:
        return partial(_number, *(inner or (kind, ANY[kind])))
    raise TypeError(f"option {name} is declared as {kind}: methods/base/options.py says what an option can be")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray | Tensor) and value.ndim == 0):
        return value.item()
    return value


def _first(each: list[Callable], value: Any) -> tuple[bool, Any]:
    found = (fits(value) for fits in each)
    return next(((True, kept) for fits, kept in found if fits), (False, value))


def _listed(outer: type, each: Callable, value: Any) -> tuple[bool, Any]:
    if not isinstance(value, list | tuple):
        return False, value
    items = [each(_plain(item)) for item in value]
    return all(fits for fits, _ in items), outer(_whole(kept) for _, kept in items)


def _by_key(each: Callable, value: Any) -> tuple[bool, Any]:
    if not isinstance(value, dict):
        return False, value
    items = {key: each(item) for key, item in value.items()}
    return all(fits for fits, _ in items.values()), {key: kept for key, (_, kept) in items.items()}


def _number(number: type, bound: Bound, value: Any) -> tuple[bool, Any]:
    whole = isinstance(value, int) and not isinstance(value, bool)
    finite = whole or (number is float and isinstance(value, float) and math.isfinite(value))
    fits = finite and abs(value) <= sys.float_info.max and bound.fits(value)
    return fits, float(value) if fits and number is float else value


def _whole(item: Any) -> Any:
    """Return a float that is a whole number, and exact as one, as that number."""
    return int(item) if isinstance(item, float) and item.is_integer() and abs(item) < 2**53 else item


def wanted(kind: Any) -> str:
    """Say in words what a kind of option takes."""
    outer, inner = get_origin(kind), get_args(kind)
    if outer in UNIONS:
        return ", or ".join(map(wanted, inner))
    if outer in (tuple, list):
        return "a list" if inner[0] is Any else f"a list, each item {wanted(inner[0])}"
    if outer is dict:
        return "a table" if inner[1] is Any else f"a table, each value {wanted(inner[1])}"
    if outer is Literal:
        return " or ".join(map(repr, inner))
    return WORDS.get(kind) or (inner[1] if inner else ANY[kind]).wanted

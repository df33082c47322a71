"""Options say in their types which values they take, and are checked once, from these types.

    lam: NonNegative                        a finite number >= 0
    batch: Count = 128                      a whole number >= 1
    ema: Share | None = None                a number in [0, 1], or None
    norm: Literal["squared", "l2"] = "l2"   one of these words
    flips: bool = False                     true or false

Another bound is another `Annotated` type: `Annotated[float, Bound("a number > 1", lambda value: value > 1)]`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from torch import Tensor

from methods.base.errors import UserError, check_number, unknown


@dataclass(frozen=True)
class Bound:
    """Which numbers an option takes, in words and as a test."""

    wanted: str
    fits: Callable[[float], bool] = lambda value: True


NonNegative = Annotated[float, Bound("a finite number >= 0", lambda value: value >= 0)]
Positive = Annotated[float, Bound("a finite number > 0", lambda value: value > 0)]
Share = Annotated[float, Bound("a number in [0, 1]", lambda value: 0 <= value <= 1)]
Count = Annotated[int, Bound("a whole number >= 1", lambda value: value >= 1)]
CountOrZero = Annotated[int, Bound("a whole number >= 0", lambda value: value >= 0)]
ANY = {int: Bound("a whole number"), float: Bound("a finite number")}


def check_options(options) -> None:
    """Refuse values of a dataclass that the types of its fields do not allow.

    NumPy's and torch's scalars are stored as plain Python numbers, so that a record can hold them.
    """
    kinds = get_type_hints(type(options), include_extras=True)
    for field in fields(options):
        value = _checked(field.name, _plain(getattr(options, field.name)), kinds[field.name])
        object.__setattr__(options, field.name, value)  # also of a frozen dataclass


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray | Tensor) and value.ndim == 0):
        return value.item()
    return value


def _checked(name: str, value: Any, kind: Any) -> Any:
    optional = NoneType in get_args(kind)
    if optional:
        (kind,) = set(get_args(kind)) - {NoneType}
        if value is None:
            return None
    if get_origin(kind) is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise unknown(name, value, get_args(kind))
    elif kind in (bool, str):
        if not isinstance(value, kind):
            raise UserError(f"{name} must be {'true or false' if kind is bool else 'a string'}, got {value!r}")
    else:
        if kind not in ANY and get_origin(kind) is not Annotated:
            raise TypeError(f"option {name} is declared as {kind}: methods/base/options.py says what an option can be")
        number, bound = get_args(kind) or (kind, ANY[kind])
        whole = number is not int or isinstance(value, int)
        wanted = bound.wanted + (", or None" if optional else "")
        check_number(name, value, wanted, lambda value: whole and bound.fits(value))
    return value

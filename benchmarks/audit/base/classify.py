"""What a library computed, measured against the definition, is one of a few kinds.

exact                       the definition, to rounding
times a constant            the definition times one factor in all components (at least three that are not 0)
another quantity            anything else that does not depend on the batch size, NaN included
depends on the batch size   the answers at the batch sizes differ by more than rounding
no effect                   nothing but zeros, or the same at every strength
refused                     an error in a case
none                        the library has no such thing
not run                     there is no answer: no environment, a crash, a time limit
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.audit.base.quantities import LAM, QUANTITIES

EXACT, CONSTANT, OTHER, BATCH = "exact", "times a constant", "another quantity", "depends on the batch size"
NO_EFFECT, REFUSED, NONE, NOT_RUN = "no effect", "refused", "none", "not run"
KINDS = (EXACT, CONSTANT, OTHER, BATCH, NO_EFFECT, REFUSED, NONE, NOT_RUN)


@dataclass(frozen=True)
class Cell:
    """One quantity of one library. `of` names the reading of the definition that the answer is nearest to.

    error: || answer - definition || / || definition ||. factor: of the definition, by least squares. by_batch: the
    factors at the batch sizes, where they differ. text: an error's first line, or how many components are no numbers.
    """

    kind: str
    of: str = ""
    error: float = np.nan
    factor: float = np.nan
    by_batch: tuple[float, ...] = ()
    text: str = ""


def classify(quantity: str, answers: dict[int, list[float] | str], definitions: dict) -> Cell:
    """Return the cell of the answers by case. An answer is values, or the line of an error."""
    cases, tolerance = QUANTITIES[quantity].cases, QUANTITIES[quantity].tolerance
    missing = [n for n in range(len(cases)) if n not in answers]
    if missing:
        return Cell(NOT_RUN, text=f"no answer in {len(missing)} of {len(cases)} cases")
    errors = [answer for answer in answers.values() if isinstance(answer, str)]
    if errors and errors[0].startswith("ModuleNotFoundError"):
        return Cell(NOT_RUN, text=errors[0])
    if errors:
        return Cell(REFUSED, text=errors[0])
    values = [np.asarray(answers[n], dtype=float) for n in range(len(cases))]
    readings = {name: np.asarray(value, dtype=float).ravel() for name, value in definitions.items()}
    size = len(next(iter(readings.values())))
    if any(len(value) != size for value in values):
        sizes = ", ".join(str(len(value)) for value in values)
        return Cell(OTHER, text=f"{sizes} numbers in place of {size}")
    of = min(readings, key=lambda name: _distance(values[0], readings[name]))
    definition = readings[of]
    bad = sum(int((~np.isfinite(value)).any()) for value in values)
    if bad:
        count = max(int((~np.isfinite(value)).sum()) for value in values)
        return Cell(OTHER, of, text=f"{count} of {size} are no numbers")
    if not any(value.any() for value in values):
        return Cell(NO_EFFECT, of, 1.0, 0.0, text="0 everywhere")
    first, error, factor = values[0], _distance(values[0], definition), _factor(values[0], definition)
    moving = int(QUANTITIES[quantity].penalty)
    text = ""
    if cases[0].get("lam") == LAM and np.array_equal(values[1][moving:], values[2][moving:]):
        if np.array_equal(values[0][moving:], values[1][moving:]):
            return Cell(NO_EFFECT, of, error, factor, text="the same at every strength")
        text = "at strength 1e6 as at 0"
    if "batch" in cases[0] and max(_distance(value, first) for value in values) > tolerance:
        return Cell(BATCH, of, error, factor, tuple(_factor(value, definition) for value in values))
    if error <= tolerance:
        return Cell(EXACT, of, error, factor, text=text)
    # Of several readings, one may be met up to its factor though another one is nearer.
    for name, reading in readings.items():
        factor_of = _factor(first, reading)
        if factor_of and np.count_nonzero(reading) > 2 and _distance(first, factor_of * reading) <= tolerance:
            return Cell(CONSTANT, name, _distance(first, reading), factor_of, text=text)
    return Cell(OTHER, of, error, factor, text=text)


def _distance(value: np.ndarray, of: np.ndarray) -> float:
    if value.shape != of.shape or not np.isfinite(value).all():
        return np.inf
    length = float(np.linalg.norm(of))
    return float(np.linalg.norm(value - of)) / length if length else float(np.linalg.norm(value) > 0)


def _factor(value: np.ndarray, of: np.ndarray) -> float:
    return float(value @ of / (of @ of))


def holds(claim: str, cell: Cell) -> bool:
    """Say whether the words' claim, a kind or `times <factor>`, is what was measured."""
    if claim.startswith("times "):
        return cell.kind == CONSTANT and np.isclose(float(claim.removeprefix("times ")), cell.factor, rtol=1e-3)
    return claim == cell.kind

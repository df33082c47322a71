"""This module reads the seeds of the command line."""

import re

from methods.base.errors import UserError
from paper_tables.verdict import MAX_SEEDS

WRITE = "SEEDS=5 for 1 to 5, SEEDS=3,7 for those two, SEEDS=7, for 7 alone, SEEDS=3-9 for a range"


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return (1, 2, 3, 4, 5) for "5", (7,) for "7,", and (3, 4, 5, 8) for "3-5,8"."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and not parts[-1]:
        parts.pop()
    seeds: list[int] = []
    for part in parts:
        first, last = _range(part, of_one=1 if "," not in text else None)
        if len(seeds) + last - first >= MAX_SEEDS:
            raise UserError(f"SEEDS={text} asks for too many seeds; the limit is {MAX_SEEDS}")
        seeds += range(first, last + 1)
    for seed in seeds:
        if seeds.count(seed) > 1:
            raise UserError(f"seed {seed} is repeated in {text!r}; name each seed once")
    return tuple(seeds)


def _range(part: str, of_one: int | None) -> tuple[int, int]:
    """Return the first and last seed of "3-9". A single number is a range from `of_one`, or itself."""
    match = re.fullmatch(r"0*([1-9][0-9]{0,17})(?:\s*-\s*0*([1-9][0-9]{0,17}))?", part)
    if match is None:
        raise UserError(f"seeds must be positive integers, got {part!r} ({WRITE})")
    first, last = int(match[1]), int(match[2] or match[1])
    if match[2] is None and of_one is not None:
        first = of_one
    if first > last:
        raise UserError(f"the seeds {part!r} run backwards; write the smaller one first")
    return first, last

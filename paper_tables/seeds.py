"""Seeds as they are asked for on the command line."""

import re

from methods.base.errors import UserError
from paper_tables.verdict import MAX_SEEDS


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "5" -> (1, 2, 3, 4, 5); "3,7" -> (3, 7)."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not re.fullmatch(r"0*[1-9][0-9]{0,17}", part):
            raise UserError(f"seeds must be positive integers, got {part!r} (SEEDS=5 for 1 to 5, or SEEDS=3,7)")
    seeds = tuple(map(int, parts))
    if len(seeds) > 1:
        for seed in seeds:
            if seeds.count(seed) > 1:
                raise UserError(f"seed {seed} is repeated in {text!r}; name each seed once")
        return seeds
    if seeds[0] > MAX_SEEDS:
        raise UserError(f"SEEDS={seeds[0]} asks for the seeds 1 to {seeds[0]}; the limit is {MAX_SEEDS}")
    return tuple(range(1, seeds[0] + 1))

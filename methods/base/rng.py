"""Each (seed, role, task) has one generator of random numbers, so that no component can disturb another's draws."""

import hashlib

import torch

from methods.base.errors import UserError


def derive(seed: int, role: str, task: int = 0) -> int:
    """Return the number that seeds `role` in `task`. It is a hash and depends on nothing else that a run does."""
    if seed is None:
        raise UserError(f"{role!r} draws from the seed of the run, but does not declare it (a stream: needs_seed)")
    digest = hashlib.sha256(f"{seed}/{role}/{task}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, role: str, task: int = 0) -> torch.Generator:
    """Return a CPU generator for `role` in `task` of the run with this `seed`."""
    return torch.Generator().manual_seed(derive(seed, role, task))

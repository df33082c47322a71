"""Evaluation counts how many examples of each test set are predicted right, by units that the scenario allows."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.stream import Stream

BATCH = 2500  # examples in a pass


def evaluate(method, theta: Tensor, stream: Stream, seen: int, measured: str = "all") -> list:
    """Return how many examples of each test set are right after `seen` tasks.

    An entry is None where a measurement is not applicable, or is not asked for (Train.measured).
    """
    asked = len(stream.tests) if measured == "all" else seen
    known = min(asked, seen) if stream.scenario == "class" else asked
    counts = [count for some in _together(stream, known) for count in correct_in(method, theta, stream, seen, some)]
    return counts + [None] * (len(stream.tests) - known)


@torch.no_grad()
def correct_in(method, theta: Tensor, stream: Stream, seen: int, some: list[int]) -> list[int] | list[list[int]]:
    """Return how many examples are right in each of these test sets, which share a mask."""
    mask = stream.mask_at(seen, some[0]).to(theta.device)
    tests = [stream.tests[j] for j in some]
    counts = torch.zeros(len(some), *theta.shape[:-1], dtype=torch.int64, device=theta.device)
    for batches in zip(*(test.batches(BATCH) for test in tests), strict=True):
        xs, ys, _ = zip(*batches, strict=True)
        axis = ys[0].dim() - 1
        x, y = (each[0] if len(each) == 1 else torch.cat(each, axis) for each in (xs, ys))
        right = method.predict(theta, tests[0].spread(x, theta), mask) == y
        counts += torch.stack([part.sum(-1) for part in right.split([y.shape[-1] for y in ys], -1)])
    return counts.tolist()


def _together(stream: Stream, n: int) -> Iterator[list[int]]:
    """Yield which of the first n test sets are measured in one pass. Small ones are, where they share a mask."""
    some, size = [], 0
    for j, test in enumerate(stream.tests[:n]):
        size += len(test)
        if some and (stream.scenario == "task" or size > BATCH):
            yield some
            some, size = [], len(test)
        some.append(j)
    if some:
        yield some

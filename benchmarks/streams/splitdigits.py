"""Split digits: the 8x8 handwritten digits inside scikit-learn, in five tasks of two; needs no download.

The protocol of Split MNIST on 1,797 images (every fourth of a class is a test image). It exists so that the suite runs
anywhere in minutes; no paper publishes numbers for it.
"""

from pathlib import Path

from benchmarks.materialise import by_class, class_order, equal_tasks, pixels
from benchmarks.stream import Stream, assemble
from benchmarks.streams.arrays import benchmark


def stream(scenario: str, root: Path, seed: int, *, tasks=5, order="fixed", active_units="seen") -> Stream:
    """`tasks` equal tasks of digits in `order`; pixels in [0, 1]."""
    equal_tasks(10, tasks)
    images = pixels("digits", root)
    made = benchmark(images, class_order(10, order, seed), tasks)
    return assemble(scenario, by_class(made, images), active_units)

"""Split CIFAR-10: ten kinds of object in five tasks of two.

Without augmentation: pixels are scaled once.
"""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.materialise import Split


@dataclass(frozen=True)
class SplitCIFAR10(Split):
    """Kinds of object in their tasks."""

    data_set: ClassVar[str] = "cifar10"

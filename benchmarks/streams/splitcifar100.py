"""Split CIFAR-100: a hundred kinds of object in ten tasks of ten (iCaRL, Rebuffi et al., 2017).

Without augmentation: pixels are scaled once.
"""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.materialise import Split
from methods.base.options import Count


@dataclass(frozen=True)
class SplitCIFAR100(Split):
    """Kinds of object in their tasks."""

    data_set: ClassVar[str] = "cifar100"

    tasks: Count | tuple[Count, ...] = 10

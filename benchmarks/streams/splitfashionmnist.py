"""Split Fashion-MNIST: ten kinds of clothing in five tasks of two.

The protocol of Split MNIST on images that are harder to tell apart.
"""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.materialise import Split


@dataclass(frozen=True)
class SplitFashionMNIST(Split):
    """Kinds of clothing in their tasks."""

    data_set: ClassVar[str] = "fashionmnist"

"""Split digits: the 8x8 handwritten digits inside scikit-learn, in five tasks of two; needs no download.

The protocol of Split MNIST on 1,797 images (every fourth of a class is a test image). It exists so that the suite runs
anywhere in minutes; no paper publishes numbers for it.
"""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.materialise import Split


@dataclass(frozen=True)
class SplitDigits(Split):
    """Digits in their tasks."""

    data_set: ClassVar[str] = "digits"

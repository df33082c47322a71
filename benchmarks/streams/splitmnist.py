"""Split MNIST: ten digits in five tasks of two (Zenke, Poole and Ganguli, 2017).

Fine-tuning forgets: about 20 % average accuracy class-incremental, 55 to 60 % domain-incremental, 90 % and more
task-incremental. Hsu et al. (2018) pad to 32x32 and normalise with mean 0.1000, std 0.2752; van de Ven et al. do
neither.
"""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.materialise import Split


@dataclass(frozen=True)
class SplitMNIST(Split):
    """Digits in their tasks."""

    data_set: ClassVar[str] = "mnist"

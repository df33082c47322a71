"""Permuted MNIST: all ten digits in every task, under another permutation of the pixels (Kirkpatrick et al., 2017).

Domain-incremental in most papers. The permutations are those of Avalanche's PermutedMNIST with the same seed. Avalanche
fixes 784 pixels and permutes the first task; here padded images (Hsu et al.: 1,024 pixels) and an unpermuted first task
(Hsu et al., Zenke et al.) are options.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch

from benchmarks.materialise import Recipe, whole_set_tasks
from methods.base.options import Bound, Count
from methods.base.rng import derive

Seed = Annotated[int, Bound("a whole number from 0 to 2^32 - 1", lambda value: 0 <= value < 2**32)]


@dataclass(frozen=True)
class PermutedMNIST(Recipe):
    """`tasks` permutations, drawn from the run's seed ("seeded") or from a number; the `first` "permuted" or "plain".

    examples: how many training images a task has (None: all), drawn for each task, anew for each seed of "seeded".
    """

    data_set: ClassVar[str] = "mnist"

    tasks: Count = 10
    permutations: Literal["seeded"] | Seed = "seeded"
    first: Literal["permuted", "plain"] = "permuted"
    examples: Count | None = None

    @property
    def needs_seed(self) -> bool:
        return self.permutations == "seeded"

    def tasks_of(self, images, seed):
        rng = np.random.RandomState(derive(seed, "stream") % 2**32 if self.needs_seed else self.permutations)
        n_pixels = images.train_x[0].numel()
        permutations = [torch.from_numpy(rng.permutation(n_pixels)) for _ in range(self.tasks)]
        if self.first == "plain":
            permutations[0] = torch.arange(n_pixels)
        return whole_set_tasks(images, permutations, self.examples, seed)

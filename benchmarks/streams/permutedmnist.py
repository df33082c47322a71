"""Permuted MNIST: all ten digits in every task, under another permutation of the pixels (Kirkpatrick et al., 2017).

Domain-incremental in most papers. The permutations are those of Avalanche's PermutedMNIST with the same seed; its own
constructor fixes 784 pixels and permutes the first task, so padded images (Hsu et al.: 1,024 pixels) and an unpermuted
first task (Hsu et al., Zenke et al.) are built from the same pieces with its general constructor.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.materialise import Items, Pixels, by_domain, pixels
from benchmarks.stream import Stream, assemble
from methods.base.errors import UserError, unknown
from methods.base.rng import derive


def stream(
    scenario: str,
    root: Path,
    seed: int,
    *,
    tasks=10,
    permutations="seeded",
    first="permuted",
    examples=None,
    pad=0,
    mean=0.0,
    std=1.0,
    active_units="seen",
) -> Stream:
    """`tasks` permutations, drawn from the run's seed ("seeded") or a number; the `first` "permuted" or "plain".

    examples: how many training images each task has, drawn at random (anew for each seed of "seeded" permutations).
    """
    if not isinstance(tasks, int) or tasks < 1:
        raise UserError(f"tasks must be a positive whole number, got {tasks!r}")
    if permutations != "seeded" and (type(permutations) is not int or not 0 <= permutations < 2**32):
        raise UserError(f"permutations must be 'seeded' or a whole number from 0, got {permutations!r}")
    if first not in ("permuted", "plain"):
        raise unknown("first", first, ("permuted", "plain"))
    images = pixels("mnist", root, pad, mean, std)
    start = derive(seed, "stream") % 2**32 if permutations == "seeded" else permutations
    draws = draw(images.train_x[0].numel(), tasks, start)
    if first == "plain":
        draws[0] = torch.arange(len(draws[0]))
    return assemble(scenario, by_domain(benchmark(images, draws), images, seed, examples, draws), active_units)


def draw(n_pixels: int, tasks: int, seed: int) -> list[Tensor]:
    """The permutations [D] that Avalanche draws for this seed."""
    rng = np.random.RandomState(seed)
    return [torch.from_numpy(rng.permutation(n_pixels)) for _ in range(tasks)]


def benchmark(images: Pixels, permutations: list[Tensor]):
    """The same stream as Avalanche builds it."""
    from avalanche.benchmarks import nc_benchmark
    from avalanche.benchmarks.classic.cmnist import PixelsPermutation
    from avalanche.benchmarks.utils import (
        DefaultTransformGroups,
        _make_taskaware_classification_dataset,
        make_avalanche_dataset,
    )

    def permuted(x: Tensor, y: Tensor, permutation: Tensor):
        groups = DefaultTransformGroups((PixelsPermutation(permutation), None))
        items = _make_taskaware_classification_dataset(Items(x, y))
        return make_avalanche_dataset(items, frozen_transform_groups=groups)

    return nc_benchmark(
        [permuted(images.train_x, images.train_y, permutation) for permutation in permutations],
        [permuted(images.test_x, images.test_y, permutation) for permutation in permutations],
        n_experiences=len(permutations),
        task_labels=False,
        shuffle=False,
        class_ids_from_zero_in_each_exp=True,
        one_dataset_per_exp=True,
    )

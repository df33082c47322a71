"""Rotated MNIST: all ten digits in every task, turned by another angle (Lopez-Paz and Ranzato, 2017).

Domain-incremental. Angles in degrees, counter-clockwise, nearest-pixel interpolation, as torchvision turns tensors.
"""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import rotate

from benchmarks.errors import UserError
from benchmarks.materialise import by_domain, pixels, scaling
from benchmarks.stream import Stream, assemble


def stream(
    scenario: str, root: Path, seed: int, *, angles=(0, 20, 40, 60, 80), pad=0, mean=0.0, std=1.0, active_units="seen"
) -> Stream:
    """One task for each of the `angles`, -180 to 180 degrees."""
    if not isinstance(angles, list | tuple) or not angles or not all(-180 <= angle <= 180 for angle in angles):
        raise UserError(f"angles must be numbers from -180 to 180, got {angles!r}")
    images = pixels("mnist", root)
    finish = scaling(pad, mean, std)

    def turned(k: int, x: Tensor) -> Tensor:
        return torch.cat([finish(rotate(some, float(angles[k]))) for some in x.split(10_000)])

    return assemble(scenario, by_domain(benchmark(root, angles, finish), images, turned), active_units)


def benchmark(root: Path, angles, transform):
    """The same stream as Avalanche builds it."""
    from avalanche.benchmarks.classic import RotatedMNIST  # takes seconds to import: not before it is needed

    return RotatedMNIST(
        len(angles), rotations_list=list(angles), train_transform=transform, eval_transform=transform, dataset_root=root
    )

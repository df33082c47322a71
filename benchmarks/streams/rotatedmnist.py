"""Rotated MNIST: all ten digits in every task, turned by another angle (Lopez-Paz and Ranzato, 2017).

Domain-incremental. Angles in degrees, counter-clockwise, nearest-pixel interpolation, as torchvision turns tensors.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import rotate

from benchmarks.materialise import by_domain, pixels, scaling
from benchmarks.stream import Stream, assemble
from methods.base.errors import UserError, check_whole
from methods.base.rng import generator


def stream(
    scenario: str,
    root: Path,
    seed: int,
    *,
    angles=(0, 20, 40, 60, 80),
    tasks=None,
    examples=None,
    pad=0,
    mean=0.0,
    std=1.0,
    active_units="seen",
) -> Stream:
    """One task for each of the `angles`, -180 to 180 degrees, or for each of `tasks` angles that are "seeded".

    examples: how many training images each task has, drawn at random (anew for each seed of "seeded" angles).
    """
    angles = _angles(angles, tasks, seed)
    images = pixels("mnist", root)
    finish = scaling(pad, mean, std)

    def turned(source: Tensor, rows: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.cat([finish(rotate(source[some], angle)) for some in rows.split(10_000)])
        return x, torch.arange(len(rows)), y

    data = [
        replace(task, train=turned(*task.train, float(angle)), test=turned(*task.test, float(angle)))
        for task, angle in zip(by_domain(benchmark(root, angles, finish), images, seed, examples), angles, strict=True)
    ]
    return assemble(scenario, data, active_units)


def draw(tasks: int, seed: int) -> list[float]:
    """One angle in each of `tasks` equal bins of [0, 180), in their order."""
    places = torch.rand(tasks, generator=generator(seed, "stream"), dtype=torch.float64)
    return ((torch.arange(tasks) + places) * 180 / tasks).tolist()


def _angles(angles, tasks, seed: int) -> list[float]:
    if angles == "seeded":
        check_whole("tasks, the number of seeded angles,", tasks)
        return draw(tasks, seed)
    if tasks is not None:
        raise UserError(f"tasks goes with angles = 'seeded'; here the angles tell their number, got tasks = {tasks!r}")
    numbers = isinstance(angles, list | tuple) and all(type(angle) in (int, float) for angle in angles)
    if not numbers or not angles or not all(-180 <= angle <= 180 for angle in angles):
        raise UserError(f"angles must be numbers from -180 to 180, or 'seeded', got {angles!r}")
    return list(angles)


def benchmark(root: Path, angles, transform):
    """The same stream as Avalanche builds it."""
    from avalanche.benchmarks.classic import RotatedMNIST

    return RotatedMNIST(
        len(angles), rotations_list=list(angles), train_transform=transform, eval_transform=transform, dataset_root=root
    )

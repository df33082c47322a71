"""Avalanche benchmarks as tensors: read once in the parent process; the workers only map the result.

Avalanche decides which example belongs to which task, in which order, under which label and which permutation or
rotation. Its transforms are deterministic here, so they are applied to the whole tensor at once; the tests compare the
result with Avalanche's own items, exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from benchmarks import data
from benchmarks.stream import TaskData
from methods.base.errors import UserError, check_whole
from methods.base.rng import derive, generator

FULL_SCALE = {"digits": 16.0}  # the largest pixel value where it is not that of a byte


@dataclass(frozen=True, eq=False)
class Pixels:
    """A data set in memory: scaled pixels, labels, and the same scaling for the items that Avalanche loads."""

    name: str
    train_x: Tensor  # [N, ...] float32
    train_y: Tensor  # [N] original labels
    test_x: Tensor
    test_y: Tensor
    transform: Callable[[Tensor], Tensor]  # of one image or of a batch, already in [0, 1]

    @property
    def item_transform(self) -> Callable:
        """For torchvision's data sets, whose items are PIL images (Avalanche's own MNIST gives tensors)."""
        return transforms.Compose([transforms.ToTensor(), self.transform])

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.train_y.max()) + 1

    def __post_init__(self):
        untested = set(self.train_y.tolist()) - set(self.test_y.tolist())
        if untested:
            raise UserError(f"{self.name} has no test image of class {min(untested)}: every class needs one")


@lru_cache(maxsize=2)
def pixels(name: str, root: Path, pad: int = 0, mean: float | tuple = 0.0, std: float | tuple = 1.0) -> Pixels:
    """The data set `name`, scaled to [0, 1], padded with zeros by `pad` on each side, then (x - mean) / std.

    Means and deviations are of the scaled, padded pixels; one number, or one for each channel.
    """
    images = data.load(name, root)
    transform = scaling(pad, mean, std)
    scale = FULL_SCALE.get(name, 255.0)

    def scaled(x: Tensor) -> Tensor:
        x = x.float() / scale if not x.is_floating_point() else x.float()
        channels = {len(value) for value in (mean, std) if isinstance(value, tuple)}
        if transform.transforms and x.dim() != 4:
            raise UserError(f"{name} holds vectors, not images: pad, mean and std do not apply (leave them out)")
        if channels - {1, x.shape[1]}:
            raise UserError(f"mean and std must be one number, or one for each of the {x.shape[1]} channels of {name}")
        return transform(x).contiguous()

    return Pixels(name, scaled(images.train_x), images.train_y, scaled(images.test_x), images.test_y, transform)


def scaling(pad: int, mean: float | tuple, std: float | tuple) -> transforms.Compose:
    """Padding and normalisation, of one image or of a batch, in [0, 1]."""
    check_whole("pad", pad, least=0)
    steps = [transforms.Pad(pad)] if pad else []
    if (mean, std) != (0.0, 1.0):
        mean, std = (value if isinstance(value, tuple) else (value,) for value in (mean, std))
        if min(std) <= 0:
            raise UserError(f"std must be positive, got {min(std)}")
        steps.append(transforms.Normalize(mean, std))
    return transforms.Compose(steps)


class Items(Dataset):
    """A data set in the form that Avalanche's generators take, for data that has no constructor of its own there."""

    def __init__(self, x: Tensor, y: Tensor):
        self.x, self.targets = x, y.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.x[index], self.targets[index]


def class_order(n_classes: int, order: str | Sequence[int], seed: int) -> dict:
    """Arguments for Avalanche's class order: as numbered ("fixed"), shuffled by the seed ("seeded"), or a list."""
    if order == "seeded":
        return {"seed": derive(seed, "stream") % 2**32, "shuffle": True}
    classes = list(range(n_classes))
    if order == "fixed":
        return {"fixed_class_order": classes}
    if not isinstance(order, list | tuple) or any(type(c) is not int for c in order) or sorted(order) != classes:
        raise UserError(f"order must be 'fixed', 'seeded' or a list of the classes 0 to {n_classes - 1}, got {order!r}")
    return {"fixed_class_order": list(order)}


def equal_tasks(n_classes: int, tasks: int) -> None:
    """Refuse a number of tasks that the classes cannot be dealt to equally."""
    if not isinstance(tasks, int) or tasks < 1 or n_classes % tasks:
        raise UserError(f"tasks must divide the {n_classes} classes, got {tasks!r}")


def by_class(benchmark, images: Pixels) -> list[TaskData]:
    """The tasks of an Avalanche class split, built with class_ids_from_zero_in_each_exp=True."""
    tasks = []
    for k, originals in enumerate(benchmark.original_classes_in_exp):
        train = (
            images.train_x,
            *_rows_and_labels(benchmark, "train", k),
        )
        test = images.test_x, *_rows_and_labels(benchmark, "test", k)
        classes = sorted(originals, key=lambda label: benchmark.class_mapping[label])
        tasks.append(TaskData(tuple(int(label) for label in classes), train, test))
    return tasks


def by_domain(
    benchmark,
    images: Pixels,
    seed: int,
    examples: int | None = None,
    permutations: Sequence[Tensor | None] | None = None,
) -> list[TaskData]:
    """The tasks of an Avalanche benchmark in which each one is the whole data set, its pixels permuted.

    Avalanche numbers the examples through the concatenated tasks; here all tasks share the rows of one array.
    examples: how many training examples each task has, drawn for each anew from `seed`; None for all.
    """
    n = len(images.train_y)
    if examples is not None:
        check_whole("examples", examples)
        if examples > n:
            raise UserError(f"examples must be at most the {n} training images of {images.name}, got {examples}")
    tasks = []
    for k in range(len(benchmark.train_stream)):
        rows, y = _rows_and_labels(benchmark, "train", k)
        if examples is not None:
            drawn = torch.randperm(n, generator=generator(seed, "stream", k + 1))[:examples]
            rows, y = rows[drawn], y[drawn]
        test_rows, test_y = _rows_and_labels(benchmark, "test", k)
        train, test = (images.train_x, rows % n, y), (images.test_x, test_rows % len(images.test_y), test_y)
        tasks.append(TaskData(tuple(range(images.classes)), train, test, permutations[k] if permutations else None))
    return tasks


def _rows_and_labels(benchmark, side: str, k: int) -> tuple[Tensor, Tensor]:
    assignment = {"train": benchmark.train_exps_patterns_assignment, "test": benchmark.test_exps_patterns_assignment}
    targets = benchmark.streams[side][k].dataset.targets
    return torch.tensor(assignment[side][k]), torch.tensor(list(targets))

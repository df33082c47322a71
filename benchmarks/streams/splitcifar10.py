"""Split CIFAR-10: ten kinds of object in five tasks of two.

Without augmentation: pixels are scaled once. mean and std take one number, or one for each colour.
"""

from pathlib import Path

from benchmarks.materialise import by_class, class_order, equal_tasks, pixels
from benchmarks.stream import Stream, assemble


def stream(
    scenario: str, root: Path, seed: int, *, tasks=5, order="fixed", pad=0, mean=0.0, std=1.0, active_units="seen"
) -> Stream:
    """`tasks` equal tasks of classes in `order`; pixels in [0, 1], padded by `pad`, then (x - mean) / std."""
    equal_tasks(10, tasks)
    images = pixels("cifar10", root, pad, mean, std)
    made = benchmark(images, root, class_order(10, order, seed), tasks)
    return assemble(scenario, by_class(made, images), active_units)


def benchmark(images, root: Path, order: dict, tasks: int):
    """The same stream as Avalanche builds it."""
    from avalanche.benchmarks.classic import SplitCIFAR10

    return SplitCIFAR10(
        tasks,
        **order,
        class_ids_from_zero_in_each_exp=True,
        train_transform=images.item_transform,
        eval_transform=images.item_transform,
        dataset_root=root,
    )

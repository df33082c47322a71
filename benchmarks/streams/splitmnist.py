"""Split MNIST: ten digits in five tasks of two (Zenke, Poole and Ganguli, 2017).

Fine-tuning forgets: about 20 % average accuracy class-incremental, 55 to 60 % domain-incremental, 90 % and more
task-incremental. Hsu et al. (2018) pad to 32x32 and normalise with mean 0.1000, std 0.2752; van de Ven et al. do
neither.
"""

from pathlib import Path

from benchmarks.materialise import by_class, class_order, equal_tasks, pixels
from benchmarks.stream import Stream, assemble


def stream(
    scenario: str, root: Path, seed: int, *, tasks=5, order="fixed", pad=0, mean=0.0, std=1.0, active_units="seen"
) -> Stream:
    """`tasks` equal tasks of classes in `order`; pixels in [0, 1], padded by `pad`, then (x - mean) / std."""
    equal_tasks(10, tasks)
    images = pixels("mnist", root, pad, mean, std)
    made = benchmark(images, root, class_order(10, order, seed), tasks)
    return assemble(scenario, by_class(made, images), active_units)


def benchmark(images, root: Path, order: dict, tasks: int):
    """The same stream as Avalanche builds it."""
    from avalanche.benchmarks.classic import SplitMNIST

    return SplitMNIST(
        tasks,
        **order,
        class_ids_from_zero_in_each_exp=True,
        train_transform=images.transform,
        eval_transform=images.transform,
        dataset_root=root,
    )

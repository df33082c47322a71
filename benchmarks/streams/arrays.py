"""A stream from the array layout: any data set that a user brings as four files under the data root.

    <root>/<data>/train_images.npy, train_labels.npy, test_images.npy, test_labels.npy

Images are bytes, scaled to [0, 1], or floating-point numbers, taken as they are.
"""

from pathlib import Path

from benchmarks.materialise import Items, Pixels, by_class, class_order, equal_tasks, pixels
from benchmarks.stream import Stream, assemble
from methods.base.errors import UserError


def stream(
    scenario: str,
    root: Path,
    seed: int,
    *,
    data="",
    tasks=5,
    order="fixed",
    pad=0,
    mean=0.0,
    std=1.0,
    active_units="seen",
) -> Stream:
    """`tasks` equal tasks of the classes of the data set `data`, in `order`."""
    if not data or not isinstance(data, str):
        raise UserError("the stream 'arrays' needs data = \"<folder of the four .npy files under the data root>\"")
    images = pixels(data, root, pad, mean, std)
    equal_tasks(images.classes, tasks)
    made = benchmark(images, class_order(images.classes, order, seed), tasks)
    return assemble(scenario, by_class(made, images), active_units)


def benchmark(images: Pixels, order: dict, tasks: int):
    """The same stream as Avalanche builds it."""
    from avalanche.benchmarks import nc_benchmark

    return nc_benchmark(
        Items(images.train_x, images.train_y),
        Items(images.test_x, images.test_y),
        n_experiences=tasks,
        task_labels=False,
        **order,
        class_ids_from_zero_in_each_exp=True,
    )

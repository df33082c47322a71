"""Streams beside Avalanche's own benchmarks: what a test builds on both sides, and the comparison.

Avalanche numbers the labels from zero in each task (our domain-incremental form) or through the whole stream (task- and
class-incremental), by flags of its own.
"""

import hashlib

import numpy as np
import torch
from torch.utils.data import TensorDataset
from torchvision.transforms import Compose, Normalize, Pad

from benchmarks import streams
from methods.base.rng import derive

NUMBERED = {
    "task": {"class_ids_from_zero_from_first_exp": True},
    "domain": {"class_ids_from_zero_in_each_exp": True},
    "class": {"class_ids_from_zero_from_first_exp": True},
}
HSU = {"pad": 2, "mean": 0.1000, "std": 0.2752}
HSU_TRANSFORM = Compose([Pad(2), Normalize(0.1000, 0.2752)])
SEED = 3


def build(root, scenario, seed=SEED, **spec):
    return streams.build(streams.resolve(spec), scenario, seed, root)


def ordered(order, classes):
    """The option `order` as Avalanche takes it."""
    if order == "seeded":
        return {"seed": derive(SEED, "stream") % 2**32, "shuffle": True}
    return {"fixed_class_order": list(range(classes)) if order == "fixed" else list(order)}


def seeded_classes(seed, n):
    """The classes in the order of a seed, from the definition: torch's permutation of n under a hash of the seed."""
    digest = hashlib.sha256(f"{seed}/stream/0".encode()).digest()
    torch_seed = (int.from_bytes(digest[:8], "big") >> 1) % 2**32
    return torch.randperm(n, generator=torch.Generator().manual_seed(torch_seed)).tolist()


def theirs(constructor, root, transform, *arguments, **options):
    """Avalanche's classic benchmark `constructor`."""
    from avalanche.benchmarks import classic

    make = getattr(classic, constructor)
    return make(*arguments, train_transform=transform, eval_transform=transform, dataset_root=root, **options)


def split_of(images, scale, tasks, **options):
    """The class split of a data set for which Avalanche has no constructor."""
    from avalanche.benchmarks import nc_benchmark

    sets = []
    for x, y in ((images.train_x, images.train_y), (images.test_x, images.test_y)):
        sets.append(TensorDataset(x.float() / scale, y))
        sets[-1].targets = y.tolist()
    return nc_benchmark(*sets, tasks, task_labels=False, **options)


def sides(stream):
    """Training and test examples of each task."""
    return [("train", [task.train for task in stream.tasks]), ("test", list(stream.tests))]


def assert_same_items(stream, benchmark, some=None, first_label=lambda k: 0):
    """All items of all tasks, or `some` random ones of each; first_label(k) is added to Avalanche's labels."""
    draw = np.random.default_rng(0)
    for side, examples in sides(stream):
        for k, (ours, experience) in enumerate(zip(examples, benchmark.streams[side], strict=True)):
            assert len(ours) == len(experience.dataset) > 0
            for i in range(len(ours)) if some is None else draw.integers(0, len(ours), some):
                x, y, _ = ours.take(torch.tensor(i))
                item, label, *_ = experience.dataset[int(i)]
                assert x.dtype == torch.float32
                assert torch.equal(x, item), (side, k, i)
                assert int(y) == int(label) + first_label(k), (side, k, i)


def assert_each_example_once(stream):
    for _, examples in sides(stream):
        rows = torch.cat([part.rows for each in examples for part in each.parts])
        assert torch.equal(rows.sort().values, torch.arange(len(examples[0].parts[0].source)))

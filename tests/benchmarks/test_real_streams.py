"""Streams on real MNIST against Avalanche's own items; skipped where DATA names no data root."""

import numpy as np
import pytest
import torch

from tests.support.avalanche_items import (
    HSU,
    HSU_TRANSFORM,
    NUMBERED,
    assert_each_example_once,
    assert_same_items,
    build,
    ordered,
    seeded_classes,
    theirs,
)


@pytest.mark.parametrize("scenario", NUMBERED)
def test_real_split_mnist_as_in_hsu_et_al(data_root, scenario):
    stream = build(data_root, scenario, name="splitmnist", **HSU)
    benchmark = theirs("SplitMNIST", data_root, HSU_TRANSFORM, 5, **ordered("fixed", 10), **NUMBERED[scenario])
    assert_same_items(stream, benchmark, some=40)
    assert_each_example_once(stream)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    source = torch.cat([task.train.take(torch.arange(len(task.train)))[0] for task in stream.tasks])
    assert source.shape == (60_000, 1, 32, 32)
    deviation, mean = torch.std_mean(source)  # their figures are those of the padded images
    assert abs(float(mean)) < 1e-3 and abs(float(deviation) - 1) < 1e-3


def test_real_permuted_mnist(data_root):
    stream = build(data_root, "domain", name="permutedmnist", tasks=2, permutations=7)
    assert_same_items(stream, theirs("PermutedMNIST", data_root, None, 2, seed=7), some=40)


def test_real_rotated_mnist(data_root):
    stream = build(data_root, "domain", name="rotatedmnist", angles=[37])
    assert_same_items(stream, theirs("RotatedMNIST", data_root, None, 1, rotations_list=[37]), some=40)


@pytest.mark.parametrize("seed", [1, 2])
def test_real_split_mnist_in_the_order_of_a_seed(data_root, seed):
    """Read and dealt out anew, with nothing of ours: the order is torch's permutation under a hash of the seed."""
    order = seeded_classes(seed, 10)
    stream = build(data_root, "class", seed=seed, name="splitmnist", order="seeded")
    assert [task.classes for task in stream.tasks] == [tuple(order[k : k + 2]) for k in range(0, 10, 2)]
    for side, examples in (("train", [task.train for task in stream.tasks]), ("t10k", stream.tests)):
        raw = [
            (data_root / "MNIST/raw" / f"{side}-{what}-ubyte").read_bytes() for what in ("images-idx3", "labels-idx1")
        ]
        images = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 28, 28)
        labels = np.frombuffer(raw[1], np.uint8, offset=8)
        for k, ours in enumerate(examples):
            x, y, _ = ours.take(torch.arange(len(ours)))
            for unit in (2 * k, 2 * k + 1):
                expected = images[labels == order[unit]].astype(np.float32) / np.float32(255)
                assert np.array_equal(x[y == unit][:, 0].numpy(), expected)

"""Streams on real MNIST against Avalanche's own items; skipped where DATA names no data root."""

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
    theirs,
)


@pytest.mark.parametrize("scenario", NUMBERED)
def test_real_split_mnist_as_in_hsu_et_al(data_root, scenario):
    stream = build(data_root, scenario, name="splitmnist", **HSU)
    benchmark = theirs("SplitMNIST", data_root, HSU_TRANSFORM, 5, **ordered("fixed", 10), **NUMBERED[scenario])
    assert_same_items(stream, benchmark, some=40)
    assert_each_example_once(stream)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    source = stream.tasks[0].train.parts[0].source
    assert source.shape == (60_000, 1, 32, 32)
    deviation, mean = torch.std_mean(source)  # their figures are those of the padded images
    assert abs(float(mean)) < 1e-3 and abs(float(deviation) - 1) < 1e-3


def test_real_permuted_mnist(data_root):
    stream = build(data_root, "domain", name="permutedmnist", tasks=2, permutations=7)
    assert_same_items(stream, theirs("PermutedMNIST", data_root, None, 2, seed=7), some=40)


def test_real_rotated_mnist(data_root):
    stream = build(data_root, "domain", name="rotatedmnist", angles=[37])
    assert_same_items(stream, theirs("RotatedMNIST", data_root, None, 1, rotations_list=[37]), some=40)

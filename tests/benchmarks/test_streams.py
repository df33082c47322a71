"""Every stream against Avalanche's own items and labels, exactly, on small stand-ins for the data sets."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import Compose, Normalize, ToTensor
from torchvision.transforms.functional import rotate

from benchmarks import data
from benchmarks.streams.rotatedmnist import RotatedMNIST, turned
from methods.base.rng import derive
from tests.support import small_sets
from tests.support.avalanche_items import (
    HSU,
    HSU_TRANSFORM,
    NUMBERED,
    SEED,
    assert_each_example_once,
    assert_same_items,
    build,
    ordered,
    seeded_classes,
    sides,
    split_of,
    theirs,
)

SPLITS = {  # stream -> its constructor in Avalanche, classes, tasks, pixels [C, H, W] once padded by 2, images
    "splitmnist": ("SplitMNIST", 10, 5, (1, 32, 32), 30),
    "splitfashionmnist": ("SplitFMNIST", 10, 5, (1, 32, 32), 30),
    "splitcifar10": ("SplitCIFAR10", 10, 5, (3, 36, 36), 150),
    "splitcifar100": ("SplitCIFAR100", 100, 10, (3, 36, 36), 300),
}


@pytest.fixture(scope="module")
def small_root(tmp_path_factory):
    """A data root with stand-ins for the standard sets, and `mine` in the array layout."""
    root = tmp_path_factory.mktemp("data")
    small_sets.write_arrays(root / "mine", (4, 5))
    with pytest.MonkeyPatch.context() as patch:
        small_sets.write(root, patch)
        yield root


@pytest.mark.parametrize("order", ["fixed", "seeded"])
@pytest.mark.parametrize("scenario", NUMBERED)
@pytest.mark.parametrize("name", SPLITS)
def test_split_is_avalanches(small_root, name, scenario, order):
    constructor, classes, tasks, shape, n = SPLITS[name]
    stream = build(small_root, scenario, name=name, order=order, **HSU)
    transform = HSU_TRANSFORM if name == "splitmnist" else Compose([ToTensor(), HSU_TRANSFORM])
    benchmark = theirs(constructor, small_root, transform, tasks, **ordered(order, classes), **NUMBERED[scenario])
    assert_same_items(stream, benchmark)
    assert_each_example_once(stream)
    assert stream.tests[0].parts[0].source.shape[1:] == shape
    assert sum(len(task.train) for task in stream.tasks) == n


@pytest.mark.parametrize("order", ["fixed", "seeded", (7, 2, 0, 9, 4, 1, 3, 8, 5, 6)])
@pytest.mark.parametrize("scenario", NUMBERED)
def test_split_digits_is_avalanches(small_root, scenario, order):
    stream = build(small_root, scenario, name="splitdigits", order=order)
    options = ordered(order, 10)
    assert_same_items(
        stream, split_of(data.load("digits", small_root), 16, 5, **options, **NUMBERED[scenario]), some=40
    )
    assert_each_example_once(stream)
    if "fixed_class_order" in options:
        assert [label for task in stream.tasks for label in task.classes] == options["fixed_class_order"]


def test_the_first_classes_may_be_left_out(small_root):
    """Three of the twenty tasks served a search: the other 17 draw the order of the other 85 classes."""
    stream = build(small_root, "task", name="splitcifar100", tasks=17, left_out=15, order="seeded")
    drawn = [15 + place for place in seeded_classes(SEED, 85)]
    assert [label for task in stream.tasks for label in task.classes] == drawn
    images = data.load("cifar100", small_root)
    for k, (task, test) in enumerate(zip(stream.tasks, stream.tests, strict=True)):
        for examples, y in ((task.train, images.train_y), (test, images.test_y)):
            (part,) = examples.parts
            assert y[part.rows].tolist() == [drawn[unit] for unit in part.y.tolist()]
            assert part.y.unique().tolist() == list(range(5 * k, 5 * k + 5))
    places = np.random.RandomState(2 + SEED - 1).permutation(85)
    papers = build(small_root, "task", name="splitcifar100", tasks=17, left_out=15, order="numpy", order_seeds=[2, 21])
    assert [places[label - 15] for task in papers.tasks for label in task.classes] == list(range(85))
    np.random.seed(1234 + SEED - 1)  # as the code of Chaudhry et al. (2019) does in its run SEED - 1
    labels = np.arange(15, 100)
    np.random.shuffle(labels)
    theirs = {"tasks": 17, "left_out": 15, "order": "shuffled", "order_seeds": [1234, 1238]}
    shuffled = build(small_root, "task", name="splitcifar100", **theirs)
    assert [label for task in shuffled.tasks for label in task.classes] == labels.tolist()
    fixed = build(small_root, "task", name="splitcifar100", tasks=[5, 2], left_out=15)
    assert [task.classes for task in fixed.tasks] == [(15, 16, 17, 18, 19), (20, 21)]


@pytest.mark.parametrize("scenario", NUMBERED)
def test_array_layout_is_avalanches(small_root, scenario):
    order = [5, 0, 3, 1, 4, 2]
    stream = build(small_root, scenario, name="arrays", data="mine", tasks=3, order=order)
    images = data.load("mine", small_root)
    options = {"fixed_class_order": order, **NUMBERED[scenario]}
    assert_same_items(stream, split_of(images, 255, 3, **options))
    assert_each_example_once(stream)
    assert [task.classes for task in stream.tasks] == [(5, 0), (3, 1), (4, 2)]


def test_means_and_deviations_of_each_colour(small_root):
    values = {"mean": [0.49, 0.48, 0.45], "std": [0.2, 0.19, 0.21]}
    stream = build(small_root, "task", name="splitcifar10", **values)
    transform = Compose([ToTensor(), Normalize(**values)])
    options = {**ordered("fixed", 10), **NUMBERED["task"]}
    assert_same_items(stream, theirs("SplitCIFAR10", small_root, transform, 5, **options))


@pytest.mark.parametrize("scenario", NUMBERED)
def test_permuted_mnist_is_avalanches(small_root, scenario):
    stream = build(small_root, scenario, name="permutedmnist", tasks=3, permutations=7)
    benchmark = theirs("PermutedMNIST", small_root, None, 3, seed=7)
    assert_same_items(stream, benchmark, first_label=lambda k: 0 if scenario == "domain" else 10 * k)
    seeded = build(small_root, scenario, name="permutedmnist", tasks=2, mean=0.1307, std=0.3081)
    normalise = Compose([Normalize(0.1307, 0.3081)])
    benchmark = theirs("PermutedMNIST", small_root, normalise, 2, seed=derive(SEED, "stream") % 2**32)
    assert_same_items(seeded, benchmark, first_label=lambda k: 0 if scenario == "domain" else 10 * k)


def test_permuted_mnist_may_begin_with_plain_images(small_root):
    permuted = build(small_root, "domain", name="permutedmnist", tasks=3, permutations=7)
    plain = build(small_root, "domain", name="permutedmnist", tasks=3, permutations=7, first="plain")
    images = data.load("mnist", small_root)
    for examples, raw in ((plain.tasks[0].train, images.train_x), (plain.tests[0], images.test_x)):
        x, _, _ = examples.take(torch.arange(len(examples)))
        assert torch.equal(x, raw[examples.parts[0].rows] / 255)
    for (_, ours), (_, others) in zip(sides(plain), sides(permuted), strict=True):
        for k in (1, 2):
            everything = torch.arange(len(ours[k]))
            assert all(map(torch.equal, ours[k].take(everything), others[k].take(everything)))


def test_permuted_mnist_permutes_the_padded_pixels(small_root):
    stream = build(small_root, "domain", name="permutedmnist", tasks=2, permutations=7, **HSU)
    padded = HSU_TRANSFORM(data.load("mnist", small_root).test_x / 255)
    draw = np.random.RandomState(7)
    for test in stream.tests:
        x, _, _ = test.take(torch.arange(len(test)))
        assert x.shape[1:] == (1, 32, 32)
        permuted = padded.flatten(1)[:, torch.from_numpy(draw.permutation(1024))]
        assert torch.equal(x.flatten(1), permuted[test.parts[0].rows])


def test_permuted_mnist_holds_its_pixels_once(small_root):
    stream = build(small_root, "domain", name="permutedmnist", tasks=10)
    for _, examples in sides(stream):
        assert len({each.parts[0].source.data_ptr() for each in examples}) == 1
        assert len({tuple(each.parts[0].gather.tolist()) for each in examples}) == 10
    joined = stream.joined().tasks[0].train
    assert {part.source.data_ptr() for part in joined.parts} == {stream.tasks[0].train.parts[0].source.data_ptr()}


@pytest.mark.parametrize("scenario", NUMBERED)
def test_rotated_mnist_is_avalanches(small_root, scenario):
    angles = [0, 20, -45.5, 180]
    stream = build(small_root, scenario, name="rotatedmnist", angles=angles, **HSU)
    benchmark = theirs("RotatedMNIST", small_root, HSU_TRANSFORM, 4, rotations_list=angles)
    assert_same_items(stream, benchmark, first_label=lambda k: 0 if scenario == "domain" else 10 * k)


def chosen(stream, images):
    """For each task, which of its `images` the training examples are, found by their pixels, and their labels."""
    found = []
    for task, whole in zip(stream.tasks, images, strict=True):
        x, y, _ = task.train.take(torch.arange(len(task.train)))
        same = (x[:, None] == whole).flatten(2).all(-1)
        assert bool((same.sum(1) == 1).all())
        found.append((same.long().argmax(1), y))
    return found


def test_permuted_mnist_on_some_of_the_examples(small_root):
    images = data.load("mnist", small_root)

    def some(seed, **options):
        spec = {"name": "permutedmnist", "tasks": 3, "examples": 12, **options}
        stream = build(small_root, "domain", seed=seed, **spec)
        assert [len(test) for test in stream.tests] == [20] * 3
        assert stream.tasks[0].train.parts[0].source is stream.tasks[2].train.parts[0].source
        permutations = [test.parts[0].gather for test in stream.tests]
        return chosen(stream, [(images.train_x / 255).flatten(1)[:, p].view(30, 1, 28, 28) for p in permutations])

    first, again, other = some(1), some(1), some(2)
    for rows, y in first:
        assert len(rows.unique()) == 12 and torch.equal(y, images.train_y[rows])
    assert len({tuple(rows.tolist()) for rows, _ in first}) == 3  # drawn anew for each task
    for k in range(3):
        assert torch.equal(first[k][0], again[k][0]) and not torch.equal(first[k][0], other[k][0])
    fixed = [some(seed, permutations=7) for seed in (1, 2)]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(*fixed, strict=True))


def test_rotated_mnist_at_seeded_angles_on_some_of_the_examples(small_root):
    images = data.load("mnist", small_root)
    recipe = RotatedMNIST(angles="seeded", tasks=4)
    angles = {seed: recipe.draw(seed) for seed in (1, 2)}
    for drawn in angles.values():
        assert [int(angle // 45) for angle in drawn] == [0, 1, 2, 3]
    assert angles[1] != angles[2] and angles[1] == recipe.draw(1)
    stream = build(small_root, "domain", seed=1, name="rotatedmnist", angles="seeded", tasks=4, examples=12, **HSU)
    plain = build(small_root, "domain", name="rotatedmnist", angles=angles[1], **HSU)
    for test, whole in zip(stream.tests, plain.tests, strict=True):
        everything = torch.arange(len(whole))
        assert all(map(torch.equal, test.take(everything), whole.take(everything)))
    for rows, y in chosen(stream, [HSU_TRANSFORM(rotate(images.train_x / 255, angle)) for angle in angles[1]]):
        assert len(rows.unique()) == 12 and torch.equal(y, images.train_y[rows])


def test_seeded_angles_fill_their_bins():
    recipe = RotatedMNIST(angles="seeded", tasks=5)
    places = torch.tensor([recipe.draw(seed) for seed in range(400)]) / 36 - torch.arange(5)
    assert bool(((places >= 0) & (places < 1)).all())
    assert bool(((places.mean(0) - 0.5).abs() < 0.06).all()) and bool(((places.var(0) - 1 / 12).abs() < 0.015).all())


def test_uniform_angles_cover_the_half_turn(small_root):
    recipe = RotatedMNIST(angles="uniform", tasks=5)
    drawn = torch.tensor([recipe.draw(seed) for seed in range(400)]) / 180  # 2,000 numbers: mean 1/2, variance 1/12
    assert bool(((drawn >= 0) & (drawn < 1)).all())
    assert abs(float(drawn.mean()) - 0.5) < 0.03 and abs(float(drawn.var()) - 1 / 12) < 0.01
    assert bool(((drawn.mean(0) - 0.5).abs() < 0.06).all())  # no task has a bin of its own
    stream = build(small_root, "domain", seed=3, name="rotatedmnist", angles="uniform", tasks=5)
    plain = build(small_root, "domain", name="rotatedmnist", angles=recipe.draw(3))
    assert all(
        torch.equal(a.parts[0].gather, b.parts[0].gather) for a, b in zip(stream.tests, plain.tests, strict=True)
    )


def nearest(image, degrees):
    """The image [H, W], turned counter-clockwise about its centre by the definition, and where that is beyond doubt.

    The turned image shows at a point what the image shows at the point turned back. Points count from the centre, x to
    the right and y upwards. A point that lies halfway between two pixels is in doubt.
    """
    height, width = image.shape
    turned, certain = np.zeros_like(image), np.ones(image.shape, dtype=bool)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, (height - 1) / 2 - row
            back_x, back_y = x * cos + y * sin, -x * sin + y * cos
            at = (height - 1) / 2 - back_y, back_x + (width - 1) / 2
            certain[row, column] = all(abs(place % 1 - 0.5) > 1e-3 for place in at)
            from_row, from_column = (math.floor(place + 0.5) for place in at)
            if 0 <= from_row < height and 0 <= from_column < width:
                turned[row, column] = image[from_row, from_column]
    return turned, certain


@pytest.mark.parametrize("angle", [0, 20, 37, 90, 155.5, 180, -45.5, -90])
def test_rotation_is_that_of_the_definition(small_root, angle):
    stream = build(small_root, "domain", name="rotatedmnist", angles=[angle], pad=1)
    images = data.load("mnist", small_root)
    (test,) = stream.tests
    for i in range(3):
        x, _, _ = test.take(torch.tensor(i))
        turned, certain = nearest(images.test_x[test.parts[0].rows[i], 0].numpy(), angle)
        assert certain.mean() > 0.98
        assert np.array_equal(x[0, 1:-1, 1:-1].numpy()[certain], (turned / np.float32(255))[certain])
        assert x.count_nonzero() == x[0, 1:-1, 1:-1].count_nonzero()


def test_a_pixel_on_the_right_is_turned_to_the_top():
    x = torch.zeros(28, 28, dtype=torch.uint8)
    x[14, 27] = 200
    (row, column) = x.flatten()[turned(28, 0, 90)].view(28, 28).nonzero()[0].tolist()
    assert (row, column) == (0, 14)

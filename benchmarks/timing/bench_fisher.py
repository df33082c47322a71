"""Time what a Fisher diagonal costs: each estimator by network, examples, batch and threads (pytest-benchmark).

Each group also has a forward and backward pass over the same data. `make bench-fisher` saves the times in
results/local/benchmarks and compares them with those of the run before. Nothing asserts a time. The networks are
trained for a few steps, as they are where a Fisher is wanted. An untrained network finds all classes about equally
likely. The program compare_fisher.py has other packages and the errors.
"""

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import models, numerics
from benchmarks.timing.peers import BATCH, batches
from methods.base.examples import Examples, Part, mask_of
from methods.base.net import Net
from methods.importance import fisher, persample

SHAPE, CLASSES = torch.Size([1, 28, 28]), 10
STEPS = 40  # of training
ESTIMATORS = ("exact", "sample", "empirical", "argmax", "p_weighted", "batched", "mas")
SIZES = {"mlp": 2048, "conv": 256}  # examples


@cache
def data(n: int) -> tuple[Tensor, Tensor]:
    """Draw a centre of pixels for each class, and noisy images around it. One label in fifty is drawn again."""
    draws = torch.Generator().manual_seed(0)
    centres, y = torch.rand(CLASSES, *SHAPE, generator=draws), torch.randint(CLASSES, (n,), generator=draws)
    x = (centres[y] + 0.3 * torch.randn(n, *SHAPE, generator=draws)).clamp(0, 1)
    wrong = torch.rand(n, generator=draws) < 0.02
    return x, torch.where(wrong, torch.randint(CLASSES, (n,), generator=draws), y)


@cache
def network(name: str) -> nn.Sequential:
    """Return 784-400-400-10, or 3x3 convolutions of 16 and 32 channels with pooling and a layer of 128."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "mlp":
            built = models.build("mlp-400-400", SHAPE, CLASSES, seed=0)
            net = nn.Sequential(*built.body, built.head)
        else:
            first, second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
            body = first, nn.ReLU(), second, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
            net = nn.Sequential(*body, nn.Linear(32 * 14 * 14, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    for x, y in batches(*data(STEPS * BATCH)):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


def plain(batch: int) -> Callable:
    """Return a function that builds a forward and a backward pass."""

    def build(module, x, y):
        parameters = list(module.parameters())

        def run():
            for some_x, some_y in zip(x.split(batch), y.split(batch), strict=True):
                torch.autograd.grad(F.cross_entropy(module(some_x), some_y), parameters)

        return run

    return build


def ours(estimator: str, batch: int = BATCH, units: int = CLASSES) -> Callable:
    """Return a function that builds an estimator of this suite with `units` active classes, or MAS's importance."""

    def build(module, x, y):
        net = Net(module)
        theta, n = net.vector(), torch.arange(len(x))
        examples = Examples((Part(x, n, y, mask_of(range(units), CLASSES)),))
        if estimator == "mas":
            return lambda: persample.mean(net, theta, examples, lambda z, *_: [2 * z], torch.abs)
        return lambda: fisher.diagonal(net, theta, examples, estimator, [torch.Generator().manual_seed(0)], batch=batch)

    return build


EVERY, SOME = ("plain", *ESTIMATORS), ("plain", "exact", "empirical")
CASES = [
    *(("mlp", 2048, BATCH, 1, name) for name in EVERY),
    *(("conv", 256, BATCH, 1, name) for name in EVERY),
    *(("mlp", 2048, 32, 1, name) for name in ("plain", "batched")),
    *(("mlp", 8192, BATCH, 1, name) for name in SOME),
    *(("mlp", 2048, BATCH, 2, name) for name in SOME),
    *(("conv", 256, BATCH, 2, name) for name in ("plain", "empirical")),
]


@pytest.fixture
def threads():
    """Give a function that sets the number of threads, and set the number back at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("net", "n", "batch", "n_threads", "estimator"), CASES)
def test_cost(benchmark, threads, net, n, batch, n_threads, estimator):
    """Time one diagonal, with a plain pass in the same group."""
    numerics.settle()
    threads(n_threads)
    build = plain(batch) if estimator == "plain" else ours(estimator, batch)
    benchmark.group = f"{net}, N = {n}, batch {batch}, threads {n_threads}"
    benchmark.pedantic(build(network(net), *data(n)), rounds=5, warmup_rounds=1)

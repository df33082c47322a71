"""What a Fisher diagonal costs: each estimator by network, examples, batch and threads, under pytest-benchmark.

A forward and backward pass over the same data stands in each group beside them. `make bench-fisher` saves the times in
results/local/benchmarks and compares them with those of the run before; nothing asserts a time. The networks are
trained for a few steps, as they are where a Fisher is wanted: at the start all classes are about as likely. The
program beside this one, compare_fisher.py, has other packages and the errors.
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
    """Noisy images around one of pixels drawn for each class, a fiftieth of the labels wrong."""
    draws = torch.Generator().manual_seed(0)
    centres, y = torch.rand(CLASSES, *SHAPE, generator=draws), torch.randint(CLASSES, (n,), generator=draws)
    x = (centres[y] + 0.3 * torch.randn(n, *SHAPE, generator=draws)).clamp(0, 1)
    wrong = torch.rand(n, generator=draws) < 0.02
    return x, torch.where(wrong, torch.randint(CLASSES, (n,), generator=draws), y)


@cache
def network(name: str) -> nn.Sequential:
    """784-400-400-10; or 3x3 convolutions of 16 and 32 channels, pooling, a layer of 128."""
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
    """A forward and a backward pass."""

    def build(module, x, y):
        parameters = list(module.parameters())

        def run():
            for some_x, some_y in zip(x.split(batch), y.split(batch), strict=True):
                torch.autograd.grad(F.cross_entropy(module(some_x), some_y), parameters)

        return run

    return build


def ours(estimator: str, batch: int = BATCH, units: int = CLASSES) -> Callable:
    """An estimator of this suite, of which `units` classes are active; or the importance of MAS."""

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
    """Sets the number, and back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("net", "n", "batch", "n_threads", "estimator"), CASES)
def test_cost(benchmark, threads, net, n, batch, n_threads, estimator):
    """Of one diagonal, with a plain pass in the same group."""
    numerics.settle()
    threads(n_threads)
    build = plain(batch) if estimator == "plain" else ours(estimator, batch)
    benchmark.group = f"{net}, N = {n}, batch {batch}, threads {n_threads}"
    benchmark.pedantic(build(network(net), *data(n)), rounds=5, warmup_rounds=1)

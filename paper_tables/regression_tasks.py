"""Four one-dimensional regression tasks learnt in turn: what is learnt, how, and what is measured of it.

A task is a quarter of the curve y = sin 3x + 0.3 sin 12x, with noise. An MLP 1-100-100-100-100-1 learns the four in
turn, each for 500 steps of Adam on all its examples, by the mean squared error. That is the mean of -log p of a
Gaussian of variance 1/2. So the exact Fisher diagonal is F_i = 2/N sum_n (d f(x_n) / d theta_i)^2, which needs no
labels.

A document that explains offline EWC takes another number instead, the square of the full-batch gradient, G_i = (d/d
theta_i 1/N sum_n (f(x_n) - y_n)^2)^2. This is the estimator `batched` with one batch. These strengths make the sum of
each task's penalty that of the exact one:

    lam_l = lam * sum_i F^l_i / sum_i G^l_i
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from benchmarks import models, numerics
from benchmarks.learner import Train, learn
from benchmarks.stream import Stream
from methods.base.examples import Examples, Part, Task, mask_of
from methods.base.method import Method
from methods.base.net import Net
from methods.base.rng import derive, generator
from methods.importance.fisher import diagonal
from methods.importance.likelihoods import Gaussian
from paper_tables.watched import watched

EDGES = (-1.0, -0.5, 0.0, 0.5, 1.0)  # of the tasks' inputs
N, NOISE = 100, 0.05  # examples of a task; standard deviation of y
NET = "mlp-100-100-100-100"
TRAIN = Train(net=NET, optimizer="adam", lr=8e-4, optimizer_state="reset", batch=N, steps=500)
EVERY = 20  # steps between two points of a trace
GRID = torch.linspace(EDGES[0], EDGES[-1], 161)[:, None]


class Regression:
    """Learn by the mean squared error, which is the mean of -log p of this likelihood."""

    likelihood = Gaussian(variance=0.5)

    def loss(self, theta, x, y, mask):
        return (self.net(theta, x, train=True) - y).square().mean((-2, -1))


@dataclass(frozen=True)
class Learnt:
    """Hold what came of a run. T tasks, S points of the trace, X points of the grid."""

    strength: float | list[float] | None
    errors: np.ndarray  # [T, T] root mean squared error after task k on the noiseless curve of task j
    traces: np.ndarray  # [S, T] mean squared error on the training data of each task
    fits: np.ndarray  # [T, X] after each task
    sums: np.ndarray  # [T, 2] of F and G after each task


def stream(seed: int) -> Stream:
    """Return the four tasks. They have no test sets: a fit is compared with the curve."""
    tasks = []
    for k in range(len(EDGES) - 1):
        draws = generator(seed, "regression", k)
        x = EDGES[k] + (EDGES[k + 1] - EDGES[k]) * torch.rand(N, 1, generator=draws)
        y = curve(x) + NOISE * torch.randn(N, 1, generator=draws)
        train = Examples((Part(x, torch.arange(N), y, mask_of([0], 1)),))
        tasks.append(Task("domain", k, (0,), train, own_units=False))
    return Stream("domain", 1, ((0,),) * len(tasks), tuple(tasks), ())


def curve(x: Tensor) -> Tensor:
    """Return y without noise."""
    return torch.sin(3 * x) + 0.3 * torch.sin(12 * x)


def trained(name: str, options: dict, tasks: Stream, seed: int, train: Train = TRAIN) -> tuple[Net, Method]:
    """Return the network and the method, with theta along the way (watched.py), after the tasks."""
    net = Net(models.build(train.net, torch.Size((1,)), 1, derive(seed, "init")))
    method = watched(name, options, EVERY, Regression)
    learn(method, net, net.vector(), tasks, train, (seed,))
    return net, method


def matched(options: dict, tasks: Stream, seed: int, train: Train = TRAIN) -> list[float]:
    """Return lam_l for each task but the last. The Fishers of task l depend on the strengths of the tasks before it."""
    lam = []
    for k in range(1, tasks.n_tasks):
        first = replace(tasks, tasks=tasks.tasks[:k])
        net, method = trained("ewc", options | {"lam": lam}, first, seed, train)
        F, G = fisher_sums(net, method.ends[-1], first.tasks[-1])
        lam.append(options["lam"] * F / G)
    return lam


def fishers(net: Net, theta: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return F and G [P] of a task at theta."""
    known = {"likelihood": Regression.likelihood, "batch": len(task.train)}
    return tuple(diagonal(net, theta, task.train, name, **known) for name in ("exact", "batched"))


def fisher_sums(net: Net, theta: Tensor, task: Task) -> tuple[float, float]:
    """Return the sums of F and G."""
    return tuple(float(F.double().sum()) for F in fishers(net, theta, task))


def work(name: str, options: dict, seed: int, train: Train = TRAIN) -> Learnt:
    """Train one variant and measure it."""
    numerics.settle()
    tasks = stream(seed)
    if name == "matched":
        name, options = "ewc", options | {"lam": matched(options, tasks, seed, train)}
    net, method = trained(name, options, tasks, seed, train)
    thetas, path = torch.stack(method.ends), torch.stack(method.path)
    with torch.no_grad():
        fits = net(thetas, GRID.expand(len(thetas), *GRID.shape))[..., 0]
        squares = (fits - curve(GRID)[:, 0]).square()
        inside = [(GRID[:, 0] >= low) & (GRID[:, 0] <= high) for low, high in pairwise(EDGES)]
        errors = torch.stack([squares[:, here].mean(1).sqrt() for here in inside], 1)
        traces = torch.stack([mse(net, path, task) for task in tasks.tasks], 1)
    sums = [fisher_sums(net, theta, task) for theta, task in zip(thetas, tasks.tasks, strict=True)]
    strength = options.get("lam", options.get("c"))
    return Learnt(strength, errors.numpy(), traces.numpy(), fits.numpy(), np.array(sums))


def mse(net: Net, thetas: Tensor, task: Task) -> Tensor:
    """Return the mean squared error [S] at thetas [S, P] on the training data of a task."""
    x, y, _ = task.train.take(torch.arange(len(task.train)))
    return (net(thetas, x.expand(len(thetas), *x.shape)) - y).square().mean((-2, -1))

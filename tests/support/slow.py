"""The methods a second time, from the equations of the papers: slow and obvious.

Parameters are tensors by name, the examples go one at a time, the softmax runs over the allowed units alone, and the
penalty is differentiated by autograd, with one term for each anchor. Shared with the suite is only what is drawn at
random: the order of the batches and the generators.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.learner import Train, batches
from benchmarks.stream import Stream
from methods.base.examples import Examples
from methods.base.rng import generator

Named = dict[str, Tensor]
Example = tuple[Tensor, int, list[int]]  # pixels, unit, allowed units


def listed(examples: Examples) -> list[Example]:
    """The examples one by one."""
    x, y, mask = examples.take(torch.arange(len(examples)))
    allowed = [(row == 0).nonzero().flatten().tolist() for row in mask.expand(len(y), -1)]
    return list(zip(x, y.tolist(), allowed, strict=True))


def parameters(module: nn.Module) -> Named:
    """Trainable parameters by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def copy(named: Named) -> Named:
    """The same numbers, kept."""
    return {name: value.detach().clone() for name, value in named.items()}


def flat(named: Named) -> Tensor:
    """All numbers as one vector."""
    return torch.cat([value.detach().flatten() for value in named.values()])


def gradients(value: Tensor, params: Named) -> Named:
    """d value / d parameter by name, 0 where the value does not depend on it."""
    found = torch.autograd.grad(value, list(params.values()), retain_graph=True, allow_unused=True)
    pairs = zip(params.items(), found, strict=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in pairs}


def log_p(module: nn.Module, x: Tensor, units: list[int]) -> Tensor:
    """log p(unit | x) of the allowed units, by their place in `units`."""
    return outputs(module, x)[units].log_softmax(0)


def outputs(module: nn.Module, x: Tensor) -> Tensor:
    """The outputs [C] for one example, which is given twice: for one image, torch 2.12 differentiates wrongly."""
    return module(torch.stack([x, x]))[0]


def fisher(module: nn.Module, examples: list[Example], estimator: str, drawn: list[int] | None = None) -> Named:
    """1/N sum_n sum_y weight_n(y) (d log p(y | x_n) / d theta)^2; `drawn` are the labels of `sample`."""
    params = parameters(module)
    total = {name: torch.zeros_like(p) for name, p in params.items()}
    for n, (x, y, units) in enumerate(examples):
        scores = log_p(module, x, units)
        p = scores.exp().detach()
        for place, unit in enumerate(units):
            weight = {
                "exact": p[place],
                "sample": float(drawn is not None and unit == drawn[n]),
                "empirical": float(unit == y),
                "argmax": float(place == int(p.argmax())),
                "p_weighted": p[place] * float(unit == y),
                "unweighted_classes": 1.0,
            }[estimator]
            for name, g in gradients(scores[place], params).items():
                total[name] += weight * g**2 / len(examples)
    return total


def squared_means(module: nn.Module, groups: list[list[Example]], rescaled: bool = False) -> Named:
    """Mean over batches of the square of the batch's mean gradient; `rescaled`: times the size of that batch."""
    params = parameters(module)
    total = {name: torch.zeros_like(p) for name, p in params.items()}
    for group in groups:
        for name, g in gradients(mean_loss(module, group), params).items():
            total[name] += g**2 * (len(group) if rescaled else 1) / len(groups)
    return total


def mean_loss(module: nn.Module, examples: list[Example]) -> Tensor:
    """Mean negative log-likelihood."""
    return sum(-log_p(module, x, units)[units.index(y)] for x, y, units in examples) / len(examples)


def mas_importance(module: nn.Module, groups: list[list[Example]], unit_mean=False, norm="squared") -> Named:
    """Mean over groups of |d mean ||f(x)||^2 / d theta|, or of ||f(x)||; groups of one example are the definition."""
    params = parameters(module)
    total = {name: torch.zeros_like(p) for name, p in params.items()}
    for group in groups:
        squares = [outputs(module, x)[units].square() for x, _, units in group]
        norms = [square.mean() if unit_mean else square.sum() for square in squares]
        norms = [value.sqrt() for value in norms] if norm == "l2" else norms
        for name, g in gradients(sum(norms) / len(group), params).items():
            total[name] += g.abs() / len(groups)
    return total


def grouped(examples: list[Example], size: int, draws: torch.Generator) -> list[list[Example]]:
    """The examples in a random order, `size` at a time."""
    order = torch.randperm(len(examples), generator=draws).tolist()
    return [[examples[n] for n in order[start : start + size]] for start in range(0, len(order), size)]


def orders(n: int, train: Train, seed: int, task: int) -> Iterator[list[int]]:
    """The batches of a task, as places in its list of `n` examples."""
    for index in batches(n, train, [generator(seed, "batches", task)], torch.empty(0)):
        yield index.tolist()


def loop(
    module: nn.Module,
    stream: Stream,
    train: Train,
    seed: int,
    data: Callable = lambda task: listed(task.train),
    replay: Callable = lambda task: [],
    loss: Callable = mean_loss,
    penalty: Callable | None = None,
    distil: Callable = lambda batch: 0,
    project: Callable = lambda grads, batch: grads,
    after_step: Callable = lambda old, grads: None,
    after_task: Callable = lambda task: None,
) -> Tensor:
    """Train the module on the stream; returns its parameters as one vector."""
    params = parameters(module)
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[train.optimizer](params.values(), lr=train.lr)
    for task in stream.tasks:
        examples = data(task)
        for places in orders(len(examples), train, seed, task.index):
            batch = [examples[n] for n in places] + replay(task)
            grads = project(gradients(loss(module, batch) + distil(batch), params), batch)
            extra = penalty() if penalty else None
            pulls = gradients(extra, params) if isinstance(extra, Tensor) else {}
            for name, p in params.items():
                p.grad = grads[name] + pulls.get(name, 0)
            old = copy(params)
            optimizer.step()
            after_step(old, grads)
        after_task(task)
    return flat(params)


def distance(params: Named, importance: Named, star: Named) -> Tensor:
    """sum_i importance_i (theta_i - star_i)^2."""
    return sum((importance[name] * (p - star[name]) ** 2).sum() for name, p in params.items())

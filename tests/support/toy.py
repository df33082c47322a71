"""A tiny stream and tiny nets, on which a whole run takes milliseconds."""

from dataclasses import MISSING, fields, replace
from functools import cache
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

import methods
from benchmarks import models
from benchmarks.learner import Train, learn
from benchmarks.stream import Stream, TaskData, assemble
from methods.base.examples import Examples, Part
from methods.base.method import Method
from methods.base.net import Net
from methods.base.options import fitted, kinds
from methods.base.rng import generator
from tests.support import own

SHAPE = (1, 4, 4)
SIZES = (26, 30, 34)  # training examples of each class, by task: no two tasks alike, none a multiple of a batch
SMALL = (7, 9, 11)
N_TEST = 10
TRAIN = Train(net="mlp-8", optimizer="sgd", lr=0.1, optimizer_state="keep", batch=16, epochs=2)
SMALL_GENERATOR = {"hidden": (8, 6), "z": 3, "recon": "squared"}  # pixels of the toy stream are not in [0, 1]
SUITED = {  # in place of defaults; T^2 would keep RtF from new classes for longer than a toy run
    "dgr": SMALL_GENERATOR,
    "rtf": SMALL_GENERATOR | {"KD": "sum"},
    "xdg": {"gated": 0.5},
}
# Of each pair a method needs one.
SIZES_OF_MEMORY = {"gem": ("per_task", "budget"), "icarl": ("K", "per_class"), "replay": ("memory", "per_class")}

PERCEPTRON = {"pnn", "den"}  # take no other network

CLASSES = {name: methods.find(name) for name in methods.names()}
OWN = own.modules("methods")  # a user's own
CASES = [(name, scenario) for name, cls in CLASSES.items() for scenario in cls.scenarios]
EACH = [(name, cls.scenarios[-1]) for name, cls in CLASSES.items()]  # for what no scenario can change
PLUGINS = [name for name, cls in CLASSES.items() if not cls.joins_tasks and cls.grow is Method.grow]


def stream(scenario: str = "task", dtype=torch.float64, sizes=SIZES, active_units: str = "seen") -> Stream:
    """Tasks of two noisy classes each; the classes of different tasks overlap, so that they interfere."""
    draws = torch.Generator().manual_seed(0)
    tasks = []
    for k, n in enumerate(sizes):
        centres = torch.randn(2, *SHAPE, generator=draws, dtype=torch.float64)
        y = torch.arange(2 * (n + N_TEST)) % 2
        x = centres[y] + torch.randn(len(y), *SHAPE, generator=draws, dtype=torch.float64)
        rows = torch.randperm(len(y), generator=draws)
        train, test = rows[: 2 * n], rows[2 * n :]
        source = x.to(dtype)
        tasks.append(TaskData((2 * k, 2 * k + 1), (source, train, y[train]), (source, test, y[test])))
    return assemble(scenario, tasks, active_units)


def module(stream: Stream, seed: int = 1, spec: str = TRAIN.net) -> nn.Module:
    """A net for the stream, in its dtype, initialised from `seed`."""
    built = models.build(spec, torch.Size(SHAPE), stream.n_units, seed)
    return built.to(stream.tests[0].parts[0].source.dtype)


def noisy(stream: Stream, seed: int = 1) -> nn.Module:
    """A net with batch normalisation and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        net.add_module("head", nn.Linear(8, stream.n_units))
    return net.to(stream.tests[0].parts[0].source.dtype)


def noisy_for(name: str):
    """What builds a net with batch normalisation and dropout, or one without them where the method takes no other."""
    return module if name in PERCEPTRON else noisy


def make(name: str, **options) -> Method:
    """The method `name`; options that are not given get values that suit the toy stream, where they must."""
    cls = methods.find(name)
    types = kinds(cls)
    preset = cls.presets.get(options.get("preset"), {})
    options = {option: value for option, value in SUITED.get(name, {}).items() if option not in preset} | options
    given = {**preset, **options}
    missing = [option for option in required(cls) if option not in given]
    sizes = SIZES_OF_MEMORY.get(name)
    if sizes and not set(sizes) & set(given):
        missing.append(sizes[0])
    return methods.make(name, **({option: _suits(types[option]) for option in missing} | options))


def _suits(kind) -> object:
    """The first of some values that an option of this type takes."""
    values = (1.0, 8, True, *get_args(kind), [1.0])
    return next(value for value in values if fitted("option", kind)(value)[0])


def skip_if_even(name: str, A: Tensor) -> None:
    """Skip a user's own method to which every parameter is as important as any other, as to L2."""
    if name in OWN and bool((A[0] == A).all()):
        pytest.skip(f"to {name} every parameter is as important as any other")


def required(cls: type[Method]) -> list[str]:
    """The options without a default."""
    return [field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]


def run(method: Method, stream: Stream, seeds=(1,), train: Train = TRAIN, build=module) -> tuple[list, Tensor]:
    """Counts and theta of a whole run: [P] for one seed, [R, P] for several, each from an initialisation of its own."""
    if method.joins_tasks:
        stream = stream.joined()
    thetas = [Net(build(stream, seed)).vector() for seed in seeds]
    theta = thetas[0] if len(seeds) == 1 else torch.stack(thetas)
    return learn(method, Net(build(stream)), theta, stream, train, tuple(seeds))


@cache
def fine_tuned(
    scenario: str, dtype=torch.float32, sizes=SIZES, train: Train = TRAIN, build=module, n_tasks: int = 3
) -> tuple[list, Tensor]:
    """Counts and theta of fine-tuning on the first `n_tasks` tasks. Many tests compare with the same run."""
    whole = stream(scenario, dtype, sizes)
    return run(make("naive"), replace(whole, tasks=whole.tasks[:n_tasks]), train=train, build=build)


def begin(method: Method, stream: Stream, seed: int = 1, build=module) -> Tensor:
    """The method before its first task, for tests that call the hooks themselves; returns theta [P], grown for it."""
    net = Net(build(stream, seed))
    theta = net.vector()
    method.begin(net, theta, lambda role, task, replica=0: generator(seed, role, task))
    method.net, theta = method.grow(net, theta, stream.tasks[0])
    return theta


def after_tasks(method: Method, stream: Stream, n_tasks: int) -> list[Tensor]:
    """The method after `n_tasks` tasks at parameters drawn at random instead of trained; returns those."""
    theta = begin(method, stream)
    draws = torch.Generator().manual_seed(0)
    thetas = []
    for task in stream.tasks[:n_tasks]:
        theta = theta + 0.3 * torch.randn(theta.shape, generator=draws, dtype=theta.dtype)
        method.before_task(theta, task)
        method.after_task(theta, task)
        thetas.append(theta)
    return thetas


def plain(value) -> bool:
    """Whether a value, all the way down, is of the types that the state between two tasks may be of."""
    if isinstance(value, Examples | Part):
        return plain(vars(value))
    if isinstance(value, dict):
        return plain([*value, *value.values()])
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, Tensor | bool | int | float | str)


def second_task(scenario: str = "class") -> tuple[nn.Module, Net, Tensor, Examples]:
    """Module, net, theta and the 18 examples of the second task; only in domain-IL may they use every unit."""
    small = stream(scenario, sizes=SMALL)
    built = module(small)
    net = Net(built)
    return built, net, net.vector(), small.tasks[1].train

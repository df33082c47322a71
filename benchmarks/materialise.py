"""From the options of a stream to its tasks as tensors.

Avalanche decides which classes a task has, in which order, and under which labels. It is shown one stand-in for each
class: the examples of a class follow in the order of the data set, as in Avalanche's own streams. The tests compare
the result with those, item for item, exactly.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import TensorDataset

from benchmarks import data, standard_sets
from benchmarks.files import write_atomically
from benchmarks.images import Images
from benchmarks.stream import ACTIVE_UNITS, EVALUATE, Stream, TaskData, assemble
from methods.base.errors import UserError
from methods.base.options import Count, CountOrZero, Positive, check_options
from methods.base.rng import derive, generator

PLANS = standard_sets.DEFAULT_ROOT / ".plans"
Deal = list[list[tuple[int, int]]]  # of each task: its classes, in the order of its examples, and their labels


@dataclass(frozen=True)
class Recipe:
    """What a stream file defines: a subclass, whose fields are the options of the stream beside those below.

    A recipe says which data set it reads and whether it depends on the seed of the run; `tasks_of` makes the tasks.
    Images are padded with zeros by `pad` on each side. Then (x - mean) / std is what a network sees, with x in [0, 1];
    mean and std are one number, or one for each channel (for vectors: for each of their values).
    """

    pad: CountOrZero = 0
    mean: float | tuple[float, ...] = 0.0
    std: Positive | tuple[Positive, ...] = 1.0
    active_units: Literal[*ACTIVE_UNITS] = "seen"  # benchmarks/stream.py: assemble
    evaluate: Literal[*EVALUATE] = "test"  # benchmarks/stream.py: Stream.evaluated_on

    data_set: ClassVar[str]  # as benchmarks.data names it
    needs_seed: ClassVar[bool] = False

    def __post_init__(self):
        check_options(self)

    def tasks_of(self, images: Images, seed: int | None) -> list[TaskData]:
        """Return the tasks on the padded `images`. The seed is None unless the recipe declares that it needs one."""
        raise NotImplementedError

    @classmethod
    def options(cls) -> dict:
        """Return the options with their defaults: the stream's own first, then those that it shares with others."""
        shared = [{field.name for field in fields(c)} for c in cls.__mro__ if issubclass(c, Recipe)]
        ordered = sorted(fields(cls), key=lambda field: sum(field.name in names for names in shared))
        return {field.name: field.default for field in ordered}


BY_NUMPY = ("numpy", "shuffled")  # the orders that a paper's seeds give


@dataclass(frozen=True)
class Split(Recipe):
    """Each class belongs to one task.

    tasks: how many tasks, of equally many classes each, or a list: how many classes each of them has; classes that are
    left over are left out. order: of the classes, as numbered ("fixed"), drawn from the seed ("seeded"), by a paper's
    seeds ("numpy", "shuffled"), or a list of them; classes that are not in the list are left out. left_out: how many of
    the first classes are left out, as those of a search; the others keep their order, or draw it. examples: how many
    training examples each task has, drawn from its own (by a number that does not depend on the seed, unless the order
    does); None: all. order_seeds: the first and the last seed s of the paper. Our seeds 1, 2, ... go through them, in a
    circle. With p = np.random.RandomState(s).permutation(classes), the paper's code puts class c at place p[c]
    ("numpy"), or class p[k] at place k, as np.random.shuffle does ("shuffled").
    """

    tasks: Count | tuple[Count, ...] = 5
    order: Literal["fixed", "seeded", *BY_NUMPY] | tuple[CountOrZero, ...] = "fixed"
    left_out: CountOrZero = 0
    examples: Count | None = None
    order_seeds: tuple[CountOrZero, ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        if not self.tasks:
            raise UserError("tasks must be a number of tasks or a list of their sizes, got an empty list")
        if self.left_out and not isinstance(self.order, str):
            raise UserError(f"a list of classes leaves out what is not in it: order = {list(self.order)}, no left_out")
        if (self.order in BY_NUMPY) != (self.order_seeds is not None):
            orders = " or ".join(map(repr, BY_NUMPY))
            raise UserError(f"order = {orders} and order_seeds go together, got {self.order!r} and {self.order_seeds}")
        if self.order in BY_NUMPY:
            first, last = self.order_seeds if len(self.order_seeds) == 2 else (1, 0)
            if not first <= last < 2**32:
                raise UserError(f"order_seeds must be [first, last], each below 2^32, got {list(self.order_seeds)}")

    @property
    def needs_seed(self) -> bool:
        return self.order in ("seeded", *BY_NUMPY)

    def order_seed(self, seed: int) -> int:
        """Return the s of the paper's order in the run with this seed."""
        first, last = self.order_seeds
        return first + (seed - 1) % (last - first + 1)

    def tasks_of(self, images: Images, seed: int | None) -> list[TaskData]:
        order = self._order(images.classes, seed)
        sizes = self._sizes(len(order))
        if self.order == "seeded":  # The classes that are dealt count from 0.
            drawn = deal(len(order), len(sizes), per_exp_classes=sizes, seed=derive(seed, "stream") % 2**32)
            dealt = [[(self.left_out + c, unit) for c, unit in classes] for classes in drawn]
        else:
            dealt = deal(images.classes, len(sizes), per_exp_classes=sizes, fixed_class_order=order)
        return [_some(_task(images, classes), k, self.examples, seed) for k, classes in enumerate(dealt)]

    def _order(self, n: int, seed: int | None) -> list[int]:
        """Return the classes of the stream, of 0 to n - 1.

        They are in their order, unless Avalanche draws that from the seed.
        """
        if self.left_out >= n:
            raise UserError(f"left_out must leave some of the {n} classes, got {self.left_out}")
        if self.order in BY_NUMPY:
            p = np.random.RandomState(self.order_seed(seed)).permutation(n - self.left_out)
            return (self.left_out + (p.argsort() if self.order == "numpy" else p)).tolist()
        order = list(range(self.left_out, n)) if isinstance(self.order, str) else list(self.order)
        if not order or len(set(order)) < len(order) or max(order) >= n:
            raise UserError(f"order must be 'fixed', 'seeded' or a list of classes of 0 to {n - 1}, got {order}")
        return order

    def _sizes(self, n: int) -> list[int]:
        """Return how many of n classes each task has."""
        if isinstance(self.tasks, int):
            if n % self.tasks:
                remedy = "give a list of their sizes, or leave classes out of order"
                raise UserError(f"tasks must divide the {n} classes, got {self.tasks}; {remedy}")
            return [n // self.tasks] * self.tasks
        if sum(self.tasks) > n:
            raise UserError(f"tasks asks for {sum(self.tasks)} classes, and there are {n}: {list(self.tasks)}")
        return list(self.tasks)


def whole_set_tasks(
    images: Images, gathers: Sequence[Tensor | None], examples: int | None, seed: int | None
) -> list[TaskData]:
    """Return one task for each of `gathers` (Part.gather): the whole data set, its pixels moved.

    examples: how many training examples a task has, drawn for each task anew from the seed, or from 0 where it is None.
    """
    dealt = zip(gathers, deal(images.classes, len(gathers)), strict=True)
    return [
        _some(replace(_task(images, classes), gather=gather), k, examples, seed)
        for k, (gather, classes) in enumerate(dealt)
    ]


def _some(task: TaskData, k: int, examples: int | None, seed: int | None) -> TaskData:
    """Return task k with this many training examples, drawn from its own without replacement."""
    source, rows, y = task.train
    if examples is None:
        return task
    if examples > len(rows):
        raise UserError(f"examples must be at most the {len(rows)} training images of task {k + 1}, got {examples}")
    drawn = torch.randperm(len(rows), generator=generator(seed or 0, "stream", k + 1))[:examples]
    return replace(task, train=(source, rows[drawn], y[drawn]))


def build(recipe: Recipe, scenario: str, seed: int, root: Path) -> Stream:
    """Return the stream of a recipe. The caller's random numbers are left as they are."""
    images, scaling = prepared(data.load(recipe.data_set, root), recipe)
    with untouched_random_state():
        tasks = recipe.tasks_of(images, seed if recipe.needs_seed else None)
    return assemble(scenario, tasks, recipe.active_units, scaling).evaluated_on(recipe.evaluate)


def prepared(images: Images, recipe: Recipe) -> tuple[Images, Tensor]:
    """Return the images, padded, and how a batch of them becomes what a network sees (Part.scaling)."""
    name, shape = recipe.data_set, images.train_x.shape[1:]
    if len(shape) == 1 and recipe.pad:
        raise UserError(f"{name} holds vectors, not images: pad does not apply (leave it out)")
    numbers = [torch.tensor(value, dtype=torch.float32).flatten() for value in (recipe.mean, recipe.std)]
    if {len(each) for each in numbers} - {1, shape[0]}:
        what = "values" if len(shape) == 1 else "channels"
        raise UserError(f"mean and std must be one number, or one for each of the {shape[0]} {what} of {name}")
    scaling = torch.stack(torch.broadcast_tensors(torch.tensor([images.full]), *numbers))
    if (recipe.mean, recipe.std) == (0.0, 1.0):
        scaling = scaling[:1]
    pads = (recipe.pad,) * 4 if recipe.pad else (0, 0)
    train_x, test_x = (F.pad(x, pads) for x in (images.train_x, images.test_x))
    return replace(images, train_x=train_x, test_x=test_x), scaling.view(*scaling.shape, *[1] * (len(shape) - 1))


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Put the random states of torch, NumPy and Python back to those of before. Avalanche seeds torch's."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng():
        yield
    np.random.set_state(numpy_state)
    random.setstate(python_state)


def _task(images: Images, dealt: list[tuple[int, int]]) -> TaskData:
    """Return the task with the examples of the classes that it has been dealt."""

    def side(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = [(y == label).nonzero().flatten() for label, _ in dealt]
        units = [torch.full_like(some, unit) for some, (_, unit) in zip(rows, dealt, strict=True)]
        return x, torch.cat(rows), torch.cat(units)

    classes = tuple(label for label, _ in sorted(dealt, key=lambda pair: pair[1]))
    return TaskData(classes, side(images.train_x, images.train_y), side(images.test_x, images.test_y))


def deal(n_classes: int, tasks: int, **options) -> Deal:
    """Return how Avalanche deals the classes to `tasks` tasks. Without options each task has them all.

    The answer is kept in PLANS, because Avalanche takes seconds to import.
    """
    versions = {"avalanche-lib": version("avalanche-lib"), "torch": version("torch"), "numpy": version("numpy")}
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    question = {"n_classes": n_classes, "tasks": tasks, **options, "source": source, "versions": versions}
    text = json.dumps(question, sort_keys=True)
    file = PLANS / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["question"] == json.loads(text) and _is_deal(kept["deal"], n_classes, tasks):
            return kept["deal"]
    except (OSError, ValueError, TypeError, KeyError):
        pass  # none is kept, or what is there is damaged: ask Avalanche
    made = _ask_avalanche(n_classes, tasks, options)
    with suppress(UserError):  # a folder that cannot be written: ask again next time
        write_atomically(file, json.dumps({"question": json.loads(text), "deal": made}))
    return made


def _is_deal(answer: Deal, n_classes: int, tasks: int) -> bool:
    """Say whether `answer` can be Avalanche's: known classes, no class twice in a task, labels from 0 on."""
    return len(answer) == tasks and all(
        sorted(label for _, label in dealt) == list(range(len(dealt)))
        and len({c for c, _ in dealt} & set(range(n_classes))) == len(dealt) > 0
        for dealt in answer
    )


def _ask_avalanche(n_classes: int, tasks: int, options: dict) -> Deal:
    from avalanche.benchmarks import nc_benchmark

    one_of_each = TensorDataset(torch.zeros(n_classes), torch.arange(n_classes))
    one_of_each.targets = list(range(n_classes))
    if options:
        shown = one_of_each
        options = options | {"per_exp_classes": dict(enumerate(options["per_exp_classes"]))}
    else:
        shown, options = [one_of_each] * tasks, {"one_dataset_per_exp": True, "shuffle": False}
    made = nc_benchmark(shown, shown, tasks, task_labels=False, class_ids_from_zero_in_each_exp=True, **options)
    return [
        [(row % n_classes, int(label)) for row, label in zip(rows, experience.dataset.targets, strict=True)]
        for rows, experience in zip(made.train_exps_patterns_assignment, made.train_stream, strict=True)
    ]

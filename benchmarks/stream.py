"""A stream as tensors: what a task is, and how an Avalanche benchmark becomes a list of them.

Index conventions: N examples, B batch, C output units, D pixels, T tasks.

Scenarios (van de Ven and Tolias, 2019), by the output units that a prediction may use:

    task     one head per task: the units of the task that is given; the task is known at test time
    domain   one head, shared: every task has the same units; the task is not known
    class    one head over all classes: at test time every class seen so far; the task is not known

A mask is added to the logits: 0 where a unit is allowed, -1e9 elsewhere (not -inf: 0 * inf is nan in a Fisher).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.errors import UserError, unknown

OFF = -1e9
SCENARIOS = ("task", "domain", "class")
ACTIVE_UNITS = ("seen", "all", "current")
EVALUATE = ("test", "train", "held-out")
HELD_OUT = 0.1  # of each task's training examples


def mask_of(units: Sequence[int], n_units: int) -> Tensor:
    """The mask [C] that allows `units`."""
    mask = torch.full((n_units,), OFF)
    mask[list(units)] = 0.0
    return mask


@dataclass(frozen=True)
class Part:
    """Examples as rows of an array that tasks share; pixels are copied when a batch is taken, not before."""

    source: Tensor  # [M, ...] pixels, shared
    rows: Tensor  # [N] which of them
    y: Tensor  # [N] output unit of each example
    mask: Tensor  # [C], or [N, C]: units that training may use for them
    permutation: Tensor | None = None  # [D]: pixel d of an example is pixel permutation[d] of its source

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels [..., *shape], units [...] and mask ([C], or [..., C]) of the examples at `index` [...]."""
        rows = self.rows[index]
        x = self.source.index_select(0, rows.flatten()).view(*rows.shape, *self.source.shape[1:])
        if self.permutation is not None:
            x = x.flatten(index.dim())[..., self.permutation].view(x.shape)
        return x, self.y[index], self.mask if self.mask.dim() == 1 else self.mask[index]

    def only(self, index: Tensor) -> "Part":
        """The examples at `index` [M] alone, without copying pixels."""
        mask = self.mask if self.mask.dim() == 1 else self.mask[index]
        return replace(self, rows=self.rows[index], y=self.y[index], mask=mask)


@dataclass(frozen=True)
class Examples:
    """N examples, held as one or more parts."""

    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self.parts)

    def __add__(self, other: "Examples") -> "Examples":
        return Examples(self.parts + other.parts)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels [..., *shape], units [...] and mask ([C], or [..., C] where it differs) at `index` [...]."""
        if len(self.parts) == 1:
            return self.parts[0].take(index)
        first = self.parts[0]
        x = first.source.new_empty(*index.shape, *first.source.shape[1:])
        y = first.y.new_empty(index.shape)
        mask = first.mask.new_empty(*index.shape, first.mask.shape[-1])
        start = 0
        for part in self.parts:
            here = (index >= start) & (index < start + len(part.rows))
            x[here], y[here], mask[here] = part.take(index[here] - start)
            start += len(part.rows)
        return x, y, mask

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Every example once, `size` at a time, in order or shuffled; the last batch may be smaller."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        for index in order.to(self.parts[0].y.device).split(size):
            yield self.take(index)

    def select(self, index: Tensor) -> "Examples":
        """The examples at `index` [M] with pixels of their own, for a memory that must outlive the task."""
        x, y, mask = self.take(index)
        return Examples((Part(x, torch.arange(len(y), device=y.device), y, mask.expand(len(y), -1).clone()),))

    def merge(self) -> "Examples":
        """The same examples as one part, with pixels of their own."""
        return self.select(torch.arange(len(self), device=self.parts[0].y.device))

    def repeat(self, times: int) -> "Examples":
        """Every example `times` times, without copying pixels."""
        return Examples(self.parts * times)

    def to(self, device: torch.device) -> "Examples":
        """The same examples on `device`."""
        return Examples(tuple(_to(part, device) for part in self.parts))


@dataclass(frozen=True)
class Task:
    """One task: its scenario and place in the stream (from 0), its class labels in unit order, its training examples.

    own_units: replayed examples of earlier tasks keep the mask of their own task (task-IL; class-IL under `current`);
    otherwise they take the mask of the task in which they are replayed.
    """

    scenario: str
    index: int
    classes: tuple[int, ...]
    train: Examples
    own_units: bool

    def remask(self, memory: Examples) -> Examples:
        """Examples of earlier tasks under the mask that they are to be trained with in this task."""
        if self.own_units:
            return memory
        mask = self.train.parts[0].mask
        return Examples(tuple(replace(part, mask=mask) for part in memory.parts))


@dataclass(frozen=True)
class Stream:
    """Tasks to train on in order, and one test set per task of the whole stream."""

    scenario: str
    n_units: int  # C
    owned: tuple[tuple[int, ...], ...]  # the output units of each task
    tasks: tuple[Task, ...]
    tests: tuple[Examples, ...]

    def mask_at(self, seen: int, j: int) -> Tensor | None:
        """Mask [C] for test set `j` once `seen` tasks are learnt; None where the classes of j are not known yet."""
        if self.scenario != "class":
            return mask_of(self.owned[j], self.n_units)
        if j >= seen:
            return None
        return mask_of([unit for units in self.owned[:seen] for unit in units], self.n_units)

    def joined(self) -> "Stream":
        """All tasks as one, for the joint (offline) baseline; the test sets stay apart."""
        train = Examples(tuple(part for task in self.tasks for part in task.train.parts))
        if self.scenario == "class":
            everything = mask_of(range(self.n_units), self.n_units)
            train = Examples(tuple(replace(part, mask=everything) for part in train.parts))
        classes = tuple(label for task in self.tasks for label in task.classes)
        last = replace(self.tasks[-1], classes=classes, train=_one_array(train))
        return replace(self, tasks=(last,))

    def evaluated_on(self, what: str) -> "Stream":
        """Evaluated on the `test` sets, on the `train`ing sets, or on a tenth of those, `held-out` from training.

        Held-out examples are drawn once and for all: no run that searches on them has trained on any of them.
        """
        if what not in EVALUATE:
            raise unknown("evaluate", what, EVALUATE)
        if what == "test":
            return self
        if what == "train":
            return replace(self, tests=tuple(task.train for task in self.tasks))
        draws = torch.Generator().manual_seed(0)
        tasks, tests = [], []
        for task in self.tasks:
            (part,) = task.train.parts
            order = torch.randperm(len(part.rows), generator=draws)
            out = math.ceil(HELD_OUT * len(order))
            tests.append(Examples((part.only(order[:out]),)))
            tasks.append(replace(task, train=Examples((part.only(order[out:].sort().values),))))
        stream = replace(self, tasks=tuple(tasks), tests=tuple(tests))
        for k, task in enumerate(tasks, start=1):
            check(f"the training set of task {k} without what is held out", task.train)
        return stream

    def to(self, device: torch.device) -> "Stream":
        """The same stream on `device`."""
        tasks = tuple(replace(task, train=task.train.to(device)) for task in self.tasks)
        return replace(self, tasks=tasks, tests=tuple(test.to(device) for test in self.tests))


def _one_array(examples: Examples) -> Examples:
    """Parts that are rows of one array, as one part: a batch is then one gather."""
    first = examples.parts[0]
    if any(part.source is not first.source or part.permutation is not None for part in examples.parts):
        return examples
    masks = [part.mask.expand(len(part.rows), -1) for part in examples.parts]
    rows, y = (torch.cat([getattr(part, name) for part in examples.parts]) for name in ("rows", "y"))
    return Examples((Part(first.source, rows, y, torch.cat(masks)),))


def _to(part: Part, device: torch.device) -> Part:
    moved = {name: value.to(device) for name, value in vars(part).items() if value is not None}
    return replace(part, **moved)


@dataclass(frozen=True)
class TaskData:
    """What a stream file knows of one task: shared pixels, rows, labels from 0 within the task, and class names."""

    classes: tuple[int, ...]
    train: tuple[Tensor, Tensor, Tensor]  # source [M, ...], rows [N], labels [N] in 0..len(classes)-1
    test: tuple[Tensor, Tensor, Tensor]
    permutation: Tensor | None = None


def assemble(scenario: str, data: Sequence[TaskData], active_units: str = "seen") -> Stream:
    """A stream from its tasks' data: output units and masks as `scenario` and `active_units` say.

    active_units, in class-IL only, are the units that training may use: those of the classes `seen` so far, of `all`
    classes, or of the `current` task.
    """
    if scenario not in SCENARIOS:
        raise unknown("scenario", scenario, SCENARIOS)
    if active_units not in ACTIVE_UNITS:
        raise unknown("active_units", active_units, ACTIVE_UNITS)
    starts = [0] * len(data) if scenario == "domain" else _offsets([len(task.classes) for task in data])
    owned = tuple(tuple(range(s, s + len(task.classes))) for s, task in zip(starts, data, strict=True))
    n_units = max(units[-1] for units in owned) + 1
    own_units = scenario == "task" or active_units == "current"
    tasks, tests = [], []
    for k, task in enumerate(data):
        units = owned[k]
        if scenario == "class" and active_units != "current":
            until = len(data) if active_units == "all" else k + 1
            units = tuple(unit for own in owned[:until] for unit in own)
        mask = mask_of(units, n_units)
        train, test = (
            Examples((Part(source, rows, y + starts[k], mask, task.permutation),))
            for source, rows, y in (task.train, task.test)
        )
        for what, examples in (("training", train), ("test", test)):
            check(f"the {what} set of task {k + 1}", examples)
        tasks.append(Task(scenario, k, task.classes, train, own_units))
        tests.append(test)
    return Stream(scenario, n_units, owned, tuple(tasks), tuple(tests))


def check(what: str, examples: Examples) -> None:
    """Refuse examples that are empty, or whose labels lie outside their mask."""
    for part in examples.parts:
        if len(part.rows) == 0:
            raise UserError(f"{what} is empty: every task needs at least one example")
        n_units = part.mask.shape[-1]
        low, high = int(part.y.min()), int(part.y.max())
        if low < 0 or high >= n_units or bool((part.mask[part.y] < 0).any()):
            allowed = (part.mask == 0).nonzero().flatten().tolist()
            raise UserError(
                f"{what} has labels of units {low} to {high}, but may use only {allowed}: "
                "check the labels of the data set and the class order of the stream"
            )


def _offsets(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:k]) for k in range(len(sizes))]


def pack(stream: Stream) -> dict:
    """The stream as plain containers of tensors, for torch.save; arrays that tasks share stay shared."""
    fields = dict(vars(stream))
    fields["tasks"] = [dict(vars(task), train=_pack_examples(task.train)) for task in stream.tasks]
    fields["tests"] = [_pack_examples(test) for test in stream.tests]
    return fields


def unpack(fields: dict) -> Stream:
    """The stream that `pack` took apart."""
    tasks = tuple(Task(**dict(task, train=_unpack_examples(task["train"]))) for task in fields["tasks"])
    tests = tuple(_unpack_examples(test) for test in fields["tests"])
    return Stream(**dict(fields, tasks=tasks, tests=tests))


def _pack_examples(examples: Examples) -> list[dict]:
    return [dict(vars(part)) for part in examples.parts]


def _unpack_examples(parts: list[dict]) -> Examples:
    return Examples(tuple(Part(**part) for part in parts))

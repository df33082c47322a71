"""A stream: tasks to train on in order, and a test set for each of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from methods.base.errors import UserError, unknown
from methods.base.examples import SCENARIOS, Examples, Part, Stacked, Task, mask_of, usable_units

ACTIVE_UNITS = ("seen", "all", "current")
EVALUATE = ("test", "train", "held-out")
HELD_OUT = 0.1  # of each task's training examples


@dataclass(frozen=True)
class Stream:
    """Hold tasks to train on in order, and one test set per task of the whole stream."""

    scenario: str
    n_units: int  # C
    owned: tuple[tuple[int, ...], ...]  # the output units of each task
    tasks: tuple[Task, ...]
    tests: tuple[Examples, ...]

    @property
    def n_tasks(self) -> int:
        """Return the number of tasks T."""
        return len(self.tasks)

    @property
    def n_classes(self) -> int:
        """Return the number of classes of all tasks, added up. A class counts in each of its tasks."""
        return sum(len(task.classes) for task in self.tasks)

    def mask_at(self, seen: int, j: int) -> Tensor:
        """Return the mask [C] for test set `j` after `seen` tasks. Class-incremental, it is the same for all j."""
        known = self.owned[:seen] if self.scenario == "class" else self.owned
        return mask_of(usable_units(self.scenario, known, j, self.n_units), self.n_units)

    def joined(self) -> "Stream":
        """Return the stream with all tasks as one, for the joint (offline) baseline. The test sets stay apart."""
        train = Examples(tuple(part for task in self.tasks for part in task.train.parts))
        if self.scenario == "class":
            everything = mask_of(range(self.n_units), self.n_units)
            train = Examples(tuple(replace(part, mask=everything) for part in train.parts))
        classes = tuple(label for task in self.tasks for label in task.classes)
        last = replace(self.tasks[-1], classes=classes, train=_one_array(train))
        return replace(self, tasks=(last,))

    def evaluated_on(self, what: str) -> "Stream":
        """Return the stream with other evaluation sets: `test`, `train`, or `held-out`.

        `held-out` takes a tenth of each training set out of it. The draw is the same for all runs. Tasks that share
        images (rotations, permutations) draw apart: an image held out of one task may train in another.
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
        """Return the same stream on `device`. What tasks share moves once."""
        moved: dict[int, Tensor] = {}
        tasks = tuple(replace(task, train=task.train.to(device, moved)) for task in self.tasks)
        return replace(self, tasks=tasks, tests=tuple(test.to(device, moved) for test in self.tests))

    @staticmethod
    def stacked(streams: Sequence["Stream"]) -> "Stream":
        """Return one stream for replicas that have a stream each. UserError says why these cannot be stacked."""
        first = streams[0]
        if all(stream is first for stream in streams):
            return first
        if any((stream.scenario, stream.owned) != (first.scenario, first.owned) for stream in streams):
            raise UserError("replicas have tasks of other output units")
        trains = [Stacked.of([s.tasks[k].train for s in streams]) for k in range(len(first.tasks))]
        tasks = tuple(replace(task, train=train) for task, train in zip(first.tasks, trains, strict=True))
        tests = tuple(Stacked.of([s.tests[j] for s in streams]) for j in range(len(first.tests)))
        return replace(first, tasks=tasks, tests=tests)


def _one_array(examples: Examples) -> Examples:
    """Return parts that are rows of one array as one part. A batch is then one gather."""
    first = examples.parts[0]
    if any(part.source is not first.source or part.gather is not None for part in examples.parts):
        return examples
    masks = [part.mask.expand(len(part.rows), -1) for part in examples.parts]
    rows, y = (torch.cat([getattr(part, name) for part in examples.parts]) for name in ("rows", "y"))
    return Examples((replace(first, rows=rows, y=y, mask=torch.cat(masks)),))


@dataclass(frozen=True)
class TaskData:
    """Hold one task before its units are known: classes in their order, shared pixels, rows, labels that begin at 0."""

    classes: tuple[int, ...]
    train: tuple[Tensor, Tensor, Tensor]  # source [M, ...], rows [N], labels [N] in 0..len(classes)-1
    test: tuple[Tensor, Tensor, Tensor]
    gather: Tensor | None = None  # as in Part


def assemble(
    scenario: str, data: Sequence[TaskData], active_units: str = "seen", scaling: Tensor | None = None
) -> Stream:
    """Return a stream made of its tasks' data. `scenario` and `active_units` decide its output units and masks.

    active_units: the units that training may use under class-IL. They are those of the classes `seen` so far, of `all`
    classes, or of the `current` task. scaling: how stored pixels become inputs (Part.scaling).
    """
    if scenario not in SCENARIOS:
        raise unknown("scenario", scenario, SCENARIOS)
    if active_units not in ACTIVE_UNITS:
        raise unknown("active_units", active_units, ACTIVE_UNITS)
    sizes = [0 if scenario == "domain" else len(task.classes) for task in data]
    starts = tuple(accumulate(sizes[:-1], initial=0))
    owned = tuple(tuple(range(s, s + len(task.classes))) for s, task in zip(starts, data, strict=True))
    n_units = max(units[-1] for units in owned) + 1
    own_units = scenario == "task" or (scenario == "class" and active_units == "current")
    rule = "task" if own_units else scenario
    tasks, tests = [], []
    for k, task in enumerate(data):
        known = owned if active_units == "all" else owned[: k + 1]
        mask = mask_of(usable_units(rule, known, k, n_units), n_units)
        train, test = (
            Examples((Part(source, rows, y + starts[k], mask, task.gather, scaling),))
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

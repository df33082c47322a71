"""Methods learn from the examples, tasks and scenarios that this module defines.

Index conventions: N examples, B batch, C output units, D pixels, T tasks.

Scenarios (van de Ven and Tolias, 2019), by the output units that a prediction may use:

    task     one head per task: the units of the task that is given; the task is known at test time
    domain   one head, shared: every task has the same units; the task is not known
    class    one head over all classes: at test time every class seen so far; the task is not known

A mask is added to the logits: 0 where a unit is allowed, -1e9 elsewhere (not -inf: 0 * inf is nan in a Fisher).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from methods.base.errors import UserError

OFF = -1e9
SCENARIOS = ("task", "domain", "class")
PASS = 1000  # examples in a pass of the network that keeps no gradient


def mask_of(units: Sequence[int], n_units: int) -> Tensor:
    """Return the mask [C] that allows these `units`."""
    mask = torch.full((n_units,), OFF)
    mask[list(units)] = 0.0
    return mask


def units_of(mask: Tensor) -> Tensor:
    """Return the units that a mask, [C] or [N, C], allows to any example."""
    return (mask == 0).view(-1, mask.shape[-1]).any(0).nonzero().flatten()


def usable_units(scenario: str, owned: Sequence[Sequence[int]], k: int, n_units: int) -> tuple[int, ...]:
    """Return the units that an example of task k may use, to train or test, once the tasks of `owned` are known."""
    if scenario == "domain":
        return tuple(range(n_units))
    if scenario == "task":
        return tuple(owned[k])
    return tuple(dict.fromkeys(unit for units in owned for unit in units))


@dataclass(frozen=True)
class Part:
    """Hold examples as rows of an array that tasks share. Pixels are copied only when a batch is taken.

    Stored pixels v may be bytes. With `scaling` [S, ...], the network sees v / scaling[0] in the dtype of `scaling`. If
    S is 3, it sees (v / scaling[0] - scaling[1]) / scaling[2].
    """

    source: Tensor  # [M, ...] stored pixels, shared
    rows: Tensor  # [N] which of them
    y: Tensor  # [N] output unit of each example
    mask: Tensor  # [C], or [N, C]: units that training may use for them
    gather: Tensor | None = None  # [D]: pixel d of an example is stored pixel gather[d] of its source, or 0 where -1
    scaling: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype that the network sees."""
        return self.source.dtype if self.scaling is None else self.scaling.dtype

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pixels [..., *shape], units [...] and mask ([C], or [..., C]) of the examples at `index` [...]."""
        rows = self.rows[index]
        x = self.source.index_select(0, rows.flatten())
        if self.gather is not None:
            at = self.gather.clamp(min=0).expand(len(x), -1)
            x = x.flatten(1).gather(1, at).mul_(self.gather >= 0).view(x.shape)  # 5 times as fast as indexing
        if self.scaling is not None:
            x = x.to(self.dtype) / self.scaling[0]
            if len(self.scaling) > 1:
                x = x.sub_(self.scaling[1]).div_(self.scaling[2])
        x = x.view(*rows.shape, *self.source.shape[1:])
        return x, self.y[index], self.mask if self.mask.dim() == 1 else self.mask[index]

    def only(self, index: Tensor) -> "Part":
        """Return only the examples at `index` [M], without copying pixels."""
        mask = self.mask if self.mask.dim() == 1 else self.mask[index]
        return replace(self, rows=self.rows[index], y=self.y[index], mask=mask)


def _to(part: Part, device: torch.device, moved: dict[int, Tensor]) -> Part:
    for value in vars(part).values():
        if value is not None and id(value) not in moved:
            moved[id(value)] = value.to(device)
    return replace(part, **{name: moved[id(value)] for name, value in vars(part).items() if value is not None})


@dataclass(frozen=True)
class Examples:
    """Hold N examples as one or more parts."""

    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self.parts)

    @property
    def y(self) -> Tensor:
        """The unit [N] of each example."""
        return torch.cat([part.y for part in self.parts])

    def __add__(self, other: "Examples") -> "Examples":
        return Examples(self.parts + other.parts)

    @staticmethod
    def joined(several: Iterable["Examples"]) -> "Examples":
        """Return the examples of several sets, one after the other, as one part with pixels of their own."""
        return Examples(tuple(part for examples in several for part in examples.parts)).merge()

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pixels [..., *shape], units [...] and mask ([C], or [..., C] where it differs) at `index` [...]."""
        if len(self.parts) == 1:
            return self.parts[0].take(index)
        first = self.parts[0]
        x = first.source.new_empty(*index.shape, *first.source.shape[1:], dtype=first.dtype)
        y = first.y.new_empty(index.shape)
        mask = first.mask.new_empty(*index.shape, first.mask.shape[-1])
        start = 0
        for part in self.parts:
            here = (index >= start) & (index < start + len(part.rows))
            x[here], y[here], mask[here] = part.take(index[here] - start)
            start += len(part.rows)
        return x, y, mask

    def batches(self, size: int = PASS, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, ...]]:
        """Yield every example once, `size` at a time, in order or shuffled. The last batch may be smaller."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        for index in order.to(self.parts[0].y.device).split(size):
            yield self.take(index)

    def select(self, index: Tensor) -> "Examples":
        """Return the examples at `index` [M] with pixels of their own, for a memory that must outlive the task."""
        x, y, mask = self.take(index)
        return Examples((Part(x, torch.arange(len(y), device=y.device), y, mask.expand(len(y), -1).clone()),))

    def merge(self) -> "Examples":
        """Return the same examples as one part, with pixels of their own."""
        return self.select(torch.arange(len(self), device=self.parts[0].y.device))

    def repeat(self, times: int) -> "Examples":
        """Return all examples `times` times, as one part: a batch costs as much as one of each example once."""
        (part,) = self.merge().parts
        return Examples((part.only(torch.arange(len(self), device=part.y.device).repeat(times)),))

    def to(self, device: torch.device, moved: dict[int, Tensor] | None = None) -> "Examples":
        """Return the same examples on `device`. `moved` holds, by id, the tensors that have been moved before."""
        moved = {} if moved is None else moved
        return Examples(tuple(_to(part, device, moved) for part in self.parts))

    def of_each(self, n: int) -> tuple["Examples", ...]:
        """Return the examples of each of n replicas."""
        return (self,) * n

    def spread(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return pixels x of `batches` as a network at theta [..., P] takes them: [..., N, *shape]."""
        return x.expand(*theta.shape[:-1], *x.shape)


@dataclass(frozen=True)
class Stacked(Examples):
    """Hold N examples of each of R replicas. `parts` are those of the first, and so are `y` and the number N.

    An index [R, B] is one for each replica, an index [B] is the same for all. Batches have the axis R.
    """

    replicas: tuple[Examples, ...]

    @classmethod
    def of(cls, replicas: Sequence[Examples]) -> "Stacked":
        """Stack the examples of several replicas. UserError says why they cannot be stacked."""
        first, *others = replicas
        if any(len(other) != len(first) or len(other.parts) != len(first.parts) for other in others):
            raise UserError(f"replicas have other numbers of examples: {[len(each) for each in replicas]}")
        own = (part.mask for part in first.parts)
        for masks in zip(own, *([part.mask for part in other.parts] for other in others), strict=True):
            if not all(torch.equal(mask, masks[0]) for mask in masks):
                raise UserError("replicas train other output units")
        shared = tuple(Examples(tuple(map(_with_source_of, each.parts, first.parts))) for each in replicas)
        return cls(shared[0].parts, shared)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        indices = index.expand(len(self.replicas), -1) if index.dim() == 1 else index
        x, y, masks = zip(*(own.take(at) for own, at in zip(self.replicas, indices, strict=True)), strict=True)
        return torch.stack(x), torch.stack(y), masks[0] if masks[0].dim() == 1 else torch.stack(masks)

    def to(self, device: torch.device, moved: dict[int, Tensor] | None = None) -> "Stacked":
        moved = {} if moved is None else moved
        replicas = tuple(each.to(device, moved) for each in self.replicas)
        return Stacked(replicas[0].parts, replicas)

    def of_each(self, n: int) -> tuple[Examples, ...]:
        return self.replicas

    def spread(self, x: Tensor, theta: Tensor) -> Tensor:
        return x


def _with_source_of(part: Part, other: Part) -> Part:
    """Return the part with the other's pixels in place of equal ones of its own."""
    return replace(part, source=other.source) if torch.equal(part.source, other.source) else part


@dataclass(frozen=True)
class Task:
    """A task has a scenario, a place in the stream (from 0), class labels in unit order, and training examples.

    own_units: whether replayed examples keep the mask of their own task (task-IL; class-IL under `current`). Otherwise
    they take the mask of the task that replays them.
    """

    scenario: str
    index: int
    classes: tuple[int, ...]
    train: Examples
    own_units: bool

    @property
    def units(self) -> Tensor:
        """Return the units that the task's loss may use."""
        return units_of(self.train.parts[0].mask)

    def remask(self, memory: Examples) -> Examples:
        """Return examples of earlier tasks with the mask that they are trained with in this task."""
        if self.own_units:
            return memory
        mask = self.train.parts[0].mask
        return Examples(tuple(replace(part, mask=mask) for part in memory.parts))

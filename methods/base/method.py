"""A method is what it adds to fine-tuning, in hooks. With the hooks as they are here, it is fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base.errors import UserError
from methods.base.examples import SCENARIOS
from methods.base.net import by_replica
from methods.base.options import Need, check_options
from methods.base.quadratic import Quadratic
from methods.base.state import Stateful


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean negative log-likelihood [...] of units y [..., B] under logits [..., B, C]."""
    if logits.dim() == 2:
        return F.cross_entropy(logits, y)
    losses = F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none")
    return losses.view(y.shape).mean(-1)


@dataclass
class Method(Stateful):
    """Train by fine-tuning. A method changes this through the hooks.

    theta [..., P] is the network as a vector, so Adam counts its steps once for all heads. Hooks get detached tensors
    and must copy what they keep. Only `loss` and `penalty` may see a theta that carries gradient. A hook sees the
    training data of the current task, never test data and never a later task. Dataclass fields are the hyper-parameters
    and nothing else. Their types say which values they take (methods/base/options.py).
    """

    strength: ClassVar[str | None] = None  # the field that scales the method; at 0 it is fine-tuning, to the bit
    presets: ClassVar[dict[str, dict]] = {}  # options by which other code differs, by the name of that code
    needs: ClassVar[dict[str, Need]] = {}  # what an option needs beside it to have an effect
    scenarios: ClassVar[tuple[str, ...]] = SCENARIOS
    joins_tasks: ClassVar[bool] = False  # trains once, on all tasks together
    stacks: ClassVar[bool] = True  # can train several seeds at once, theta [R, P]; False: keeps the memory of one run
    likelihood: ClassVar[object] = None  # whose -log the method's own loss is (methods/importance/likelihoods.py)

    def __post_init__(self):
        check_options(self)

    def overrides(self, hook: str) -> bool:
        """Say whether the method has a hook of its own. A loop leaves out what only such a hook needs."""
        return getattr(type(self), hook) is not getattr(Method, hook)

    @property
    def n_parameters(self) -> int:
        """Return how many parameters the network has, with those that are no longer trained."""
        return self.net.n_parameters

    @property
    def added(self) -> list[int] | None:
        """Return how many units were added to each hidden layer. None: the method adds none."""
        return None

    @property
    def wants_squares(self) -> bool:
        """Say whether `after_squares` does anything. Only then does the loop compute the squares."""
        return self.overrides("after_squares")

    def begin(self, net, theta: Tensor, rng: Callable[[str, int, int], torch.Generator]) -> None:
        """Begin a run, before all else. rng(role, task, replica) is a generator that no other component draws from."""
        if theta.dim() > 1 and not self.stacks:
            raise UserError(
                f"{type(self).__name__} keeps the memory of one run and cannot train R = {len(theta)} stacked replicas"
                ": run one process per seed"
            )
        self.net, self.rng = net, rng
        self.quadratic: Quadratic | None = None

    def state(self) -> dict:
        """Return what the hooks have kept between two tasks: every attribute but the options, the network and `rng`.

        `restore` goes on from it after `begin`. A method that keeps anything else overrides both. So does one that
        grows: `restore` makes its `net` again, as it was after the last task.
        """
        given = {field.name for field in fields(self)} | {"net", "rng"}
        return {name: value for name, value in super().state().items() if name not in given}

    def check_stream(self, n_tasks: int, n_classes: int) -> None:
        """Refuse, before training, a stream that the options cannot serve. n_classes: those of its tasks, added up."""

    def generators(self, role: str, theta: Tensor, task) -> list[torch.Generator]:
        """Return the generators of this task for `role`, one for each replica of theta [..., P]."""
        replicas = 1 if theta.dim() == 1 else len(theta)
        return [self.rng(role, task.index, replica) for replica in range(replicas)]

    def by_replica(self, function: Callable[..., Tensor], role: str, theta: Tensor, task) -> Tensor:
        """Return function(theta [P], training examples, generator for `role`) of each replica of theta [..., P]."""
        generators = self.generators(role, theta, task)
        return by_replica(function, theta, task.train.of_each(len(generators)), generators)

    def grow(self, net, theta: Tensor, task):
        """Return the network and the theta [..., P] to train from now on. This is called before `before_task`.

        The loop sets `self.net`. A theta that is not the one given gets a fresh optimiser.
        """
        return net, theta

    def next_phase(self, net, theta: Tensor, task):
        """Return None, or the network and theta [..., P] of one more phase of training in this task, and its steps.

        This is called after each phase; the first one is that of `grow`. A phase has a fresh optimiser and, where its
        steps are None, as many steps as the training says. `before_task` begins each phase.
        """
        return None

    def before_task(self, theta: Tensor, task):
        """Return the task to train on. This is called before the first batch of a task."""
        return task

    def before_batch(self, index: Tensor) -> None:
        """Note the indices [..., B] of the next batch in the training set. Loops without indices skip this hook."""

    def loss(self, theta: Tensor, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return the task loss [...], the mean cross entropy of the batch over the units that the mask allows."""
        return cross_entropy(self.net(theta, x, train=True) + mask, y)

    def after_backward(self, theta: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient [..., P] to descend. `grad` is the gradient of the task loss alone."""
        return grad

    def after_squares(self, add_to: Callable[[Tensor], None]) -> None:
        """Take the batch's mean of each example's squared gradient of the task loss, before the step.

        add_to(total) adds it to total [..., P], in float32 or better. It may be called once.
        """

    def penalty(self, theta: Tensor) -> Tensor | None:
        """Return what is added to the task loss [...], or None. `add_penalty_grad` has its gradient in closed form."""
        return self.quadratic.value(theta) if self.quadratic else None

    def add_penalty_grad(self, theta: Tensor, grad: Tensor) -> Tensor:
        """Return grad + d penalty / d theta [..., P]. `grad` itself does not change."""
        return self.quadratic.add_gradient(theta, grad) if self.quadratic else grad

    def shrink(self, theta: Tensor, lr: float) -> None:
        """Take the proximal step of size lr, in place and after the optimiser, for a penalty that has no gradient."""

    def after_step(self, old: Tensor, new: Tensor, grad: Tensor) -> None:
        """Note the optimiser's step from `old` to `new`. `grad` is the gradient of the task loss alone."""

    def after_task(self, theta: Tensor, task) -> None:
        """End a task after its last batch. `task` is the stream's own, without what `before_task` added.

        An importance must be finite also where no step was taken since `before_task`.
        """

    def predict(self, theta: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Return the unit [..., N] that has the largest allowed logit. Among equals it is the lowest unit."""
        return (self.net(theta, x) + mask).argmax(-1)

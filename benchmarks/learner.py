"""The training loop is the only place where training happens.

The gradients of the task loss and of the penalty are taken separately and added here. So no method has to compute one
again. SI and RWalk need the gradient of the task loss by definition.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from benchmarks import models
from benchmarks.checkpoint import Checkpoint
from benchmarks.evaluation import correct_in, evaluate
from benchmarks.stream import Stream
from benchmarks.trace import Trace
from methods.base.errors import UserError, check_either
from methods.base.net import Net, Point
from methods.base.options import Count, Positive, check_options
from methods.base.rng import derive
from methods.importance.training_pass import Squares

MOMENTUM = 0.9
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=MOMENTUM),
    "adam": torch.optim.Adam,
    "adagrad": torch.optim.Adagrad,
}
# An SGD step overshoots a quadratic of curvature a if lr * a is above 2 (1 + momentum) (Polyak, 1964).
STABLE = {"sgd": 2.0, "momentum": 2 * (1 + MOMENTUM)}
CHECK_EVERY = 100  # steps between looks at the loss, because a look waits for the device


class Diverged(FloatingPointError):
    """Training left the finite numbers. The run is recorded as failed, with this reason."""


@dataclass(frozen=True)
class Train:
    """Say how a network is trained. Exactly one of epochs and steps is given. They count in each task.

    optimizer: "momentum" is SGD with momentum 0.9. Adam counts its steps once for all heads (methods/base/method.py).
    optimizer_state: "keep" or "reset" the optimiser's moments when a task begins. Papers differ; this moves results.
    curve: how many batches of each task are followed by a measurement of that task. One precedes the first. None: none.
    measured: after each task, measure all test sets, or those of the tasks learnt so far, in half of the time.
    """

    net: str
    optimizer: Literal[*OPTIMIZERS]
    lr: Positive
    optimizer_state: Literal["keep", "reset"]
    batch: Count
    epochs: Count | None = None
    steps: Count | None = None
    curve: Count | None = None
    measured: Literal["all", "learnt"] = "all"

    def __post_init__(self):
        models.parse(self.net)
        check_options(self)
        check_either(epochs=self.epochs, steps=self.steps)

    def make_optimizer(self, theta: Tensor) -> torch.optim.Optimizer:
        """Return a fresh optimiser of theta. It runs one fused kernel on the one vector."""
        return OPTIMIZERS[self.optimizer]([theta], lr=self.lr, fused=True)


def start(
    method,
    streams: Sequence[Stream],
    train: Train,
    seeds: tuple[int, ...],
    device: str,
    trace: Trace,
    checkpoint: Checkpoint | None = None,
) -> int:
    """Train a fresh network from each seed on its stream, as `train` says, by `learn`: one, or several stacked.

    Return the final number of parameters of one. UserError says why networks or streams cannot be stacked.
    """
    if method.joins_tasks:
        steps = train.steps and train.steps * len(streams[0].tasks)
        streams, train = [stream.joined() for stream in streams], replace(train, steps=steps)
    stream = Stream.stacked(streams)
    nets = [network(train.net, stream, seed, device) for seed in seeds]
    if len(seeds) > 1 and models.keeps_or_draws(nets[0].module):
        raise UserError(f"replicas of {train.net} would share batch statistics, or what dropout draws from")
    thetas = [net.vector() for net in nets]
    theta = thetas[0] if len(seeds) == 1 else torch.stack(thetas)
    learn(method, nets[0], theta, stream.to(device), train, seeds, trace, checkpoint)
    return method.n_parameters


def network(spec: str, stream: Stream, seed: int, device: str = "cpu") -> Net:
    """Return a network for the stream, with the first weights of a seed."""
    shape = stream.tests[0].parts[0].source.shape[1:]
    return Net(models.build(spec, shape, stream.n_units, derive(seed, "init")).to(device))


def learn(
    method,
    net: Net,
    theta: Tensor,
    stream: Stream,
    train: Train,
    seeds: tuple[int, ...],
    trace: Trace | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[list[list], Tensor]:
    """Train theta [P] (one seed) or [R, P] (R seeds) on the stream. Return (correct, theta).

    correct [T + 1][T] says how many test examples of task j are right after k tasks. An entry is an integer, a list of
    R, or None where it is not applicable (metrics.py). Row 0 is before training. With a checkpoint, the run goes on
    after the last task that the checkpoint holds, and leaves its state after each task.
    """
    trace = trace or Trace()
    theta = theta.detach().clone()
    method.check_stream(stream.n_tasks, stream.n_classes)
    method.begin(net, theta.clone(), lambda role, task, replica=0: trace.generator(seeds[replica], role, task))
    optimizer = train.make_optimizer(theta)
    T = max([len(stream.tests), *(task.index + 1 for task in stream.tasks[-1:])])
    trace.correct = correct = [[None] * len(stream.tests) for _ in range(T + 1)]
    trace.curve = [[None] * (train.curve + 1) for _ in stream.tests] if train.curve else None
    done, saved = 0, checkpoint and checkpoint.load(theta.device)
    if saved:
        done = saved["tasks"]
        theta, optimizer = _restore(saved, method, train, trace)
        correct = trace.correct
    else:
        correct[0] = trace.time("evaluation", evaluate, method, theta, stream, 0, train.measured)
    for k, task in enumerate(stream.tasks[done:], done + 1):
        method.net, grown = trace.time("training", method.grow, method.net, theta, task)
        if train.optimizer_state == "reset" or grown is not theta:
            theta = grown
            optimizer = train.make_optimizer(theta)
        generators = [trace.generator(seed, "batches", task.index) for seed in seeds]
        _seed_dropout(trace.generator(seeds[0], "dropout", task.index).initial_seed(), theta.device)
        trace.warn_once(beyond_stable_step(method, train))
        watch = partial(_watch, method, theta, stream, task.index, trace)
        trace.time("training", fit, method, theta, task, optimizer, train, generators, watch)
        while phase := trace.time("training", method.next_phase, method.net, theta, task):
            method.net, theta, steps = phase
            optimizer = train.make_optimizer(theta)
            length = train if steps is None else replace(train, epochs=None, steps=steps)
            trace.time("training", fit, method, theta, task, optimizer, length, generators)
        with torch.no_grad():
            trace.time("importance", method.after_task, theta.clone(), task)
        seen = task.index + 1
        correct[seen] = trace.time("evaluation", evaluate, method, theta, stream, seen, train.measured)
        trace.weigh(method)
        if checkpoint:
            checkpoint.save(_state(k, method, theta, optimizer, trace))
    return correct, theta


def _seed_dropout(seed: int, device: torch.device) -> None:
    """Seed what dropout draws from on `device`.

    Where no accelerator is in use, torch.manual_seed notes a stack trace for each kind of accelerator at every call.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def beyond_stable_step(method, train: Train) -> str | None:
    """Return a warning if the penalty is too steep for the optimiser's step: SGD then moves away from m."""
    if method.quadratic is None or train.optimizer not in STABLE:
        return None
    reach, limit = train.lr * method.quadratic.steepest, STABLE[train.optimizer]
    if reach <= limit:
        return None
    return (
        f"the penalty is beyond the stable step of {train.optimizer}: lr x strength x largest importance is "
        f"{reach:.3g}, above {limit:g}; lower one of them"
    )


def _state(tasks: int, method, theta: Tensor, optimizer, trace: Trace) -> dict:
    """Return the state of a run after so many tasks."""
    return {
        "tasks": tasks,
        "theta": theta,
        "buffers": dict(method.net.module.named_buffers()),
        "optimizer": optimizer.state_dict(),
        "method": method.state(),
        "trace": vars(trace),
    }


def _restore(saved: dict, method, train: Train, trace: Trace) -> tuple[Tensor, torch.optim.Optimizer]:
    """Put a run back to its state. Return theta, which may have grown since the run began, and its optimiser."""
    method.restore(saved["method"])
    for name, buffer in method.net.module.named_buffers():
        buffer.copy_(saved["buffers"][name])
    theta = saved["theta"]
    optimizer = train.make_optimizer(theta)
    optimizer.load_state_dict(saved["optimizer"])
    vars(trace).update(saved["trace"])
    return theta, optimizer


def _watch(method, theta: Tensor, stream: Stream, k: int, trace: Trace, step: int) -> None:
    """Measure task k after `step` batches of it, if the run asks for it."""
    if trace.curve and step < len(trace.curve[k]):
        trace.curve[k][step] = trace.time("evaluation", correct_in, method, theta, stream, k + 1, [k])[0]


def fit(
    method,
    theta: Tensor,
    task,
    optimizer,
    train: Train,
    generators: list[torch.Generator],
    watch: Callable[[int], None] = lambda step: None,
) -> None:
    """Train theta in place on one task. `watch(n)` is called before the first step, n = 0, and after each."""
    data = method.before_task(theta.clone(), task).train
    old, point = theta.clone(), Point(method.net, theta)
    squares = Squares(method.net) if method.wants_squares else None
    watch(0)
    for step, index in enumerate(batches(len(data), train, generators, theta)):
        method.before_batch(index)
        loss = _step(method, theta, point, old, data.take(index), optimizer, squares)
        if step % CHECK_EVERY == 0 and not bool(loss.isfinite().all()):
            raise Diverged(f"the loss is not finite at step {step} of task {task.index + 1}")
        watch(step + 1)
    if not bool(theta.isfinite().all()):
        raise Diverged(f"a parameter is not finite after task {task.index + 1}")


def _step(method, theta: Tensor, point: Point, old: Tensor, batch: tuple, optimizer, squares: Squares | None) -> Tensor:
    """Take one step of theta in place. Return its loss [...].

    The graph is freed on return, so that the next step finds its memory in the cache.
    """
    x, y, mask = batch
    with squares.watch(theta, x) if squares else nullcontext():
        loss = method.loss(point.variable, x, y, mask)
    grad = method.after_backward(theta, point.gradient(loss))
    theta.grad = method.add_penalty_grad(theta, grad)
    if squares:
        method.after_squares(lambda total: squares.add_mean(total, theta, x, y, mask))
    if method.overrides("after_step"):
        old.copy_(theta)
    optimizer.step()
    method.shrink(theta, optimizer.param_groups[0]["lr"])
    if method.overrides("after_step"):
        method.after_step(old, theta, grad)
    theta.grad = None
    return loss.detach()


def batches(n: int, train: Train, generators: list[torch.Generator], theta: Tensor) -> Iterator[Tensor]:
    """Yield shuffled batches of n examples, by index, epoch after epoch. An epoch's last batch may be smaller.

    Each replica has an order of its own: indices are [B] for theta [P] and [R, B] for theta [R, P].
    """
    per_epoch = math.ceil(n / train.batch)
    steps = train.steps if train.steps is not None else train.epochs * per_epoch
    for step in range(steps):
        position = step % per_epoch
        if position == 0:
            orders = [torch.randperm(n, generator=generator) for generator in generators]
            order = (orders[0] if theta.dim() == 1 else torch.stack(orders)).to(theta.device)
        yield order[..., position * train.batch : (position + 1) * train.batch]

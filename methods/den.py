"""Dynamically expandable networks (Yoon et al., 2018, algorithms 1 to 4), for a perceptron with the layers 1..L.

The first task is learnt with an L1 penalty (eq. 2): min L + l1 sum |W|. Each later task t begins at W^{t-1}:

    select   min L + l1 sum |W_L|  over the task's rows of the last layer (eq. 3). A unit is selected if its weight to
             an output of the task, or to a selected unit of the layer above, is not 0: breadth first, to the inputs.
    retrain  min L + l2 ||W_S||^2  over the weights between selected units (eq. 4).
    expand   if L > tau: add k units to each hidden layer, min L + l1 sum |W_N| + group sum_g ||W_g||_2  over their
             weights (eq. 5). A group is what comes into one new unit. Units whose group is 0 are removed.
    drift    min L + drift ||W - W^{t-1}||^2  over all weights (eq. 6).
    split    each unit i of an earlier task with ||w_i - w_i^{t-1}||_2 > sigma gets a copy with w_i, and takes w_i^{t-1}
             back (w_i: what comes into it). Then eq. 6 again, if there is a copy.

The corners of l1 and group are met by proximal steps (methods/growing/proximal.py). What is done to units stands in
methods/growing/units.py. New units and copies bear the stamp t. A prediction for task k uses the units of stamps up to
k. So it needs to know the task, and the method is task-incremental. Each phase lasts as the training says and begins a
fresh optimiser.

Differs from the paper, where the paper is silent: a group holds the unit's bias, so that a unit whose group is 0
computes nothing. A copy has its unit's outgoing weights. New units begin with weights uniform within 1 / sqrt(fan in)
and biases of 0, and have no weights to outputs of other tasks. The last layer is not in eq. 6: other tasks' rows of it
stand still, and the task's own are new.

The authors' code differs (`released`): phase retrain is one batch; selection looks at the first output of a task alone;
of the drifted units it copies k in each layer, those that drifted least; biases of new units begin uniform in [0, 1].
"""

from dataclasses import dataclass
from itertools import compress, pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base.examples import units_of
from methods.base.method import Method, cross_entropy
from methods.base.net import Net
from methods.base.options import Count, NonNegative
from methods.base.quadratic import Quadratic
from methods.growing.perceptron import Layers, layers_of, logits, perceptron, widths
from methods.growing.phases import phase
from methods.growing.proximal import group_shrink, soft_threshold
from methods.growing.units import copy, drifted, expand, prune, select


@dataclass
class DEN(Method):
    """l1, l2, group, drift: strengths. tau: loss above which units are added. k: how many. sigma: drift of a split.

    The defaults of these are the values in the authors' code, in its demo on Permuted MNIST. retrain_steps, output,
    split, bias: see `released`.
    """

    l1: NonNegative = 1e-5
    l2: NonNegative = 1e-4
    group: NonNegative = 1e-3
    drift: NonNegative = 0.5
    tau: NonNegative = 0.01
    k: Count = 10
    sigma: NonNegative = 0.05
    retrain_steps: Count | None = None
    output: Literal["all", "first"] = "all"
    split: Literal["all", "least"] = "all"
    bias: Literal["zero", "uniform"] = "zero"

    scenarios: ClassVar[tuple[str, ...]] = ("task",)
    presets: ClassVar[dict[str, dict]] = {
        "released": {"retrain_steps": 1, "output": "first", "split": "least", "bias": "uniform"}
    }
    stacks: ClassVar[bool] = False

    @property
    def added(self):
        return [sum(stamp > 0 for stamp in stamps) for stamps in self.stamps]

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.sizes = widths("den", net)
        self.stamps = [[0] * n for n in self.sizes[1:-1]]  # of the units of each hidden layer
        self.units: list[list[int]] = []  # of each task so far
        self._forget()

    def grow(self, net, theta, task):
        self.units.append(task.units.tolist())
        (self.draws,) = self.generators("den", theta, task)
        self.before = layers_of(net, theta.clone())  # W^{t-1}
        self._begin("learn" if task.index == 0 else "select", net, theta)
        return net, theta.clone()

    @torch.no_grad()
    def next_phase(self, net, theta, task):
        layers = layers_of(net, theta.clone())
        if self.phase.name == "select":
            self.chosen = select(layers, self.units[-1][: 1 if self.output == "first" else None])
            self._begin("retrain", net, theta)
            return net, theta, self.retrain_steps
        if self.phase.name == "retrain" and self._loss(theta, task) > self.tau:
            expand(layers, self.k, self.units[-1], self.draws, self.bias == "uniform")
            following, new = "expand", [self.k] * len(self.stamps)
        elif self.phase.name in ("retrain", "expand"):
            kept = prune(layers, self.before)
            self.stamps = [[*compress(stamps, keep)] for stamps, keep in zip(self.stamps, kept, strict=True)]
            following, new = "drift", [0] * len(self.stamps)
        elif self.phase.name == "drift" and any(map(len, ids := self._drifted(layers))):
            copy(layers, self.before, ids)
            following, new = "settle", [*map(len, ids)]
        else:
            return None
        self.stamps = [stamps + [task.index] * n for stamps, n in zip(self.stamps, new, strict=True)]
        net = perceptron(layers)
        theta = net.vector()
        self._begin(following, net, theta)
        return net, theta, None

    def after_backward(self, theta, grad):
        return grad * self.phase.trained if self.phase else grad

    def shrink(self, theta, lr):
        if self.phase and self.phase.is_sparse:
            theta.copy_(theta.where(self.phase.sparse == 0, soft_threshold(theta, lr * self.l1)))
        if self.phase and self.phase.name == "expand":
            for (W, b), (old, _) in zip(layers_of(self.net, theta)[:-1], self.before, strict=False):
                new = group_shrink(torch.cat([W[len(old) :], b[len(old) :, None]], dim=1), lr * self.group)
                W[len(old) :], b[len(old) :] = new[:, :-1], new[:, -1]

    def after_task(self, theta, task):
        self._forget()

    def predict(self, theta, x, mask):
        own = units_of(mask).tolist()
        last = self.units.index(own) if own in self.units else len(self.units)
        used = [torch.tensor([stamp <= last for stamp in stamps], device=x.device) for stamps in self.stamps]
        return (logits(layers_of(self.net, theta), x.flatten(1), used) + mask).argmax(-1)

    def restore(self, state):
        super().restore(state)
        sizes = [self.sizes[0], *map(len, self.stamps), self.sizes[-1]]
        like = next(self.net.module.parameters())
        self.net = perceptron([[like.new_zeros(n, m), like.new_zeros(n)] for m, n in pairwise(sizes)])

    def _forget(self) -> None:
        """Keep nothing of a task that is over."""
        self.phase = self.quadratic = self.before = self.chosen = None

    def _begin(self, name: str, net: Net, theta: Tensor) -> None:
        """Begin a phase: what it trains, and its penalty."""
        self.phase = phase(name, net, theta, self.before, self.units[-1], self.chosen)
        self.quadratic = None
        if not self.phase.is_sparse:
            self.quadratic = Quadratic(2 * (self.l2 if name == "retrain" else self.drift))
            self.quadratic.set(self.phase.A, self.phase.m)

    def _loss(self, theta: Tensor, task) -> float:
        sums = [len(y) * cross_entropy(self.net(theta, x) + mask, y) for x, y, mask in task.train.batches()]
        return float(sum(sums)) / len(task.train)

    def _drifted(self, layers: Layers) -> list[Tensor]:
        most = self.k if self.split == "least" else None
        pairs = zip(layers[:-1], self.before[:-1], strict=True)
        return [drifted(W, before, self.sigma)[:most] for (W, _), (before, _) in pairs]

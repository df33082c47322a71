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

The corners of l1 and group are met by proximal steps (methods/base/proximal.py). New units and copies bear the stamp t.
A prediction for task k uses the units of stamps up to k. So it needs to know the task, and the method is
task-incremental. Each phase lasts as the training says and begins a fresh optimiser.

Differs from the paper, where the paper is silent: a group holds the unit's bias, so that a unit whose group is 0
computes nothing. A copy has its unit's outgoing weights. New units have no weights to outputs of other tasks.

The authors' code differs (`released`): phase retrain is one batch; selection looks at the first output of a task alone;
of the drifted units it copies k in each layer, those that drifted least; biases of new units begin uniform in [0, 1].
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor

from methods.base.method import Method, cross_entropy
from methods.base.net import Net
from methods.base.options import Count, NonNegative
from methods.base.perceptron import Layers, layers_of, logits, perceptron, widths
from methods.base.proximal import group_shrink, soft_threshold
from methods.base.quadratic import Quadratic

BATCH = 1000  # examples in one pass for the loss


def select(layers: Layers, outputs: list[int]) -> list[Tensor]:
    """Return which inputs, units of each hidden layer, and outputs lead to these outputs by weights that are not 0."""
    chosen = [torch.zeros(len(layers[-1][0]), dtype=torch.bool, device=layers[-1][0].device)]
    chosen[0][outputs] = True
    for W, _ in reversed(layers):
        chosen.insert(0, (W[chosen[0]] != 0).any(0))
    return chosen


def drifted(W: Tensor, before: Tensor, sigma: float) -> Tensor:
    """Return the units of `before` [n, m] whose incoming weights moved by more than sigma, the least moved first."""
    rho = (W[: before.shape[0], : before.shape[1]] - before).norm(dim=1)
    order = rho.argsort(stable=True)
    return order[rho[order] > sigma]


@dataclass
class DEN(Method):
    """l1, l2, group, drift: strengths. tau: loss above which units are added. k: how many. sigma: drift of a split.

    retrain_steps, output, split, bias: see `released`.
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

    @property
    def added(self):
        return [sum(stamp > 0 for stamp in stamps) for stamps in self.stamps]

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.refuse_replicas(theta)
        self.sizes = widths("den", net)
        self.stamps = [[0] * n for n in self.sizes[1:-1]]  # of the units of each hidden layer
        self.units: list[list[int]] = []  # of each task so far
        self._forget()

    def grow(self, net, theta, task):
        self.units.append((task.train.parts[0].mask.view(-1, self.sizes[-1])[0] == 0).nonzero().flatten().tolist())
        (self.draws,) = self.generators("den", theta, task)
        self.before = layers_of(net, theta.clone())  # W^{t-1}
        self._phase(net, theta, "learn" if task.index == 0 else "select")
        return net, theta.clone()

    @torch.no_grad()
    def next_phase(self, net, theta, task):
        layers = layers_of(net, theta.clone())
        if self.phase == "select":
            self.chosen = select(layers, self.units[-1][: 1 if self.output == "first" else None])
            self._phase(net, theta, "retrain")
            return net, theta, self.retrain_steps
        if self.phase == "retrain" and self._loss(theta, task) > self.tau:
            net = self._expanded(layers, task.index)
            following = "expand"
        elif self.phase in ("retrain", "expand"):
            net = self._pruned(layers)
            following = "drift"
        elif self.phase == "drift" and any(map(len, ids := self._drifted(layers))):
            net = self._copied(layers, ids, task.index)
            following = "settle"
        else:
            return None
        theta = net.vector()
        self._phase(net, theta, following)
        return net, theta, None

    def after_backward(self, theta, grad):
        return grad if self.trained is None else grad * self.trained

    def shrink(self, theta, lr):
        if self.sparse is not None:
            theta.copy_(theta.where(self.sparse == 0, soft_threshold(theta, lr * self.l1)))
        if self.phase == "expand":
            for (W, b), (old, _) in zip(layers_of(self.net, theta)[:-1], self.before, strict=False):
                new = group_shrink(torch.cat([W[len(old) :], b[len(old) :, None]], dim=1), lr * self.group)
                W[len(old) :], b[len(old) :] = new[:, :-1], new[:, -1]

    def after_task(self, theta, task):
        self._forget()

    def predict(self, theta, x, mask):
        own = (mask == 0).nonzero().flatten().tolist()
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
        self.phase, self.quadratic = "", None
        self.before = self.chosen = self.trained = self.sparse = None

    def _phase(self, net: Net, theta: Tensor, name: str) -> None:
        """Set what a phase trains (trained, 1 or 0), what L1 is of (sparse, 1 or 0), and the quadratic penalty."""
        own, last = self.units[-1], torch.zeros(self.sizes[-1], 1, dtype=theta.dtype, device=theta.device)
        last[own] = 1
        A, anchor, trained, sparse = (torch.zeros_like(theta) for _ in range(4))
        tables = [layers_of(net, vector) for vector in (A, anchor, trained, sparse)]
        for n, ((a, _), (m, _), (W, b), (s, _), (old, _)) in enumerate(zip(*tables, self.before, strict=True)):
            block = slice(old.shape[0]), slice(old.shape[1])
            if name == "retrain":
                W[:], b[:] = self.chosen[n + 1][:, None] & self.chosen[n], self.chosen[n + 1]
                a.copy_(W)
            elif name == "expand":
                W[:], b[:] = 1, 1
                W[block], b[block[0]] = 0, 0
            elif name != "select" or n == len(self.before) - 1:
                W[:], b[:] = 1, 1
            if name in ("drift", "settle"):
                a[block], m[block] = 1, old
            if name in ("learn", "select", "expand"):
                s.copy_(W)
        for W, b in (table[-1] for table in tables):  # of the last layer, the task's own rows; those are new
            W.mul_(last)
            b.mul_(last[:, 0])
        if name in ("drift", "settle"):
            tables[0][-1][0].zero_()
        self.phase, self.trained = name, trained
        self.sparse = sparse if name in ("learn", "select", "expand") else None
        self.quadratic = (
            None if self.sparse is not None else Quadratic(2 * (self.l2 if name == "retrain" else self.drift))
        )
        if self.quadratic:
            self.quadratic.set(A, anchor)

    def _loss(self, theta: Tensor, task) -> float:
        sums = [len(y) * cross_entropy(self.net(theta, x) + mask, y) for x, y, mask in task.train.batches(BATCH)]
        return float(sum(sums)) / len(task.train)

    def _expanded(self, layers: Layers, stamp: int) -> Net:
        """Return the network with k more units in each hidden layer."""

        def draw(n: int, m: int, fan_in: int) -> Tensor:
            u = torch.rand(n, m, generator=self.draws, dtype=layers[0][0].dtype).to(layers[0][0].device)
            return (2 * u - 1) / fan_in**0.5

        for n, (W, b) in enumerate(layers):
            fan_in = W.shape[1] + (self.k if n else 0)
            if n:
                W = torch.cat([W, draw(len(W), self.k, fan_in)], dim=1)
            if n < len(layers) - 1:
                new_b = torch.rand(self.k, generator=self.draws, dtype=b.dtype).to(b.device)
                W = torch.cat([W, draw(self.k, W.shape[1], fan_in)])
                b = torch.cat([b, new_b if self.bias == "uniform" else torch.zeros_like(new_b)])
                self.stamps[n] += [stamp] * self.k
            else:
                others = [row for row in range(len(W)) if row not in self.units[-1]]
                W[others, -self.k :] = 0
            layers[n] = [W, b]
        return perceptron(layers)

    def _pruned(self, layers: Layers) -> Net:
        """Return the network without those new units whose group is 0."""
        for n, (W, b) in enumerate(layers[:-1]):
            keep = (W != 0).any(1) | (b != 0)
            keep[: len(self.before[n][0])] = True
            layers[n] = [W[keep], b[keep]]
            layers[n + 1][0] = layers[n + 1][0][:, keep]
            self.stamps[n] = [stamp for stamp, kept in zip(self.stamps[n], keep.tolist(), strict=True) if kept]
        return perceptron(layers)

    def _drifted(self, layers: Layers) -> list[Tensor]:
        most = self.k if self.split == "least" else None
        pairs = zip(layers[:-1], self.before[:-1], strict=True)
        return [drifted(W, before, self.sigma)[:most] for (W, _), (before, _) in pairs]

    def _copied(self, layers: Layers, ids: list[Tensor], stamp: int) -> Net:
        """Return the network with copies of the units `ids` of each hidden layer. The units take W^{t-1} back."""
        for n, i in enumerate(ids):
            (W, b), (before, before_b) = layers[n], self.before[n]
            layers[n] = [torch.cat([W, W[i]]), torch.cat([b, b[i]])]
            layers[n][0][i, : before.shape[1]], layers[n][1][i] = before[i], before_b[i]
            layers[n + 1][0] = torch.cat([layers[n + 1][0], layers[n + 1][0][:, i]], dim=1)
            self.stamps[n] += [stamp] * len(i)
        return perceptron(layers)

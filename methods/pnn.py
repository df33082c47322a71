"""Progressive networks (Rusu et al., 2016), in the form of the code of A-GEM (Chaudhry et al., 2019).

Task t gets a network of its own, column t. Each of its layers l also sees what the earlier columns feed into theirs:

    h^t_l = relu( W^t_l h^t_{l-1} + b^t_l  +  sum_{s<t} (U^ts_l h^s_{l-1} + b^ts_l) )        h^s_0 = x

The last layer has no ReLU, and as many outputs as the task has classes. Training changes W^t, U^ts and their biases.
The earlier columns are constants, so nothing is forgotten. Column k answers for task k, so a prediction needs to know
the task. Thus the method is task-incremental, also where all tasks have the same classes. A task that has no column yet
gets the first of its units.

Two savings change no result:

- In layer 1 the inputs of all t matrices are x. In every layer the inputs of all t biases are 1. Such t terms have one
  gradient g, and an optimiser that works number by number takes one step d for each of them. So theta holds their mean.
  The layer multiplies the mean by t and descends g. Then the layer's sum moves by t d, as it would with t terms.
- What the earlier columns compute of a task's examples is constant. It is kept through the task, if it fits in `KEPT`.

Differs from the paper: the lateral connections have no adapter, no scale and no ReLU of their own. The input layer has
them, too. All columns are drawn here, the first one as well: normal weights of deviation std, cut at two deviations,
and one value for all biases. The network that is given says the sizes alone. Each column has a fresh optimiser.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.base.examples import Examples
from methods.base.method import Method
from methods.base.net import Net
from methods.base.options import Positive
from methods.base.perceptron import widths

SLICE = 5000  # examples in one pass through the earlier columns
KEPT = 2**31  # bytes of kept activations; beyond it they are computed batch by batch

ASKED = 8  # batches of a test set whose activations are kept while its task is trained

Column = list[Tensor]  # weights and biases in turn, layer after layer


def times(t: int, y: Tensor) -> Tensor:
    """Return t y with the gradient of y: the sum of t equal terms, of which one is trained for all."""
    return y + (t - 1) * y.detach()


def run(column: Column, x: Tensor, below: list[list[Tensor]]) -> list[Tensor]:
    """Return h_l [N, width] of each layer of column t on x [N, D]. The last are its logits.

    below[l] [N, ...] are the activations of the columns 1..t-1 at hidden layer l, in any number of pieces.
    """
    t, outputs = len(column[2][0]) // len(column[0]), []
    for layer, (W, b) in enumerate(zip(column[::2], column[1::2], strict=True)):
        if layer == 0:
            z = times(t, F.linear(x, W, b))
        else:
            z = F.linear(torch.cat([outputs[-1], *below[layer - 1]], dim=-1), W) + times(t, b)
        outputs.append(z.relu() if 2 * layer + 2 < len(column) else z)
    return outputs


def hidden(columns: list[Column], x: Tensor) -> list[list[Tensor]]:
    """Return h_l [N, width] of the hidden layers of all columns: by layer, then by column."""
    below: list[list[Tensor]] = [[] for _ in range(len(columns[0]) // 2 - 1)] if columns else []
    for column in columns:
        for layer, h in zip(below, run(column, x, below), strict=False):
            layer.append(h)
    return below


class Progressive(nn.Module):
    """Give logits [N, C] by the newest column: 0 for the units of other tasks. The earlier columns are constants."""

    def __init__(self, earlier: list[Column], newest: Column, units: list[int], n_units: int):
        super().__init__()
        self.earlier, self.units, self.n_units = earlier, units, n_units
        self.newest = nn.ParameterList(newest)
        self.kept: list[Tensor] | None = None  # h_l [N, (t - 1) width] of the earlier columns on the task's examples
        self.index: Tensor | None = None  # which of them the next batch holds
        self.asked: list[tuple] = []  # the last inputs predicted, and the earlier columns' activations on them

    def forward(self, x: Tensor) -> Tensor:
        index, self.index = self.index, None
        x = x.flatten(1)
        below = self._below(x) if index is None else [[h[index]] for h in self.kept]
        logits = run(list(self.newest), x, below or [[]] * len(self.newest))[-1]
        return logits.new_zeros(len(x), self.n_units).index_copy(1, torch.tensor(self.units, device=x.device), logits)

    def _below(self, x: Tensor) -> list[list[Tensor]]:
        """Return the activations of the earlier columns. A learning curve asks for those of one test set many times."""
        if torch.is_grad_enabled():
            return hidden(self.earlier, x)
        found = next((below for known, below in self.asked if torch.equal(known, x)), None)
        if found is None:
            found = hidden(self.earlier, x)
            self.asked = [*self.asked, (x, found)][-ASKED:]
        return found

    @torch.no_grad()
    def keep(self, examples: Examples) -> None:
        """Compute the activations of the earlier columns on all examples, if there are such columns and room."""
        sizes = [len(b) for b in self.newest[1:-2:2]]
        width = len(self.earlier) * sum(sizes)
        if not width or width * len(examples) * self.newest[0].element_size() > KEPT:
            return
        self.kept = [self.newest[0].new_empty(len(examples), len(self.earlier) * size) for size in sizes]
        for start, (x, _, _) in zip(range(0, len(examples), SLICE), examples.batches(SLICE), strict=True):
            for all_h, h in zip(self.kept, hidden(self.earlier, x.flatten(1)), strict=True):
                torch.cat(h, dim=-1, out=all_h[start : start + len(x)])


@dataclass
class PNN(Method):
    """std, bias: of the weights of a new column, and what its biases are."""

    std: Positive = 0.1
    bias: float = 0.1

    scenarios: ClassVar[tuple[str, ...]] = ("task",)

    @property
    def n_parameters(self):
        return sum(p.numel() for column in self.columns for p in column)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.refuse_replicas(theta)
        self.sizes = widths("pnn", net)  # of inputs, hidden layers and outputs of the network that was given
        self.columns: list[Column] = []  # of the tasks that are learnt
        self.units: list[list[int]] = []  # of each task so far

    def grow(self, net, theta, task):
        self.units.append((task.train.parts[0].mask.view(-1, self.sizes[-1])[0] == 0).nonzero().flatten().tolist())
        net = self._net(self.columns, [p.to(theta) for p in self._draw(theta, task)])
        return net, net.vector()

    def before_task(self, theta, task):
        self.net.module.keep(task.train)
        return task

    def before_batch(self, index):
        if self.net.module.kept:
            self.net.module.index = index

    def after_task(self, theta, task):
        self.columns.append([piece.clone() for piece in self.net.views(theta).values()])
        self.net.module.kept, self.net.module.asked = None, []

    def predict(self, theta, x, mask):
        units = (mask == 0).nonzero().flatten()
        if units.tolist() not in self.units:
            return units[:1].expand(len(x))
        k = self.units.index(units.tolist())
        if k == len(self.columns):  # it is being trained
            return super().predict(theta, x, mask)
        x = x.flatten(1)
        return units[run(self.columns[k], x, hidden(self.columns[:k], x) or [[]] * len(self.sizes))[-1].argmax(-1)]

    def restore(self, state):
        super().restore(state)
        if self.columns:
            self.net = self._net(self.columns[:-1], self.columns[-1])

    def _net(self, earlier: list[Column], newest: Column) -> Net:
        return Net(Progressive(list(earlier), newest, self.units[-1], self.sizes[-1]))

    def _draw(self, theta: Tensor, task) -> Column:
        """Return a new column. Its layer 1 is the mean of one matrix for itself and one for each earlier column."""
        (draws,) = self.generators("column", theta, task)
        t, column = len(self.columns) + 1, []
        sizes = [*self.sizes[:-1], len(self.units[-1])]
        for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
            W = torch.empty(t, n_out, n_in, dtype=theta.dtype)
            nn.init.trunc_normal_(W, std=self.std, a=-2 * self.std, b=2 * self.std, generator=draws)
            column.append(W.mean(0) if layer == 0 else torch.cat(list(W), dim=-1))
            column.append(torch.full((n_out,), float(self.bias), dtype=theta.dtype))
        return column

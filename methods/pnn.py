"""Progressive networks (Rusu et al., 2016), in the form of the code of A-GEM (Chaudhry et al., 2019).

Task t gets a network of its own, column t. Each of its layers l also sees what the earlier columns feed into theirs:

    h^t_l = relu( W^t_l h^t_{l-1} + b^t_l  +  sum_{s<t} (U^ts_l h^s_{l-1} + b^ts_l) )        h^s_0 = x

The last layer has no ReLU, and as many outputs as the task has classes. Training changes W^t, U^ts and their biases.
The earlier columns are constants, so nothing is forgotten. Column k answers for task k, so a prediction needs to know
the task. Thus the method is task-incremental, also where all tasks have the same classes. A task that has no column yet
gets the first of its units.

The terms that see one input share their gradient, and the earlier columns are computed once a task: two savings that
change no result (methods/growing/columns.py).

Differs from the paper: the lateral connections have no adapter, no scale and no ReLU of their own. The input layer has
them, too. All columns are drawn here, the first one as well: normal weights of deviation std, cut at two deviations,
and one value for all biases. The network that is given says the sizes alone. Each column has a fresh optimiser.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from methods.base.examples import units_of
from methods.base.method import Method
from methods.base.net import Net
from methods.base.options import Positive
from methods.growing.columns import Column, Progressive, answer
from methods.growing.perceptron import widths


@dataclass
class PNN(Method):
    """std, bias: of the weights of a new column, and what its biases are."""

    std: Positive = 0.1
    bias: float = 0.1

    scenarios: ClassVar[tuple[str, ...]] = ("task",)
    stacks: ClassVar[bool] = False

    @property
    def n_parameters(self):
        return sum(p.numel() for column in self.columns for p in column)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.sizes = widths("pnn", net)  # of inputs, hidden layers and outputs of the network that was given
        self.columns: list[Column] = []  # of the tasks that are learnt
        self.units: list[list[int]] = []  # of each task so far

    def grow(self, net, theta, task):
        self.units.append(task.units.tolist())
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
        units = units_of(mask)
        if units.tolist() not in self.units:
            return units[:1].expand(len(x))
        k = self.units.index(units.tolist())
        if k == len(self.columns):  # it is being trained
            return super().predict(theta, x, mask)
        return units[answer(self.columns, k, x.flatten(1)).argmax(-1)]

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

"""Columns of progressive networks: a network for each task, which sees what the earlier ones compute (methods/pnn.py).

    h^t_l = relu( W^t_l h^t_{l-1} + b^t_l  +  sum_{s<t} (U^ts_l h^s_{l-1} + b^ts_l) )        h^s_0 = x

Two savings change no result:

- In layer 1 the inputs of all t matrices are x. In every layer the inputs of all t biases are 1. Such t terms have one
  gradient g, and an optimiser that works number by number takes one step d for each of them. So theta holds their mean.
  The layer multiplies the mean by t and descends g. Then the layer's sum moves by t d, as it would with t terms.
- What the earlier columns compute of a task's examples is constant. It is kept through the task, if it fits in `KEPT`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.base.examples import Examples

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


def answer(columns: list[Column], k: int, x: Tensor) -> Tensor:
    """Return the logits of column k, from 0, on x [N, D]."""
    return run(columns[k], x, hidden(columns[:k], x) or [[]] * (len(columns[k]) // 2))[-1]


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

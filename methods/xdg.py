"""Context-dependent gating, XdG (Masse, Grant and Freedman, 2018), as van de Ven and Tolias compare it: task-IL alone.

    h = relu(g_k * (W x) + b)      for each fully connected hidden layer, g_k in {0, 1}: the gates of task k

For each task and hidden layer int(gated * n) of the n units are drawn, without replacement, and get the gate 0. A gated
unit still gives relu(b), and b is trained. The output layer and convolutions have no gates. With theta as one vector
the network of task k is net(G_k * theta, x), where G_k is 0 on the weights into gated units and 1 elsewhere.

The gates of a task are drawn by its first output unit, so that a task has gates before it is trained.

Differs from the paper, as in the comparisons: it is not combined with a penalty, and the gate comes before the bias.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from methods.base.errors import UserError
from methods.base.method import Method, cross_entropy
from methods.base.options import Share


@dataclass
class XdG(Method):
    """gated: share of the units of each hidden layer that a task does not use."""

    gated: Share

    scenarios: ClassVar[tuple[str, ...]] = ("task",)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.gates: dict[int, list[Tensor]] = {}  # by a task's first unit: of each hidden layer [..., n], as booleans
        self.G = None

    def before_task(self, theta, task):
        x, _, mask = task.train.take(torch.arange(1, device=theta.device))
        self.G = self._expanded(theta, x, mask)
        return task

    def loss(self, theta, x, y, mask):
        return cross_entropy(self.net(self.G * theta, x, train=True) + mask, y)

    def after_task(self, theta, task):
        self.G = None

    def predict(self, theta, x, mask):
        return super().predict(self._expanded(theta, x, mask) * theta, x, mask)

    def _expanded(self, theta: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Return G [..., P] of the task whose units the mask allows."""
        layers = self._hidden(theta, x)
        task = int(mask.view(-1, mask.shape[-1])[0].argmax())
        if task not in self.gates:
            self.gates[task] = self._drawn(theta, task, [layer.out_features for layer in layers.values()])
        G = torch.ones_like(theta)
        views = self.net.views(G)
        for name, gate in zip(layers, self.gates[task], strict=True):
            views[f"{name}.weight"].mul_(gate.unsqueeze(-1))
        return G

    def _hidden(self, theta: Tensor, x: Tensor) -> dict[str, nn.Linear]:
        """Return the hidden layers with gates, by name."""
        last = self.net.last_layer(theta, x)
        trained = [each for each in self.net.module.named_modules() if f"{each[0]}.weight" in self.net.shapes]
        layers = {name: layer for name, layer in trained if isinstance(layer, nn.Linear) and layer is not last}
        if not layers:
            raise UserError("XdG gates fully connected hidden layers, and the net has none: give it one, as in mlp-400")
        return layers

    def _drawn(self, theta: Tensor, task: int, sizes: list[int]) -> list[Tensor]:
        """Return the gates of a task: of each hidden layer [..., n], with True where a unit is in use."""
        replicas = theta.shape[:-1].numel()
        draws = [self.rng("gates", task, replica) for replica in range(replicas)]
        gates = []
        for n in sizes:
            ranks = torch.stack([torch.randperm(n, generator=each) for each in draws])
            gates.append((ranks >= int(self.gated * n)).view(*theta.shape[:-1], n).to(theta.device))
        return gates

"""Methods that add units need to know the layers: they take a multi-layer perceptron and no other network."""

import torch.nn.functional as F
from torch import Tensor, nn

from methods.base.errors import UserError
from methods.base.net import Net

Layers = list[list[Tensor]]  # [W [n_out, n_in], b [n_out]] of each layer


def widths(method: str, net) -> list[int]:
    """Return the sizes of inputs, hidden layers and outputs of a perceptron with ReLU. Refuse another network."""
    layers = [layer for layer in net.module.modules() if not list(layer.children())]
    kinds = [type(layer) for layer in layers if type(layer) is not nn.Flatten]
    linear = [layer for layer in layers if type(layer) is nn.Linear and layer.bias is not None]
    if len(linear) < 2 or kinds != [nn.Linear, nn.ReLU] * (len(linear) - 1) + [nn.Linear]:
        found = ", ".join(kind.__name__ for kind in kinds)
        raise UserError(
            f"{method} needs linear layers with biases and ReLU between, got {found}: take an mlp-<width>-..."
        )
    return [linear[0].in_features, *(layer.out_features for layer in linear)]


def perceptron(layers: Layers) -> Net:
    """Return the network of these layers."""
    module = nn.Sequential(nn.Flatten())
    for W, b in layers:
        linear = nn.utils.skip_init(nn.Linear, W.shape[1], len(W), dtype=W.dtype, device=W.device)
        linear.weight, linear.bias = nn.Parameter(W.clone()), nn.Parameter(b.clone())
        module.extend([linear, nn.ReLU()])
    return Net(module[:-1])


def layers_of(net: Net, vector: Tensor) -> Layers:
    """Return weights and biases of each layer as views of a vector [P]."""
    views = list(net.views(vector).values())
    return [[W, b] for W, b in zip(views[::2], views[1::2], strict=True)]


def logits(layers: Layers, x: Tensor, used: list[Tensor]) -> Tensor:
    """Return logits [N, C] of x [N, D] by the units that are `used` [n] of each hidden layer."""
    below = slice(None)
    for (W, b), use in zip(layers, [*used, slice(None)], strict=True):
        z = F.linear(x, W[use][:, below], b[use])
        x, below = z.relu(), use
    return z

"""Methods that add units need to know the layers: they take a multi-layer perceptron and no other network."""

from torch import nn

from methods.base.errors import UserError


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

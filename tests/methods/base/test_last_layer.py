"""The last layer, whose output is the logits, and the features, which are its input."""

import pytest
import torch
import torchvision.models as vision
from avalanche.models import SimpleCNN, SimpleMLP
from torch import nn
from torch.nn.utils import parametrizations

from methods.base.errors import UserError
from methods.base.net import Net
from tests.support import toy


class Reversed(nn.Module):
    """The classifier is registered before the body."""

    def __init__(self):
        super().__init__()
        self.classifier, self.body = nn.Linear(9, 6), nn.Linear(8, 9)

    def forward(self, x):
        return self.classifier(self.body(x).relu())


def normed():
    return nn.Sequential(nn.Linear(8, 5), parametrizations.spectral_norm(nn.Linear(5, 3)), nn.Dropout(0.5))


@pytest.mark.parametrize(
    ("build", "shape", "name"),
    [
        (Reversed, (8,), "classifier"),
        (lambda: SimpleMLP(num_classes=6, input_size=8, hidden_size=9), (8,), "classifier"),
        (lambda: SimpleCNN(num_classes=3), (3, 32, 32), "classifier.0"),
        (lambda: vision.ShuffleNetV2([1, 1, 1], [4, 8, 8, 8, 8], 3), (3, 32, 32), "fc"),
        (lambda: vision.DenseNet(2, (1, 1), 4, num_classes=3), (3, 16, 16), "classifier"),
        (lambda: vision.VisionTransformer(8, 4, 1, 2, 8, 8, num_classes=3), (3, 8, 8), "heads.head"),
        (lambda: toy.module(toy.stream()).float(), toy.SHAPE, "head"),
        (normed, (8,), "1"),
        (lambda: nn.Linear(8, 3), (8,), ""),
    ],
)
def test_last_layer_is_the_one_whose_output_is_the_logits(build, shape, name):
    """Its input, which `features` gives, and the layer make the logits."""
    torch.manual_seed(0)
    module = build().eval()
    net, x = Net(module), torch.randn(4, *shape)
    layer = net.last_layer(net.vector(), x)
    assert layer is module.get_submodule(name)
    assert not any(each._forward_hooks for each in module.modules())
    torch.testing.assert_close(layer(net.features(net.vector(), x)), module(x), rtol=1e-5, atol=1e-6)


def test_last_layer_of_replicas_is_that_of_one():
    net, x = Net(Reversed()), torch.randn(2, 4, 8)
    theta = net.vector().expand(2, -1)
    assert net.last_layer(theta, x) is net.module.classifier
    torch.testing.assert_close(net.features(theta, x)[1], net.module.body(x[1]).relu())


def test_last_layer_is_looked_for_once():
    net, x, calls = Net(Reversed()), torch.randn(4, 8), []
    net.module.register_forward_pre_hook(lambda *_: calls.append(1))
    for _ in range(3):
        net.last_layer(net.vector(), x)
    assert len(calls) == 1


@pytest.mark.parametrize("after", [nn.LogSoftmax(1), nn.ReLU(inplace=True), nn.Flatten(0)])
def test_last_layer_that_cannot_be_told_is_to_be_named(after):
    module, x = nn.Sequential(nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 3), after), torch.randn(4, 8)
    net = Net(module)
    with pytest.raises(UserError, match="no layer of Sequential gives the logits: call the last layer `head`, or name"):
        net.last_layer(net.vector(), x)
    named = Net(module, head="2")
    assert named.last_layer(named.vector(), x) is module[2]
    torch.testing.assert_close(named.features(named.vector(), x), module[:2](x))


def test_features_of_a_last_layer_that_is_used_twice_are_refused():
    module = Reversed()
    module.forward = lambda x: module.classifier(module.body(x)) + module.classifier(module.body(-x))
    net = Net(module, head="classifier")
    with pytest.raises(UserError, match="uses its last layer 2 times"):
        net.features(net.vector(), torch.randn(4, 8))

"""After a forward pass at theta, what the outputs depend on is theta alone; other modules are refused."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from methods.base.errors import UserError
from methods.base.net import Net


def refused(message, module, **options):
    with pytest.raises(UserError, match=message):
        Net(module, **options)


def test_modules_that_are_no_function_of_one_vector_are_refused():
    two = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    refused("no trainable parameter", nn.Linear(2, 2).requires_grad_(False))
    refused(r"0.bias is torch.float32 and 1.bias is torch.float64: convert", two)
    refused(r"parameter bias is torch.complex64: parameters must be real", nn.Linear(2, 2, dtype=torch.complex64))
    refused("layer 0 has max_norm", nn.Sequential(nn.Embedding(3, 2, max_norm=1.0), nn.Linear(2, 2)))
    refused("layer bag has max_norm", nn.ModuleDict({"bag": nn.EmbeddingBag(3, 2, max_norm=1.0)}))
    refused("no layer 'tail': give a name", nn.Sequential(nn.Linear(2, 2)), head="tail")


def test_outputs_that_are_no_tensor_are_refused():
    net = Net(nn.GRU(2, 2))
    with pytest.raises(UserError, match="returned a tuple: it must return one tensor"):
        net(net.vector(), torch.randn(3, 2))


class Own(nn.Linear):
    """Its outputs depend on a weight by another way than the attribute that holds it."""

    def __init__(self, keep):
        super().__init__(4, 4)
        self.values = keep(self)

    def forward(self, x):
        return x @ self.values()


class Late(nn.Linear):
    """It computes a value once, in its first pass."""

    def forward(self, x):
        if not hasattr(self, "values"):
            self.values = 2 * self.weight
        return x @ self.values


@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("keep", ["itself", "what is computed of it"])
def test_outputs_that_do_not_depend_through_theta_are_refused_by_name(keep, replicas):
    def kept(layer):
        weight = layer.weight
        value = 2 * weight
        return (lambda: weight) if keep == "itself" else lambda: value

    net, x = Net(nn.Sequential(Own(kept), nn.Linear(4, 2))), torch.randn(5, 4)
    theta = net.vector()
    if replicas:
        theta, x = theta.expand(replicas, -1), x.expand(replicas, -1, -1)
    with pytest.raises(UserError, match=r"the outputs depend on 0\.weight, but not through theta"):
        net(theta.clone().requires_grad_(), x)


def test_a_value_computed_in_an_earlier_pass_is_refused():
    net, x = Net(nn.Sequential(Late(4, 4), nn.Linear(4, 2))), torch.randn(5, 4)
    net(net.vector().requires_grad_(), x)
    with pytest.raises(UserError, match="depend on a tensor that the module keeps, but not through theta"):
        net(net.vector().requires_grad_(), x)


def test_theta_may_be_computed_and_inputs_may_carry_gradient():
    """A theta that depends on something itself is still theta."""
    net, x = Net(repeating(None)), torch.randn(5, 4).double().requires_grad_()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        z = net(scale * net.vector(), x.sin()).square().sum()
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(z, [scale, x]))


class Repeats(nn.Module):
    """A part of the forward pass is repeated in the backward pass; `on` is its use_reentrant, or None for not."""

    def __init__(self, on):
        super().__init__()
        self.on, self.first, self.head = on, nn.Linear(4, 4), nn.Linear(4, 2)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4))

    def forward(self, x):
        h = self.first(x)
        return self.head(self.body(h) if self.on is None else checkpoint(self.body, h, use_reentrant=self.on))


def repeating(on):
    torch.manual_seed(0)
    module = Repeats(on).double()
    module.body[1].running_mean.normal_()
    return module


@pytest.mark.parametrize("train", [True, False])
def test_a_backward_pass_that_repeats_the_forward_pass_sees_its_theta_and_its_mode(train):
    """Also after another forward pass, at another theta and in evaluation mode."""
    x, found = torch.randn(6, 4).double(), []
    for on in (None, False):
        module = repeating(on)
        net = Net(module)
        own = {name: p for name, p in module.named_parameters()}
        theta = (net.vector() + 0.3).requires_grad_()
        z = net(theta, x, train)
        net(theta.detach() + 1, x)
        found.append(torch.autograd.grad(z.square().sum(), theta)[0])
        assert all(p is own[name] for name, p in module.named_parameters())
        assert all(each.training for each in module.modules())
    assert torch.equal(*found)


def test_a_backward_pass_that_fails_leaves_the_module_as_it_was():
    module = repeating(None)
    net, own = Net(module), dict(module.named_parameters())
    z = net((net.vector() + 0.3).requires_grad_(), torch.randn(6, 4).double())

    def fail(grad):
        assert module.head.weight is not own["head.weight"], "theta is in place"
        raise RuntimeError("stop")

    h = z.grad_fn.next_functions[1][0]
    h.register_prehook(lambda grads: fail(grads))
    with pytest.raises(RuntimeError, match="stop"):
        z.sum().backward()
    assert all(p is own[name] for name, p in module.named_parameters())
    assert all(each.training for each in module.modules())


def test_checkpoints_that_hide_theta_are_refused():
    net = Net(repeating(True))
    with pytest.raises(UserError, match="call `checkpoint` with use_reentrant=False"):
        net(net.vector().requires_grad_(), torch.randn(6, 4).double())


def test_the_gradient_of_one_image_is_that_of_the_image_given_twice():
    torch.manual_seed(0)
    net = Net(nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), Transposed(), nn.Linear(3, 2)).double())
    net.module[1].running_var.uniform_(0.5, 2)
    x = torch.randn(1, 1, 3, 3).double()
    grads = []
    for images in (x, torch.cat([x, x])):
        theta = net.vector().requires_grad_()
        z = net(theta, images)
        assert z.shape == (len(images), 2)
        grads.append(torch.autograd.grad(z[0].square().sum(), theta)[0])
    assert torch.equal(*grads)
    both = net.vector().expand(2, -1).clone().requires_grad_()
    (grad,) = torch.autograd.grad(net(both, x.expand(2, 1, 1, 3, 3)).square().sum(), both)
    torch.testing.assert_close(grad, grads[0].expand(2, -1), rtol=1e-12, atol=1e-14)


class Transposed(nn.Module):
    """Tokens [N, L, C] of an image, squashed and averaged."""

    def forward(self, x):
        return x.flatten(2).transpose(1, 2).contiguous().tanh().mean(1)

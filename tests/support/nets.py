"""Small nets that use their parameters in every way there is, on inputs [N, 6]; and their gradients one by one."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from methods.base.net import Net

N, D, C = 11, 6, 3


class Body(nn.Module):
    """Layers by name, and a head; `features` gives the head's input [N, D]."""

    def __init__(self, features, **layers):
        super().__init__()
        self.features = features
        for name, layer in layers.items():
            if isinstance(layer, nn.Parameter):
                self.register_parameter(name, layer)
            else:
                self.add_module(name, layer)
        self.head = nn.Linear(D, C)

    def forward(self, x):
        return self.head(torch.tanh(self.features(self, x)))


def linear(**options):
    return nn.Linear(D, D, **options)


def parameter(*shape):
    return nn.Parameter(torch.randn(*shape))


def tied():
    net = Body(lambda m, x: m.second(torch.tanh(m.first(x))), first=linear(), second=linear())
    net.second.weight = net.first.weight
    return net


def dictionary():
    """An embedding whose weight is also that of a linear layer on top, as in a language model."""
    net = Body(lambda m, x: m.out(m.embed(x.abs().long() % 5)).mean(1), embed=nn.Embedding(D, D), out=linear())
    net.out.weight = net.embed.weight
    return net


class Scale(nn.Module):
    """A layer that is not linear and may share its parameter with one that is."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x):
        return x * self.weight.sum(0)


def shared_elsewhere():
    first = linear()
    return Body(lambda m, x: m.scale(torch.tanh(m.first(x))), first=first, scale=Scale(first.weight))


class Doubled(nn.Linear):
    """A linear layer by inheritance only."""

    def forward(self, x):
        return F.linear(x, self.weight * 2, self.bias) + self.weight.sum()


class Cube(torch.autograd.Function):
    """Without a rule for vmap."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


def mlp(relu=nn.ReLU, bias=True):
    return nn.Sequential(nn.Linear(D, 7, bias=bias), relu(), nn.Linear(7, 5), relu(), nn.Linear(5, C))


def cnn():
    image, flat = nn.Unflatten(1, (1, 2, 3)), nn.Flatten()
    return nn.Sequential(image, nn.Conv2d(1, 2, 2), nn.ReLU(), flat, nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, C))


def normalised(norm):
    return nn.Sequential(nn.Linear(D, 5), norm, nn.Tanh(), nn.Linear(5, C))


def freeze(module, *names):
    for name in names:
        module.get_parameter(name).requires_grad_(False)
    return module


def moves(m, x):
    """Rows, each an expert's, that are fewer than the examples."""
    chosen = x[:, 0] > 0
    h = torch.zeros_like(x)
    h[chosen] = m.first(x[chosen])
    h[~chosen] = m.second(x[~chosen])
    return h


def four_positions(m, x):
    """[4, N, D], the axis of positions as long as a probe has examples."""
    return m.row(torch.stack([x, x.sin(), x.cos(), x * x])).tanh().sum(0)


def pieces(m, x):
    """Each example as two rows [2 N, D / 2] of a layer."""
    return m.row(x.view(-1, D // 2)).tanh().view(-1, 2, D).sum(1)


def positions(m, x):
    """The same four rows for each example."""
    return x + m.place(torch.arange(4)).sin().sum(0)


def attention(m, x):
    x = x.view(-1, 3, 2)
    return m.attention(x, x, x, need_weights=False)[0].flatten(1)


def without_gradient(m, x):
    with torch.no_grad():
        h = m.first(x)
    return m.second(h) + m.first(x).detach()


WHOLE = {  # closed forms for every parameter
    "mlp": mlp,
    "no bias": lambda: mlp(bias=False),
    "relu in place": lambda: mlp(lambda: nn.ReLU(inplace=True)),
    "residual": lambda: Body(lambda m, x: (h := m.first(x)) + m.second(h.relu()), first=linear(), second=linear()),
    "unused layers": lambda: Body(lambda m, x: (m.dropped(x), x)[1], never=linear(), dropped=linear()),
    "first layer frozen": lambda: freeze(mlp(), "0.weight", "0.bias"),
    "middle layer frozen": lambda: freeze(mlp(), "2.weight", "2.bias"),
    "one weight frozen": lambda: freeze(mlp(), "2.weight"),
    "one bias frozen": lambda: freeze(mlp(), "2.bias"),
    "head frozen": lambda: freeze(mlp(), "4.weight", "4.bias"),
    "convolution frozen": lambda: freeze(cnn(), "1.weight", "1.bias"),
    "convolution": cnn,
    "batch norm": lambda: normalised(nn.BatchNorm1d(5)),
    "batch norm without parameters": lambda: normalised(nn.BatchNorm1d(5, affine=False)),
    "layer norm": lambda: normalised(nn.LayerNorm(5)),
    "tied": tied,
    "embedding tied to a linear layer": dictionary,
    "used twice": lambda: Body(lambda m, x: m.shared(m.shared(x).tanh()), shared=linear()),
    "used thrice, at one position and at two": lambda: Body(
        lambda m, x: m.shared(m.shared(x).tanh()) + m.shared(torch.stack([x, x.sin()], 1)).tanh().sum(1),
        shared=linear(),
    ),
    "functional linear": lambda: Body(lambda m, x: F.linear(x, m.w, m.b).tanh(), w=parameter(D, D), b=parameter(D)),
    "three dimensions": lambda: Body(lambda m, x: m.row(x.view(-1, 2, 3)).tanh().sum(1), row=nn.Linear(3, D)),
    "output overwritten": lambda: Body(lambda m, x: m.first(x).add_(1).mul_(2), first=linear()),
    "passed without gradient": lambda: Body(without_gradient, first=linear(), second=linear()),
    "used detached beside": lambda: Body(
        lambda m, x: m.first(x) + F.linear(x.sin(), m.first.weight.detach()), first=linear()
    ),
}
PARTLY = {  # and the parameters without one
    "weight used outside its layer": (
        lambda: Body(lambda m, x: F.linear(m.encode(x).tanh(), m.encode.weight.T), encode=linear()),
        ["encode.weight"],
    ),
    "weight shared with another module": (shared_elsewhere, ["first.weight"]),
    "bare parameter": (lambda: Body(lambda m, x: x * m.gain, gain=parameter(D)), ["gain"]),
    "reshaped weight": (lambda: Body(lambda m, x: F.linear(x, m.w.view(D, D)), w=parameter(D * D)), ["w"]),
    "subclass of linear": (lambda: Body(lambda m, x: m.first(x), first=Doubled(D, D)), ["first.weight"]),
    "several rows for an example": (lambda: Body(pieces, row=nn.Linear(D // 2, D)), ["row.weight", "row.bias"]),
    "examples on the second axis": (lambda: Body(four_positions, row=linear()), ["row.weight", "row.bias"]),
    "the same rows for all examples": (lambda: Body(positions, place=nn.Embedding(4, D)), ["place.weight"]),
    "weight normalised": (
        lambda: Body(lambda m, x: m.first(x), first=parametrizations.weight_norm(linear())),
        ["first.parametrizations.weight.original0", "first.parametrizations.weight.original1"],
    ),
    "no rule for vmap": (lambda: Body(lambda m, x: Cube.apply(x * m.gain), gain=parameter(D)), ["gain"]),
    "attention": (
        lambda: Body(attention, attention=nn.MultiheadAttention(2, 1, batch_first=True)),
        [f"attention.{name}" for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")],
    ),
    "recurrent": (
        lambda: Body(lambda m, x: m.cell(x.view(-1, 3, 2))[0][:, -1], cell=nn.GRU(2, D, batch_first=True)),
        [f"cell.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")],
    ),
    "transposed convolution": (
        lambda: Body(lambda m, x: m.up(x.view(-1, 2, 3)).flatten(1), up=nn.ConvTranspose1d(2, 1, 4)),
        ["up.weight", "up.bias"],
    ),
    "experts": (
        lambda: Body(moves, first=linear(), second=linear()),
        [f"{name}.{role}" for name in ("first", "second") for role in ("weight", "bias")],
    ),
}
NETS = WHOLE | {name: build for name, (build, _) in PARTLY.items()}


def case(name):
    """Net, theta, inputs and two cotangents, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = NETS[name]().double()
        for each in module.modules():
            if isinstance(each, nn.BatchNorm1d):
                each.running_mean.normal_()
                each.running_var.uniform_(0.5, 2)
        net = Net(module.eval())
        return net, net.vector(), torch.randn(N, D).double(), [torch.randn(N, C).double() for _ in range(2)]


def one_by_one(net, theta, x, seeds, f):
    """sum_k sum_n f(J_n^T S^k_n), one backward pass for each term.

    An example is given twice: for one image alone, torch 2.12 differentiates batch norm in evaluation mode wrongly.
    """
    total = torch.zeros_like(theta)
    for seed in seeds:
        for n in range(len(x)):
            variable = theta.clone().requires_grad_()
            z = net(variable, torch.stack([x[n], x[n]]))[0]
            total += f(torch.autograd.grad((z * seed[n]).sum(), variable)[0])
    return total

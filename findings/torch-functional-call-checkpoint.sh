#!/usr/bin/env bash
# torch 2.13.0: functional_call of a network that checkpoints its activations gives the loss of the weights handed in,
# and the gradient of a mixture of two sets of weights.
#
# Expected: functional_call(net, theta, x) is the network at theta, forwards and backwards; checkpointing changes memory
# and time, no number. Seen: the loss is right to the bit. In the backward pass functional_call has already put the
# module's own weights back, and the checkpoint recomputes the activations with those: the gradient is off by about its
# own size. It still arrives at theta, so nothing looks amiss. With use_reentrant=True it is worse: the checkpointed
# part's gradient goes into the .grad of the module, and theta gets none for it. No warning in either case; the
# checkpoint's own check of what it recomputed compares shapes and types alone. torch.func.grad refuses such a network;
# backward() and autograd.grad do not. A user meets it with the gradient at other weights than the module's:
# meta-learning, weights along a path, an ensemble in one module, a Fisher at an anchor. A loss that does not fall as it
# should is all there is to see.
# What puts it right: the checkpoint outside, checkpoint(functional_call, net, theta, (x,)), or load theta into the
# module.
# Versions: torch 2.13.0, CPU, CPython 3.11 to 3.13. One to five minutes. Download 200 MB with PyTorch's index of CPU
# wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 networkx==3.6.1 setuptools==84.2.1 \
    sympy==1.14.0 typing_extensions==4.16.0
cd "$folder"

"$folder/venv/bin/python" -W error - <<'PY'
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
        self.head = nn.Linear(8, 3)
        self.reentrant = None  # no checkpoint

    def forward(self, x):
        h = self.body(x) if self.reentrant is None else checkpoint(self.body, x, use_reentrant=self.reentrant)
        return self.head(h)


torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
net, x, y = Net(), torch.randn(7, 5, requires_grad=True), torch.randint(3, (7,))
theta = {name: (p + torch.randn_like(p)).detach().requires_grad_() for name, p in net.named_parameters()}


def at_theta(call, reentrant=None):
    """Loss and gradient at theta, and whether the module's own weights got a gradient."""
    net.reentrant = reentrant
    for p in [*theta.values(), *net.parameters()]:
        p.grad = None
    loss = nn.functional.cross_entropy(call(), y)
    loss.backward()
    gradient = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in theta.values()])
    return loss.item(), gradient, any(p.grad is not None for p in net.parameters())


plain = lambda: functional_call(net, theta, (x,))
loss, true, _ = at_theta(plain)
for reentrant in (False, True):
    value, gradient, own = at_theta(plain, reentrant)
    off = float((gradient - true).norm() / true.norm())
    print(f"use_reentrant={reentrant}: loss {value - loss:+.0e}, gradient {off:.2f} off, one in the module: {own}")
    assert value == loss and off > 0.1 and own == reentrant, "the gradient is at theta now"

_, gradient, _ = at_theta(lambda: checkpoint(functional_call, net, theta, (x,), use_reentrant=False))
print("checkpoint outside:", float((gradient - true).norm() / true.norm()))
assert torch.allclose(gradient, true), "the remedy does not help"
net.load_state_dict(theta)
net.reentrant = False
loaded = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
assert torch.allclose(torch.cat([g.flatten() for g in loaded]), true), "loading the weights does not help"
PY

#!/usr/bin/env bash
# torch 2.13.0: one image through batch norm, then tokens and a layer norm: autograd's gradient is wrong on a CPU.
#
# Expected: a batch of one image gives the gradient that the same lines give if batch norm is written out by hand, as a
# scale and shift of each channel. Seen: the loss is equal, and the gradients of batch norm and of the convolution
# before it are off by about their own size, in evaluation mode and in training mode, in float64 and float32. Nothing
# warns. Two images are right.
# Why: through flatten(2).transpose(1, 2) the layer norm hands back a gradient that lies channels last, and for one
# image its stride over the batch may be anything. Batch norm's CPU kernel then takes it for channels first and reads
# pixels as channels. A convolutional stem before a transformer is such a network. A batch of one is how the Fisher
# diagonal of single examples (EWC) and attributions are commonly taken: the norm and everything before it come out
# wrong, the layers after it right.
# What puts it right: give the image twice and halve the sum (in evaluation mode), or give channels_last images.
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

"$folder/venv/bin/python" - <<'PY'
import torch
from torch import nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
conv, norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
for _ in range(20):  # running statistics of some data
    norm(conv(torch.randn(8, 3, 8, 8)))
head = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 10))
parameters = [*conv.parameters(), *norm.parameters(), *head.parameters()]


def loss(images, batch_norm):
    tokens = batch_norm(conv(images)).flatten(2).transpose(1, 2)
    labels = torch.zeros(len(images), dtype=torch.long)
    return nn.functional.cross_entropy(head(tokens).mean(1), labels, reduction="sum")


def by_hand(h):
    mean, var = norm.running_mean, norm.running_var
    if norm.training:
        mean, var = h.mean((0, 2, 3)), h.var((0, 2, 3), correction=0)
    mean, var, weight, bias = (values.view(-1, 1, 1) for values in (mean, var, norm.weight, norm.bias))
    return (h - mean) / (var + norm.eps).sqrt() * weight + bias


def error(images):
    """How far autograd is from the same lines by hand, in the gradient of all parameters."""
    losses = [loss(images, layer) for layer in (norm, by_hand)]
    assert torch.allclose(*losses), "the losses differ"
    found, true = (torch.cat([g.flatten() for g in torch.autograd.grad(of, parameters)]) for of in losses)
    return float((found - true).norm() / true.norm())


image = torch.randn(1, 3, 8, 8)
for mode in ("evaluation", "training"):
    norm.train(mode == "training")
    one, two = error(image), error(torch.cat([image, image]))
    last = error(image.contiguous(memory_format=torch.channels_last))
    print(f"{mode} mode, relative error: one image {one:.2f}, the image twice {two:.0e}, channels_last {last:.0e}")
    assert one > 0.1, "one image is right"
    assert two < 1e-12 and last < 1e-12, "the remedies do not help"
PY

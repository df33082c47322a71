#!/usr/bin/env bash
# clearn-ai 0.3.0: strategy "gem" learns nothing from the second task on, and the library's report calls it stable.
#
# Expected: with strategy="gem" a second task is learnt while the first is kept, or something complains. Seen: fit runs
# its epochs on the second task and no weight moves by a bit. The accuracy on it stays at chance, and diff() recommends
# "stable - no action needed", since nothing is forgotten. Between its two backward passes the strategy calls the
# module's zero_grad(), which since torch 2.0 leaves None in place of zeros; where it finds None it writes nothing back,
# so the optimiser has nothing to step on. The package asks for torch>=2.0, so no version it supports works. A user who
# compares methods concludes that gradient projection gives perfect memory at the price of all plasticity: a backward
# transfer of 0, the best of the table.
# What puts it right: model.zero_grad = functools.partial(model.zero_grad, set_to_none=False), before wrap.
# Versions: clearn-ai 0.3.0, torch 2.13.0, CPU, CPython 3.11 to 3.13. One to five minutes. Download 200 MB with
# PyTorch's index of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps clearn-ai==0.3.0
cd "$folder"

OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PY'
import functools
import random

import clearn
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def task(seed):
    """Which side of a plane: 400 points in ten dimensions."""
    generator = torch.Generator().manual_seed(seed)
    x, normal = torch.randn(400, 10, generator=generator), torch.randn(10, generator=generator)
    return DataLoader(TensorDataset(x, (x @ normal > 0).long()), batch_size=20)


def accuracy(net, loader):
    x, y = loader.dataset.tensors
    return (net(x).argmax(1) == y).float().mean().item()


def two_tasks(keep_zeros):
    torch.manual_seed(0)
    random.seed(0)
    net = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 2))
    if keep_zeros:
        net.zero_grad = functools.partial(net.zero_grad, set_to_none=False)
    model, tasks = clearn.wrap(net, strategy="gem"), [task(1), task(2)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    model.fit(tasks[0], optimizer, epochs=5, task_id="first")
    before = [p.detach().clone() for p in net.parameters()]
    model.fit(tasks[1], optimizer, epochs=5, task_id="second")
    moved = sum(int((p != q).sum()) for p, q in zip(net.parameters(), before))
    first, second = (accuracy(net, loader) for loader in tasks)
    print(f"second task moved {moved} weights; accuracy {first:.2f} on the first task, {second:.2f} on the second")
    print(model.diff())
    return moved, second


moved, second = two_tasks(keep_zeros=False)
assert moved == 0 and second < 0.6, "the second task is learnt now"
moved, second = two_tasks(keep_zeros=True)
assert moved > 0 and second > 0.7, "zeros in place of None do not help"
PY

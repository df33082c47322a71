#!/usr/bin/env bash
# torchjd 0.18.0: DualProj, GEM's projection, does nothing to gradients below 0.01: GEM in metres is fine-tuning.
#
# Expected: a projection has no unit. If all gradients are ten times shorter, so is the result, and no old loss rises.
# Seen: if the squared lengths of all gradients sum to less than 1e-4, a length of 0.01, the result is the plain new
# gradient, in conflict with the old ones. No warning. norm_eps = 1e-4 does it, which the docstring calls a small value
# to avoid division by zero. UPGrad, the package's own method, projects with the same class and is then the mean.
# Here a finger of 37 mm learns in three tasks where its tip is. Adam (eps=1e-16) does not care for the unit of
# the loss: fine-tuning has the same errors in metres and in millimetres. GEM in metres has them too: 11.8 and 11.5 mm
# on the earlier tasks, and about half of the steps go against an old task. In millimetres GEM has 6.0 and 5.0 mm, and
# no step goes against one. An arm of 230 mm has gradients that are long enough in metres too.
# A user whose losses are small concludes that GEM does not help.
# What puts it right: DualProj(..., projector=QuadprogProjector(norm_eps=0.0)), or a loss in smaller units.
# Upstream: issue 242 of SimplexLab/TorchJD asked to drop the normalization, for its cost. A search found no report of
# this. The newest commit that we saw (862baeda, August 2026) has the same lines.
# Versions: torchjd 0.18.0, qpsolvers 4.13.0, quadprog 0.1.14, torch 2.13.0, numpy 2.4.6, CPython 3.11. One to ten
# minutes. Download 250 MB with PyTorch's index of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA
# build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps torchjd==0.18.0 qpsolvers==4.13.0 quadprog==0.1.14 scipy==1.17.1
cd "$folder"

OMP_NUM_THREADS=1 "$folder/venv/bin/python" -W error - <<'PY'
import math

import torch
from torch import nn
from torch.nn.functional import mse_loss
from torchjd.aggregation import DualProj, UPGrad
from torchjd.linalg import QuadprogProjector

TASKS, STEPS, BATCH, EXAMPLES, MEMORY = 3, 200, 64, 500, 50
LINKS = torch.tensor([0.016, 0.013, 0.008])  # metres
EXACT = QuadprogProjector(norm_eps=0.0)

# Two gradients in conflict: the new one, to be projected, and that of an old task.
pair = torch.tensor([[1.0, 0.0], [-0.6, 0.8]])
first = torch.tensor([1.0, 0.0])
for length in (1.0, 0.1, 0.01, 0.005, 0.001):
    rows = length * pair
    found = {"DualProj": DualProj(first)(rows), "put right": DualProj(first, EXACT)(rows)}
    conflict = {name: round(float(pair[1] @ value) / length, 4) for name, value in found.items()}
    print(f"length {length}, product with the old gradient:", conflict)
    assert abs(conflict["put right"]) < 0.001, "the remedy does not project"
    assert abs(conflict["DualProj"] - (0 if length >= 0.01 else -0.6)) < 0.001, "short gradients are projected now"
short = 0.005 * pair * torch.tensor([[1.0], [0.5]])
summed = {"UPGrad": UPGrad()(short), "put right": UPGrad(projector=EXACT)(short), "mean": short.mean(0)}
for name, value in summed.items():
    print(f"length 0.005 and 0.0025: {name} {float(pair[1] @ value) / 0.005:.4f} with the old task")
assert torch.allclose(summed["UPGrad"], summed["mean"]) and pair[1] @ summed["UPGrad"] < -0.0001, "UPGrad projects now"
assert pair[1] @ summed["put right"] > -0.00001


def finger(task, size, generator):
    """Angles of the joints, as sines and cosines, and where the tip is; a task is a sector of the first joint."""
    angles = (torch.rand(size, 3, generator=generator) - 0.5) * math.pi
    angles[:, 0] = (task + torch.rand(size, generator=generator)) * 2 * math.pi / TASKS
    total = angles.cumsum(1)
    tip = torch.stack([(LINKS * total.cos()).sum(1), (LINKS * total.sin()).sum(1)], 1)
    return torch.cat([angles.sin(), angles.cos()], 1), tip


def run(seed, per_metre, projector=None, gem=True):
    """Error in mm on each task at the end, and the share of steps against an old task; the loss in any unit."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    train = [finger(task, EXAMPLES, generator) for task in range(TASKS)]
    test = [finger(task, EXAMPLES, generator) for task in range(TASKS)]
    net = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 2))
    weights = list(net.parameters())
    optimizer = torch.optim.Adam(weights, lr=3e-3, eps=1e-16)

    def predict(x):
        return LINKS.sum() * net(x)

    def gradient(x, y):
        loss = mse_loss(per_metre * predict(x), per_metre * y)
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])

    against = 0
    for task, (x, y) in enumerate(train):
        for _ in range(STEPS):
            picked = torch.randint(EXAMPLES, (BATCH,))
            step = gradient(x[picked], y[picked])
            if task and gem:
                old = [gradient(old_x[:MEMORY], old_y[:MEMORY]) for old_x, old_y in train[:task]]
                rows = torch.stack([step, *old])
                step = DualProj(torch.eye(len(rows))[0], projector)(rows)  # GEM: the new gradient, within the cone
                against += bool((rows[1:] @ step < -0.05 * rows[1:].norm(dim=1) * step.norm()).any())
            for weight, part in zip(weights, step.split([weight.numel() for weight in weights])):
                weight.grad = part.view_as(weight).clone()
            optimizer.step()
    with torch.no_grad():
        errors = [1000 * float((predict(x) - y).square().sum(1).mean().sqrt()) for x, y in test]
    return errors, against / (STEPS * (TASKS - 1))


for seed in range(2):
    found = {
        "fine-tuning, metres": run(seed, 1, gem=False),
        "fine-tuning, millimetres": run(seed, 1000, gem=False),
        "GEM, metres": run(seed, 1),
        "GEM, millimetres": run(seed, 1000),
        "GEM, metres, put right": run(seed, 1, EXACT),
    }
    before = {}
    for name, (errors, against) in found.items():
        before[name] = sum(errors[:-1]) / (TASKS - 1)
        print(f"seed {seed}, {name}: error", *(f"{error:.2f}" for error in errors), end=" mm; ")
        print(f"earlier tasks {before[name]:.2f}; {against:.0%} of the steps against an old task")
    tuned, small, large = before["fine-tuning, metres"], before["GEM, metres"], before["GEM, millimetres"]
    assert abs(before["fine-tuning, millimetres"] - tuned) < 0.05 * tuned, "the unit matters to Adam"
    assert abs(small - tuned) < 0.05 * tuned and found["GEM, metres"][1] > 0.2, "GEM in metres is more than fine-tuning"
    assert large < 0.7 * tuned and found["GEM, millimetres"][1] < 0.01, "GEM in millimetres does not help either"
    assert abs(before["GEM, metres, put right"] - large) < 0.05 * large, "the remedy does not put it right"
PY

#!/usr/bin/env bash
# Opacus 1.6.0: a replay step (new batch and memory batch in one loss) gives per-example gradients of no example.
#
# Expected: with loss(new batch of 4) + loss(memory batch of 6), grad_sample has a row for each of the ten examples; or
# Opacus refuses. Seen: six rows. Row i is the sum of the gradients of new example i and memory example i, which have
# nothing to do with each other, the first one scaled by 6/4. Opacus adds up what belongs to uses of a layer in one
# backward pass, by position. That is right for the steps of a recurrent network or two views of one example. No error,
# no warning of it, and .grad is right, so training looks well. But norms, clipping, a noise scale or a Fisher diagonal
# of these rows are those of pairs.
# What puts it right: one forward pass of the concatenated batch (the mean over all ten), or a backward pass for each
# batch; then grad_sample is a list with one entry for each pass.
# Versions: opacus 1.6.0, torch 2.13.0, CPU, CPython 3.11 to 3.13. Two to five minutes. Download 270 MB with PyTorch's
# index of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 scipy==1.17.1 opt_einsum==3.4.0 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 \
    markupsafe==3.0.4 mpmath==1.3.0 networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps opacus==1.6.0
cd "$folder"

"$folder/venv/bin/python" - <<'PY'
import torch
from opacus import GradSampleModule
from torch import nn

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
new, memory = ((torch.randn(n, 5), torch.randint(3, (n,))) for n in (4, 6))
loss = nn.functional.cross_entropy


def one_by_one(x, y):
    """The gradient of each example by itself, by plain autograd: a row each."""
    rows = [torch.autograd.grad(loss(net(x[i : i + 1]), y[i : i + 1]), list(net.parameters())) for i in range(len(x))]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


true_new, true_memory = one_by_one(*new), one_by_one(*memory)
wrapped = GradSampleModule(net)
flat = lambda values: torch.cat([g.flatten(1) for g in values], 1)

(loss(wrapped(new[0]), new[1]) + loss(wrapped(memory[0]), memory[1])).backward()
rows = flat(p.grad_sample for p in wrapped.parameters())
print("rows:", len(rows), "for", len(new[0]) + len(memory[0]), "examples")
pairs = true_memory.clone()
pairs[:4] += 6 / 4 * true_new
print("rows are sums of pairs:", torch.allclose(rows, pairs))
print("norms, of examples:", *(f"{float(v):.2f}" for v in torch.cat([true_new, true_memory]).norm(dim=1)))
print("norms, of the rows:", *(f"{float(v):.2f}" for v in rows.norm(dim=1)))
assert len(rows) == 6 and torch.allclose(rows, pairs), "the rows are no sums of pairs any more"
gradient = torch.cat([p.grad.flatten() for p in wrapped.parameters()])
assert torch.allclose(gradient, true_new.mean(0) + true_memory.mean(0)), "and .grad is not right"

wrapped.zero_grad()
loss(wrapped(torch.cat([new[0], memory[0]])), torch.cat([new[1], memory[1]])).backward()
rows = flat(p.grad_sample for p in wrapped.parameters())
assert torch.allclose(rows, torch.cat([true_new, true_memory])), "one concatenated batch does not help"

wrapped.zero_grad()
for x, y in (new, memory):
    loss(wrapped(x), y).backward()
for k, true in enumerate((true_new, true_memory)):
    rows = flat(p.grad_sample[k] for p in wrapped.parameters())
    assert torch.allclose(rows, true), "a backward pass for each batch does not help"
print("one concatenated batch, or a backward pass for each: right")
PY

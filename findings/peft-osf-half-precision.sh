#!/usr/bin/env bash
# peft 0.21.2: OSF of a network in bfloat16 or float16 projects no gradient, and forgets as if nothing were protected.
#
# Expected: OSF (orthogonal subspace fine-tuning), PEFT's method for continual learning, keeps the largest singular
# directions of each weight: hooks on its parameters take their part out of the gradients. Seen: if the net is in
# bfloat16 or float16, no hook is called. They are put on parameters of the net's precision. Then get_peft_model(),
# by its default autocast_adapter_dtype=True, replaces these by new ones in float32, and the hooks stay behind. No
# warning, and the second task is learnt as well as ever. A copy.deepcopy() of the wrapped net loses the hooks in
# float32 too. OSF's example of continual learning is in bfloat16, as most language models are.
# On permuted digits the first task, at 0.96, ends at 0.39 to 0.54 with SGD and 0.64 to 0.69 with AdamW. In float32 it
# ends at 0.85 to 0.87 and 0.84 to 0.94; with the hooks removed by hand, as in bfloat16 (within 0.05). Of the change
# of the weights, 0.73 to 0.78 lies in the kept directions (by norm). In float32 it is 0 with SGD, and 0.20 to 0.24 with
# AdamW, which rescales the projected gradient. A user concludes that the method does not protect large models.
# What puts it right: the net in float32, or autocast_adapter_dtype=False, which trains in the net's own precision.
# Upstream: 0.18.1, 0.19.1, 0.20.0 and 0.21.0 cast in place and project, 0.21.1 does not. A search found no issue.
# Versions: peft 0.21.2, transformers 5.24.0, torch 2.13.0, CPU, CPython 3.11. Two to ten minutes. Download
# 280 MB with PyTorch's index of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps peft==0.21.2 transformers==5.24.0 accelerate==1.15.0 anyio==4.16.0 click==8.5.1 h11==0.16.0 \
    hf-xet==1.8.0 httpcore2==2.16.2 httpx2==2.16.2 huggingface_hub==2.4.0 idna==3.20 packaging==26.4 psutil==7.2.2 \
    pyyaml==6.0.4 regex==2026.11.19 safetensors==0.8.0 tokenizers==0.23.3 tqdm==4.70.1 truststore==0.10.5 \
    typer==0.29.2 scikit-learn==1.9.1 scipy==1.17.1 joblib==1.6.0 cloudpickle==3.1.3 threadpoolctl==3.8.0 \
    narwhals==2.29.0
cd "$folder"

HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PY'
import copy
import warnings

import torch
from peft import OSFConfig, get_peft_model
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

TRAIN, STEPS, BATCH, RANK, LAYERS = 1200, 300, 32, 16, ("0", "2")
images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
images, labels = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
tasks = [images, images[:, torch.randperm(64, generator=torch.Generator().manual_seed(1))]]


def train(net, x, optimizer, steps=STEPS):
    for _ in range(steps):
        batch = torch.randint(TRAIN, (BATCH,))
        optimizer.zero_grad()
        cross_entropy(net(x[batch]).float(), labels[batch]).backward()
        optimizer.step()


def second_task(base, precision, how, rule, rate):
    """The accuracies on both tasks after the second, and how much of the weights' change is in the kept directions."""
    net = copy.deepcopy(base).to(precision)
    before = {name: net.get_submodule(name).weight.detach().float() for name in LAYERS}
    config = OSFConfig(target_modules=list(LAYERS), effective_rank=RANK)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        net = get_peft_model(net, config, autocast_adapter_dtype=how != "no autocast")
        if how == "deepcopy":
            net = copy.deepcopy(net)
        if how == "no hooks":
            for name in LAYERS:
                net.base_model.model.get_submodule(name)._detach_hooks()
        train(net, tasks[1].to(precision), rule([p for p in net.parameters() if p.requires_grad], rate))
    assert not said, said[0].message
    net, inside, total = net.merge_and_unload(), 0.0, 0.0
    for name, weight in before.items():
        change = net.get_submodule(name).weight.detach().float() - weight
        u, _, v = torch.linalg.svd(weight, full_matrices=False)
        u, v = u[:, :RANK], v[:RANK]
        free = change - u @ (u.T @ change)
        inside += float((change - free + free @ v.T @ v).square().sum())
        total += float(change.square().sum())
    with torch.no_grad():
        answers = [net(x[TRAIN:].to(precision)).argmax(1) for x in tasks]
    return [float((answer == labels[TRAIN:]).double().mean()) for answer in answers], (inside / total) ** 0.5


CASES = [("float32", torch.float32, "as it is"), ("float32, hooks removed", torch.float32, "no hooks")]
CASES += [("float32, deepcopy", torch.float32, "deepcopy"), ("bfloat16", torch.bfloat16, "as it is")]
CASES += [("float16", torch.float16, "as it is"), ("bfloat16, not cast", torch.bfloat16, "no autocast")]
for seed in range(3):
    torch.manual_seed(seed)
    base = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10))
    train(base, tasks[0], torch.optim.AdamW(base.parameters(), 1e-3), 2 * STEPS)
    for rule, rate in ((torch.optim.SGD, 0.3), (torch.optim.AdamW, 1e-3)):
        first, kept = {}, {}
        for name, precision, how in CASES:
            torch.manual_seed(seed)
            (first[name], second), kept[name] = second_task(base, precision, how, rule, rate)
            print(f"seed {seed}, {rule.__name__}, {name}: task 1 {first[name]:.2f}, task 2 {second:.2f}; ", end="")
            print(f"{kept[name]:.3f} of the change in the kept directions")
            assert second > 0.8
        unprotected = "float32, hooks removed"
        for name in ("bfloat16", "float16", "float32, deepcopy"):
            assert kept[name] > 0.6, f"the gradients are projected now: {name}"
            assert abs(first[name] - first[unprotected]) < 0.1
        for name in ("float32", "bfloat16, not cast"):
            assert kept[name] < (0.05 if rule is torch.optim.SGD else 0.4), f"and {name} does not project"
            assert first[name] > first[unprotected] + 0.1, f"and {name} does not protect"
PY

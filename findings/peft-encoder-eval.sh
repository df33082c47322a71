#!/usr/bin/env bash
# peft 0.21.2 on torch 2.13.0: LoRA in an nn.TransformerEncoder is trained, and the evaluation never sees it.
#
# Expected: model.eval() and no_grad() turn off dropout and the graph, and the adapter computes as in training. Seen:
# with LoRA on linear1 and linear2, the training loss falls as it should, while predictions in evaluation mode are to
# the bit those without the adapter. In this mode the encoder layer of torch hands the weights of its parts to one
# fused kernel and calls none of the parts. PEFT's layers show the frozen weight under the name `weight`, so that is
# what is used. The documented conditions of this path do not speak of replaced parts; forward hooks turn it off, a
# subclass does not. A linear layer of one's own that puts a mask on its weight, as in Piggyback or SupSup, is
# evaluated without the mask in the same way. Nothing warns. A user reads an accuracy at chance for the new task, no
# forgetting at all of the old one, and concludes that the adapter is too small.
# What puts it right: torch.backends.mha.set_fastpath_enabled(False), or merge_and_unload() before the evaluation.
# Versions: peft 0.21.2, transformers 5.24.0, torch 2.13.0, CPU, CPython 3.11. One to five minutes. Download
# 230 MB with PyTorch's index of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps peft==0.21.2 transformers==5.24.0 accelerate==1.15.0 anyio==4.16.0 click==8.5.1 h11==0.16.0 \
    hf-xet==1.8.0 httpcore2==2.16.2 httpx2==2.16.2 huggingface_hub==2.4.0 idna==3.20 packaging==26.4 psutil==7.2.2 \
    pyyaml==6.0.4 regex==2026.11.19 safetensors==0.8.0 tokenizers==0.23.3 tqdm==4.70.1 truststore==0.10.5 typer==0.29.2
cd "$folder"

HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PY'
import copy

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.functional import cross_entropy, linear

torch.manual_seed(0)
x = torch.randn(1500, 6, 16)
labels = [(x.mean(1) @ torch.randn(16, 4)).argmax(1) for _ in range(2)]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 64, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


def train(net, y):
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    net.train()
    for _ in range(400):
        batch = torch.randint(1000, (64,))
        optimiser.zero_grad()
        cross_entropy(net(x[batch]), y[batch]).backward()
        optimiser.step()


@torch.no_grad()
def accuracy(title, net, mode="eval"):
    net.train(mode == "train")  # there is neither dropout nor batch norm in this network
    values = [float((net(x[1000:]).argmax(1) == y[1000:]).double().mean()) for y in labels]
    print(f"{title:34} {values[0]:.3f} of task 1, {values[1]:.3f} of task 2")
    return values


net = Net()
train(net, labels[0])
base = accuracy("before the second task", net)
net = get_peft_model(net, LoraConfig(target_modules=["linear1", "linear2"], r=8, lora_alpha=16))
train(net, labels[1])
right = accuracy("LoRA trained, train()", net, "train")
seen = accuracy("LoRA trained, eval()", net)
with net.disable_adapter():
    assert accuracy("without the adapter, eval()", net) == seen, "the evaluation sees the adapter"
with torch.no_grad():
    net.eval()
    logits = net(x)
    with net.disable_adapter():
        assert torch.equal(logits, net(x)), "the evaluation sees the adapter"
assert seen == base and right[1] > base[1] + 0.2, "the adapter is of no use"
merged = accuracy("merged, eval()", copy.deepcopy(net).merge_and_unload())
torch.backends.mha.set_fastpath_enabled(False)
slow = accuracy("without the fast path, eval()", net)
assert all(abs(a - b) + abs(a - c) < 0.01 for a, b, c in zip(right, merged, slow, strict=True)), "no remedy"
torch.backends.mha.set_fastpath_enabled(True)


class Masked(nn.Linear):
    def forward(self, x):
        return linear(x, self.weight * mask, self.bias)


layer = nn.TransformerEncoderLayer(16, 4, 64, dropout=0.0, batch_first=True)
mask, layer.linear1 = torch.rand(64, 16) < 0.2, Masked(16, 64)
with torch.no_grad():
    training, evaluation = layer.train()(x), layer.eval()(x)
    layer.linear1.weight *= mask  # what the mask stands for
    expected = layer(x)
print(f"a mask on linear1: off by {(training - expected).abs().max():.0e} in train(), ", end="")
print(f"by {(evaluation - expected).abs().max():.1f} in eval()")
assert torch.allclose(training, expected, atol=1e-5) and not torch.allclose(evaluation, expected, atol=0.1)
PY

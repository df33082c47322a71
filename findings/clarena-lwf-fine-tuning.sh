#!/usr/bin/env bash
# clarena 1.1.0: its Learning without Forgetting is plain fine-tuning, to the last bit and at any strength.
#
# Expected: LwF holds the outputs of the old heads, and the more so the larger distillation_reg_factor is. Seen: at a
# factor of 10 and of a million, all weights are those of Finetuning, bit for bit. training_step() computes the current
# network's logits of the old heads under torch.no_grad(), so as not to train these heads. That cuts off the backbone as
# well. The distillation loss has a value and is part of the loss that is reported, but has no gradient. No warning. A
# user who tunes the factor finds it without effect, and reports that LwF is no better than fine-tuning.
# On the digits in two tasks of five, each with a head of its own, LwF and fine-tuning end with the same 0.84 to 0.87 of
# the first task. With the gradient it is 0.99 to 1.00.
# What puts it right: heads that keep the gradient of the features and not that of an old head's own weights, as below.
# Upstream: the docstrings say that the term constrains the current network. In pengxiang-wang/continual-learning-arena
# the lines stood from February 2025. e6fa815, February 2026, computes the old logits with a gradient, in a commit named
# "fix". No release has it: 1.1.0, of September 2025, is the latest on PyPI in November 2026. A search found no issue.
# Versions: clarena 1.1.0, lightning 2.6.6, torch 2.13.0, CPU, torchvision 0.15.2 (which imports beside any torch and is
# not used; it is why this script asks for CPython 3.11). Two to ten minutes. Download 300 MB with PyTorch's index
# of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps clarena==1.1.0 lightning==2.6.6 captum==0.9.0 torchvision==0.15.2 torchmetrics==1.9.0 \
    lightning-utilities==0.15.3 certifi==2025.11.12 charset-normalizer==3.4.4 cloudpickle==3.1.3 contourpy==1.3.3 \
    cycler==0.12.1 fonttools==4.68.0 idna==3.11 joblib==1.6.0 kiwisolver==1.5.1 matplotlib==3.11.2 narwhals==2.29.0 \
    packaging==26.4 pillow==13.0.0 pyparsing==3.3.3 python-dateutil==4.0.0 pyyaml==6.0.4 requests==2.32.5 \
    scikit-learn==1.9.1 scipy==1.17.1 six==1.17.0 threadpoolctl==3.8.0 tqdm==4.70.1 urllib3==2.5.0
cd "$folder"

HOME="$folder" OMP_NUM_THREADS=1 "$folder/venv/bin/python" -W ignore - <<'PY'
import logging
from functools import partial

import torch
from clarena.backbones import CLMLP
from clarena.cl_algorithms import Finetuning, LwF
from clarena.heads import HeadsTIL
from lightning import Trainer
from sklearn.datasets import load_digits
from torch.nn.functional import linear
from torch.utils.data import DataLoader, TensorDataset

CLASSES, TASKS, TRAIN, EPOCHS, BATCH, WIDTH, FACTOR = 5, 2, 1200, 20, 32, 100, 10.0
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
images, labels = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]


class Heads(HeadsTIL):
    """The remedy: the features keep their gradient, the weights of an old head get none."""

    def forward(self, feature, task_id):
        if task_id == self.task_id or not feature.requires_grad:
            return super().forward(feature, task_id)
        head = self.get_head(task_id)
        with torch.enable_grad():
            return linear(feature, head.weight.detach(), head.bias.detach())


def data(task, part):
    which = labels[part] // CLASSES == task - 1
    return TensorDataset(images[part][which], labels[part][which] % CLASSES)


def stream(algorithm, heads, seed):
    """Two tasks: the test accuracies at the end, all weights, and the distillation loss of the last task's images."""
    torch.manual_seed(seed)
    model, options = algorithm(backbone=CLMLP(64, [WIDTH], WIDTH), heads=heads(WIDTH)), {}
    for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"):
        options[name] = False
    for task in range(1, TASKS + 1):
        model.setup_task_id(task, CLASSES, partial(torch.optim.Adam, lr=3e-3), None)
        train = data(task, slice(0, TRAIN))
        Trainer(max_epochs=EPOCHS, accelerator="cpu", **options).fit(model, DataLoader(train, BATCH, shuffle=True))
    distilled = model.training_step(train.tensors).get("loss_reg")
    model.eval()
    right = []
    for task in range(1, TASKS + 1):
        x, y = data(task, slice(TRAIN, None)).tensors
        right.append(float((model.forward(x, "test", task)[0].argmax(1) == y).double().mean()))
    return right, torch.cat([value.detach().flatten() for value in model.parameters()]), distilled


def lwf(factor):
    return partial(LwF, distillation_reg_factor=factor, distillation_reg_temperature=2.0)


for seed in range(2):
    plain, weights, _ = stream(Finetuning, HeadsTIL, seed)
    print(f"seed {seed}, fine-tuning: first task {plain[0]:.3f}, second {plain[1]:.3f}", flush=True)
    for factor in (FACTOR, 1e6):
        right, same, loss = stream(lwf(factor), HeadsTIL, seed)
        print(f"seed {seed}, LwF at {factor:g}: first task {right[0]:.3f}, second {right[1]:.3f};", end=" ")
        print(f"distillation loss {loss:.4g}, has a gradient: {loss.requires_grad};", end=" ")
        print(f"weights of fine-tuning, to the bit: {torch.equal(same, weights)}", flush=True)
        assert loss > factor / 10 and not loss.requires_grad, "the distillation loss has a gradient now"
        assert torch.equal(same, weights) and right == plain, "LwF differs from fine-tuning now"
    right, other, loss = stream(lwf(FACTOR), Heads, seed)
    print(f"seed {seed}, LwF at {FACTOR:g}, put right: first task {right[0]:.3f}, second {right[1]:.3f};", end=" ")
    print(f"distillation loss {loss:.4g}, has a gradient: {loss.requires_grad}", flush=True)
    assert loss.requires_grad and not torch.equal(other, weights)
    assert right[0] > plain[0] + 0.04 and right[1] > plain[1] - 0.05, "and with the gradient LwF is no better"
PY

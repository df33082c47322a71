#!/usr/bin/env bash
# skorch 1.4.0: with Checkpoint(load_best=True), partial_fit on a second task can undo itself, to the bit.
#
# Expected: a net with this callback ends each partial_fit at the best epoch of that call, as its neighbour
# EarlyStopping(load_best=True) does. Seen: the best validation loss so far outlives the call. While the loss on the
# new task stays above the lowest one of an earlier and easier task, no epoch counts as best and none is saved; at the
# end the file of the earlier task is loaded. All weights are then those from before, to the bit, and the history loses
# the rows of the new task, so nothing shows that it was trained. Nothing warns. Of five tasks on handwritten digits
# two or three are never learnt, with accuracy 0 on them; the first is at 0.99 after the second, where fine-tuning drops
# it to 0. A user reads that plain fine-tuning forgets little and is bad at learning.
# What puts it right: net.initialize_callbacks() before each further task.
# Upstream keeps the best score over calls on purpose, to resume a run (skorch-dev/skorch, pull request 268); that is
# older than load_best.
# Versions: skorch 1.4.0, scikit-learn 1.9.1, torch 2.13.0, CPU, CPython 3.11. One to five minutes. Download 250 MB with
# PyTorch's index of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps skorch==1.4.0 scikit-learn==1.9.1 scipy==1.17.1 joblib==1.6.0 cloudpickle==3.1.3 \
    threadpoolctl==3.8.0 narwhals==2.29.0 tabulate==0.10.0 tqdm==4.70.1
cd "$folder"

OMP_NUM_THREADS=1 "$folder/venv/bin/python" -W error - <<'PY'
import tempfile

import numpy as np
import torch
from sklearn.datasets import load_digits
from skorch import NeuralNetClassifier
from skorch.callbacks import Checkpoint, EarlyStopping
from torch import nn

TASKS, EPOCHS = 5, 20
images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))
images, labels = (images[order] / 16).astype(np.float32), labels[order]
tasks = [(images[labels // 2 == task], labels[labels // 2 == task]) for task in range(TASKS)]  # two digits each


def mlp():
    return nn.Sequential(nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 10))


def stream(name, seed, callbacks, fresh=False):
    """Fine-tune on five tasks: accuracies when learnt, of the first after the second, tasks without effect, rows."""
    torch.manual_seed(seed)
    net = NeuralNetClassifier(
        mlp, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD, lr=0.1, max_epochs=EPOCHS, verbose=0,
        callbacks=callbacks,
    ).initialize()  # fmt: skip

    def accuracy(task):
        x, y = tasks[task]
        return float((net.predict(x[200:]) == y[200:]).mean())

    learnt, still, rows = [], [], []
    for task, (x, y) in enumerate(tasks):
        if fresh:
            net.initialize_callbacks()
        before = [p.detach().clone() for p in net.module_.parameters()]
        net.partial_fit(x[:200], y[:200])
        if all(torch.equal(p, old) for p, old in zip(net.module_.parameters(), before, strict=True)):
            still.append(task + 1)
        learnt.append(accuracy(task))
        rows.append(len(net.history))
        if task == 1:
            kept = accuracy(0)
    print(f"{name}, seed {seed}: learnt", *(f"{value:.2f}" for value in learnt), end="")
    print(f"; the first after the second {kept:.2f}; tasks that moved no weight:", *still or ["none"], end="")
    print("; rows of history", *rows)
    return learnt, kept, still, rows


for seed in range(3):
    for name, callbacks in {"no callback": [], "EarlyStopping": [EarlyStopping(load_best=True)]}.items():
        learnt, kept, still, _ = stream(name, seed, callbacks)
        assert min(learnt) > 0.8 and kept < 0.1 and not still, "fine-tuning itself does not learn and forget"
    with tempfile.TemporaryDirectory() as files:
        learnt, kept, still, rows = stream("Checkpoint", seed, [Checkpoint(dirname=files, load_best=True)])
    undone = [value for task, value in enumerate(learnt, 1) if task in still]
    assert len(still) >= 2 and max(undone) == 0 and kept > 0.9 and rows[-1] < TASKS * EPOCHS, "each task is learnt now"
    with tempfile.TemporaryDirectory() as files:
        learnt, kept, still, _ = stream("and anew", seed, [Checkpoint(dirname=files, load_best=True)], fresh=True)
    assert min(learnt) > 0.8 and kept < 0.1 and not still, "initialize_callbacks does not help"
PY

#!/usr/bin/env bash
# lightning 2.6.6: its weight averaging, used for a second Trainer, undoes that training to the bit when it ends.
#
# Expected: EMAWeightAveraging, WeightAveraging and StochasticWeightAveraging average the weights of each fit they are
# given to; one callback for a stream, with a Trainer per task, averages within each task. Seen: the callback makes a
# new average of the network at the start of each fit, and keeps the step or epoch of its last update from the fit
# before. It waits until the new Trainer has come farther than that one. Tasks of equal length never do, so the average
# is the network from before the task, and it is put back at the end. The loss falls meanwhile; no error, no warning.
# On permuted digits in five tasks, the first has 0.91 to 0.93 when learnt and at the end: forgetting 0. The others end
# at 0.09 to 0.26, never learnt. With a callback per task all are learnt, to 0.85 and more, and the first falls to 0.52
# to 0.56. And a second run with a new network, under the same callback, ends with the weights of its initialisation.
# What puts it right: a new callback for each Trainer. One Trainer with fit_loop.max_epochs raised per task helps the
# first two callbacks. Under StochasticWeightAveraging it keeps the number of averaged networks, so that later tasks
# count ever less: 0.93, 0.71, 0.28, 0.11 and 0.20 when learnt.
# Upstream has no report of it that we found; the documentation says that callbacks can be shared across projects.
# Versions: lightning 2.6.6, torch 2.13.0, scikit-learn 1.9.1, CPU, CPython 3.11. Two to ten minutes. Download 250 MB
# with PyTorch's index of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps lightning==2.6.6 lightning-utilities==0.15.3 torchmetrics==1.9.0 packaging==26.4 pyyaml==6.0.4 \
    tqdm==4.70.1 scikit-learn==1.9.1 scipy==1.17.1 joblib==1.6.0 cloudpickle==3.1.3 threadpoolctl==3.8.0 \
    narwhals==2.29.0
cd "$folder"

OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PY'
import logging
import warnings

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging, WeightAveraging
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

TASKS, TRAIN, EPOCHS, BATCH = 5, 1200, 5, 32
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # without the Trainer's remarks on itself
generator = torch.Generator().manual_seed(0)
images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=generator)
images, labels = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
x, y, test_x, test_y = images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:]
pixels = [torch.randperm(64, generator=generator) for _ in range(TASKS)]


class Net(LightningModule):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
        self.losses = []

    def training_step(self, batch, _):
        loss = cross_entropy(self.layers(batch[0]), batch[1])
        self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def flat(net):
    return nn.utils.parameters_to_vector(net.parameters()).detach().clone()


def trainer(callbacks, epochs=EPOCHS):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(max_epochs=epochs, callbacks=callbacks, **quiet)


def fit(trainer, net, task):
    """Return what the callbacks say, how far the weights went, and by what the loss fell."""
    before, net.losses = flat(net), []
    loader = DataLoader(TensorDataset(x[:, pixels[task]], y), batch_size=BATCH, shuffle=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.fit(net, loader)
    said = [str(each.message) for each in said if "callbacks" in each.filename or "average" in str(each.message)]
    return said, float((flat(net) - before).norm()), net.losses[0] - sum(net.losses[-10:]) / 10


@torch.no_grad()
def accuracies(net):
    return [float((net.layers(test_x[:, order]).argmax(1) == test_y).float().mean()) for order in pixels]


def stream(seed, make, how):
    """Five tasks: accuracy of each when learnt, all at the end, how far the weights went, how much the loss fell."""
    net, learnt, went, fell, callback, one = Net(seed), [], [], [], make(), None
    for task in range(TASKS):
        if how == "a callback per task":
            callback = make()
        if one is not None and how == "one Trainer":
            one.fit_loop.max_epochs += EPOCHS
        else:
            one = trainer([callback])
        said, distance, drop = fit(one, net, task)
        assert not said, said
        went, fell = [*went, distance], [*fell, drop]
        learnt.append(accuracies(net)[task])
    return learnt, accuracies(net), went, fell


def shown(values):
    return " ".join(f"{value:.2f}" for value in values)


CALLBACKS = {
    "EMAWeightAveraging": lambda: EMAWeightAveraging(decay=0.9),
    "WeightAveraging": WeightAveraging,
    "StochasticWeightAveraging": lambda: StochasticWeightAveraging(2e-3),
}
for name, make in CALLBACKS.items():
    for seed in range(2):
        for how in ("a callback per task", "one callback", "one Trainer"):
            learnt, end, went, fell = stream(seed, make, how)
            print(f"{name}, seed {seed}, {how}: when learnt {shown(learnt)}; at the end {shown(end)}; weights", end="")
            print(f" went {shown(went)}; loss fell by {shown(fell)}", flush=True)
            assert min(fell) > 1 and learnt[0] > 0.9
            if how == "one callback":
                assert went[0] > 1 and went[1:] == [0] * (TASKS - 1), "a later task leaves something behind now"
                assert end == learnt and max(end[1:]) < 0.5
            elif how == "one Trainer" and name == "StochasticWeightAveraging":
                assert learnt[-1] < 0.5 and went[0] > 2 * went[1] > 2 * went[-1] > 0, "and it averages anew now"
            else:
                assert min(learnt) > 0.8 and end[0] < 0.7, "and the contrast is not right"

    callbacks = [make()]
    fit(trainer(callbacks), Net(0), 0)
    fresh = Net(1)
    _, distance, _ = fit(trainer(callbacks), fresh, 0)
    print(f"{name}, a second run: accuracy {accuracies(fresh)[0]:.2f}, the weights went {distance:.2f}")
    assert distance == 0 and accuracies(fresh)[0] < 0.4, "a second run is trained now"
PY

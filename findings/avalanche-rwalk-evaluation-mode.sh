#!/usr/bin/env bash
# avalanche-lib 0.6.0: RWalkPlugin trains the network in evaluation mode, without dropout and with a dead batch norm.
#
# Expected: with ewc_lambda=0 the plugin only watches, and the network is that of fine-tuning. Seen: with dropout, the
# trained weights are to the bit those of the network without the dropout layer; with batch norm, the running mean and
# variance are still 0 and 1 after three tasks, and the layer never normalised anything. Before each step the plugin
# calls model.eval() for a gradient of its own and nothing calls train() again, so the step itself is one of evaluation
# mode. No warning; a network without such layers shows nothing. A table that compares RWalk with fine-tuning compares
# two networks. On permuted digits with batch norm, the first task ends 0.07 to 0.16 higher at strength 0, where no
# weight is held, and the last one 0.06 lower: a stability and an intransigence that are those of another network.
# What puts it right: a plugin whose before_forward calls strategy.model.train(), as below.
# Upstream: the master branch of ContinualAI/avalanche, March 2025, has the same lines; a search found no issue.
# Versions: avalanche-lib 0.6.0, torch 2.13.0, torchvision 0.15.2 (which imports beside any torch and is not used; it is
# why this script asks for CPython 3.11). One to ten minutes. Download 350 MB with PyTorch's index of CPU wheels in
# PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps avalanche-lib==0.6.0 torchvision==0.15.2 \
    absl-py==2.5.1 annotated-types==0.8.0 anyio==4.16.0 beautifulsoup4==4.15.0 certifi==2025.11.12 \
    charset-normalizer==3.4.4 click==8.5.1 cloudpickle==3.1.3 contourpy==1.3.3 cwevals==0.0.1b1 cycler==0.12.1 \
    dill==0.4.1 distro==1.9.0 \
    fonttools==4.68.0 gdown==6.5.1 googleapis-common-protos==1.76.0 gputil==1.4.0 grpcio==1.85.3 h11==0.16.0 \
    httpcore==1.0.9 httpx==0.28.1 idna==3.11 joblib==1.6.0 kiwisolver==1.5.1 lightning-utilities==0.15.3 \
    markdown==3.11.3 matplotlib==3.11.2 narwhals==2.29.0 opentelemetry-api==1.45.2 \
    opentelemetry-exporter-http-transport==0.66b2 \
    opentelemetry-exporter-otlp-common==0.66b2 opentelemetry-exporter-otlp-proto-common==1.45.2 \
    opentelemetry-exporter-otlp-proto-http==1.45.2 opentelemetry-proto==1.45.2 opentelemetry-sdk==1.45.2 \
    opentelemetry-semantic-conventions==0.66b2 packaging==26.4 pillow==13.0.0 platformdirs==4.14.8 protobuf==7.36.2 \
    psutil==7.2.2 pydantic==2.14.4 pydantic_core==2.50.5 pyparsing==3.3.3 python-dateutil==4.0.0 pytorchcv==0.0.74 \
    pyyaml==6.0.4 qpsolvers==4.13.0 requests==2.32.5 scikit-learn==1.9.1 scipy==1.17.1 sniffio==1.3.1 soupsieve==4.1.3 \
    tensorboard-data-server==0.7.2 tensorboard==2.21.0 threadpoolctl==3.8.0 torchmetrics==1.8.2 tqdm==4.70.1 \
    typing-inspection==0.4.5 urllib3==2.5.0 wandb==0.31.0 werkzeug==3.1.9 xxhash==4.1.0
cd "$folder"

HOME="$folder" OMP_NUM_THREADS=1 "$folder/venv/bin/python" -W ignore - <<'PY'
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import _make_taskaware_classification_dataset as dataset
from avalanche.training.plugins import RWalkPlugin, SupervisedPlugin
from avalanche.training.supervised import Naive
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

TASKS, TRAIN, BATCH, EPOCHS = 3, 1200, 32, 5
images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
images, labels = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
pixels = [torch.randperm(64, generator=torch.Generator().manual_seed(number)) for number in range(TASKS)]


def task(number):
    """The digits with the pixels in another order."""
    x, y = images[:TRAIN, pixels[number]], labels[:TRAIN]
    return dataset(TensorDataset(x, y), targets=y.tolist(), task_labels=0)


benchmark = benchmark_from_datasets(train=[task(number) for number in range(TASKS)])


class Train(SupervisedPlugin):
    """The remedy: the step is one of training mode."""

    def before_forward(self, strategy, **kwargs):
        strategy.model.train()


def trained(seed, layer, *plugins):
    """The network after all tasks."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 100), layer, nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    options = {"train_mb_size": BATCH, "train_epochs": EPOCHS, "evaluator": None}
    strategy = Naive(model=net, optimizer=optimizer, plugins=list(plugins), **options)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    return net


def vector(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def accuracies(net):
    net.eval()
    return [float((net(images[TRAIN:, p]).argmax(1) == labels[TRAIN:]).double().mean()) for p in pixels]


def show(seed, name, net):
    found = accuracies(net)
    print(f"seed {seed}, {name}:", *(f"{value:.3f}" for value in found))
    return found


for seed in range(3):
    bare = trained(seed, nn.Identity())
    tuned = trained(seed, nn.Dropout(0.5))
    watched = trained(seed, nn.Dropout(0.5), RWalkPlugin(ewc_lambda=0.0))
    righted = trained(seed, nn.Dropout(0.5), RWalkPlugin(ewc_lambda=0.0), Train())
    nets = {"fine-tuning": tuned, "no dropout layer": bare, "RWalk 0": watched, "RWalk 0, put right": righted}
    for name, net in nets.items():
        show(seed, f"dropout, {name}", net)
    assert torch.equal(vector(watched), vector(bare)), "RWalk drops units now"
    assert not torch.equal(vector(tuned), vector(bare))
    assert torch.equal(vector(righted), vector(tuned)), "and with train() it is not fine-tuning"

    tuned = trained(seed, nn.BatchNorm1d(100))
    watched = trained(seed, nn.BatchNorm1d(100), RWalkPlugin(ewc_lambda=0.0))
    righted = trained(seed, nn.BatchNorm1d(100), RWalkPlugin(ewc_lambda=0.0), Train())
    found = {}
    for name, net in {"fine-tuning": tuned, "RWalk 0": watched, "RWalk 0, put right": righted}.items():
        found[name] = show(seed, f"batch norm, {name}", net)
        norm = net[1]
        print(f"    batches seen {norm.num_batches_tracked}, largest running mean", end=" ")
        print(f"{norm.running_mean.abs().max():.2f}, variance {norm.running_var.max():.2f}")
    norm = watched[1]
    assert not norm.running_mean.any() and (norm.running_var == 1).all(), "batch norm learns under RWalk now"
    assert tuned[1].running_mean.any()
    assert torch.equal(vector(righted), vector(tuned)) and torch.equal(righted[1].running_mean, tuned[1].running_mean)
    assert found["RWalk 0"][0] - found["fine-tuning"][0] > 0.03, "the first task is kept alike now"
    assert found["fine-tuning"][-1] - found["RWalk 0"][-1] > 0.02, "the last task is learnt alike now"
PY

#!/usr/bin/env bash
# avalanche-lib 0.6.0: on a CPU, Synaptic Intelligence is plain fine-tuning, to the last bit and at any strength.
#
# Expected: SynapticIntelligencePlugin holds old tasks back on a CPU as on a GPU; numbers differ by rounding at most.
# Seen: all importances are exactly 0, and a network trained with si_lambda of a million has the weights of the one
# trained without it, bit for bit. The plugin keeps weights by .cpu().flatten(), a copy for a parameter on a GPU and a
# view of the live one on a CPU: "before the step" and "after the step" are the same memory, every step is 0 long, and
# so is the distance from the anchor. No warning. A user who tries it out on a laptop, or runs small streams on CPU
# nodes, tunes a strength that does nothing and reports that SI is no better than fine-tuning; the same script on a GPU
# gives another table.
# What puts it right: an extract_weights that clones what it keeps, as below.
# Versions: avalanche-lib 0.6.0, torch 2.13.0, torchvision 0.15.2 (which imports beside any torch and is not used; it is
# why this script asks for CPython 3.11). Three to six minutes. Download 350 MB with PyTorch's index of CPU wheels in
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
    charset-normalizer==3.4.4 click==8.5.1 contourpy==1.3.3 cwevals==0.0.1b1 cycler==0.12.1 dill==0.4.1 distro==1.9.0 \
    fonttools==4.68.0 gdown==6.5.1 googleapis-common-protos==1.76.0 gputil==1.4.0 grpcio==1.85.3 h11==0.16.0 \
    httpcore==1.0.9 httpx==0.28.1 idna==3.11 joblib==1.6.0 kiwisolver==1.5.1 lightning-utilities==0.15.3 markdown==3.11.3 \
    matplotlib==3.11.2 narwhals==2.29.0 opentelemetry-api==1.45.2 opentelemetry-exporter-http-transport==0.66b2 \
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
from avalanche.training.plugins import SynapticIntelligencePlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.utils.data import TensorDataset


def task(seed):
    """Which side of a plane: 400 points in ten dimensions."""
    generator = torch.Generator().manual_seed(seed)
    x, normal = torch.randn(400, 10, generator=generator), torch.randn(10, generator=generator)
    y = (x @ normal > 0).long()
    return dataset(TensorDataset(x, y), targets=y.tolist(), task_labels=0)


plain = SynapticIntelligencePlugin.extract_weights


def extract_weights(model, target, excluded):
    """The remedy: what is kept has memory of its own."""
    plain(model, target, excluded)
    for kept in target.values():
        kept.data = kept.data.clone()


def two_tasks(*plugins):
    """The weights after two tasks."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    options = {"train_mb_size": 20, "train_epochs": 3, "evaluator": None}
    strategy = Naive(model=net, optimizer=optimizer, plugins=list(plugins), **options)
    for experience in benchmark_from_datasets(train=[task(1), task(2)]).train_stream:
        strategy.train(experience, shuffle=False)
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def largest_importance(plugin):
    return max(float(kept.data.abs().max()) for kept in plugin.ewc_data[1].values())


def show(title, plugin, weights):
    same = torch.equal(weights, fine_tuned)
    print(f"{title}: largest importance {largest_importance(plugin):g}, as fine-tuned: {same}")


fine_tuned = two_tasks()
for strength in (1.0, 1e6):
    plugin = SynapticIntelligencePlugin(si_lambda=strength)
    weights = two_tasks(plugin)
    show(f"si_lambda {strength:g}", plugin, weights)
    assert largest_importance(plugin) == 0, "there are importances on a CPU now"
    assert torch.equal(weights, fine_tuned), "SI holds back on a CPU now"

SynapticIntelligencePlugin.extract_weights = staticmethod(extract_weights)
plugin = SynapticIntelligencePlugin(si_lambda=1.0)
weights = two_tasks(plugin)
show("with clones", plugin, weights)
assert largest_importance(plugin) > 0 and not torch.equal(weights, fine_tuned), "cloning does not help"
PY

#!/usr/bin/env bash
# avalanche-lib 0.6.0: MAC_metrics forgets the input channels of a convolution, and changes the accuracy it stands by.
#
# Expected: the manual calls it the number of multiplications of the Conv2d and Linear layers, for one pattern. A metric
# leaves the network alone. Seen: a convolution from 64 channels to 64 counts as if it had one input channel, 1/64 of
# what it costs. Groups are not looked at either, so a depthwise convolution counts as much as a full one. For
# Avalanche's own SlimResNet18 the number is 34 times too small, and of two networks the one that needs an eighth of the
# work gets the larger number. A Linear layer on a sequence of L tokens counts L * L, whatever its sizes.
# With epoch=True or minibatch=True, it sends one pattern through the network after every iteration, in training mode.
# That moves the running statistics of batch norm, half of which are then those of single patterns, and draws
# dropout. Here the trained weights are the same to the last bit, and accuracies move: of nine, one by 17 points, the
# others by up to 5. Nothing warns.
# A table of methods "with their cost" is wrong in both columns.
# What puts it right: FlopCounterMode of torch on the network in evaluation mode, halved; with experience=True the
# count is as wrong, but the statistics stay.
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
"${pip[@]}" --no-deps \
    avalanche-lib==0.6.0 torchvision==0.15.2 absl-py==2.5.1 annotated-types==0.8.0 anyio==4.16.0 \
    beautifulsoup4==4.15.0 certifi==2025.11.12 charset-normalizer==3.4.4 click==8.5.1 cloudpickle==3.1.2 \
    contourpy==1.3.3 cwevals==0.0.1b1 cycler==0.12.1 dill==0.4.1 distro==1.9.0 fonttools==4.68.0 gdown==6.5.1 \
    googleapis-common-protos==1.76.0 gputil==1.4.0 grpcio==1.85.3 h11==0.16.0 httpcore==1.0.9 httpx==0.28.1 \
    idna==3.11 joblib==1.6.0 kiwisolver==1.5.1 lightning-utilities==0.15.3 markdown==3.11.3 matplotlib==3.11.2 \
    narwhals==2.29.0 opentelemetry-api==1.45.2 opentelemetry-exporter-http-transport==0.66b2 \
    opentelemetry-exporter-otlp-common==0.66b2 opentelemetry-exporter-otlp-proto-common==1.45.2 \
    opentelemetry-exporter-otlp-proto-http==1.45.2 opentelemetry-proto==1.45.2 opentelemetry-sdk==1.45.2 \
    opentelemetry-semantic-conventions==0.66b2 packaging==26.4 pillow==13.0.0 platformdirs==4.14.8 protobuf==7.36.2 \
    psutil==7.2.2 pydantic==2.14.4 pydantic_core==2.50.5 pyparsing==3.3.3 python-dateutil==4.0.0 pytorchcv==0.0.74 \
    pyyaml==6.0.4 qpsolvers==4.13.0 requests==2.32.5 scikit-learn==1.9.1 scipy==1.17.1 sniffio==1.3.1 \
    soupsieve==4.1.3 tensorboard-data-server==0.7.2 tensorboard==2.21.0 threadpoolctl==3.8.0 torchmetrics==1.8.2 \
    tqdm==4.70.1 typing-inspection==0.4.5 urllib3==2.5.0 wandb==0.31.0 werkzeug==3.1.9 xxhash==4.1.0
cd "$folder"

HOME="$folder" OMP_NUM_THREADS=1 "$folder/venv/bin/python" -W ignore - <<'PY'
from itertools import pairwise

import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import _make_taskaware_classification_dataset as dataset
from avalanche.evaluation.metrics import MAC, MAC_metrics, accuracy_metrics
from avalanche.models import SlimResNet18
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset
from torch.utils.flop_counter import FlopCounterMode

torch.set_num_threads(1)


def theirs(net, x):
    metric = MAC()
    metric.update(net.eval(), x)
    return metric.result()


def counted(net, x):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval()(x)
    return counter.get_total_flops() // 2


def by_hand(net, x):
    """Every number that a layer puts out takes as many multiplications as it has weights for it."""
    total = []

    def count(layer, _, output):
        total.append(output.numel() * layer.weight[0].numel())

    layers = [layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        net.eval()(x)
    for handle in handles:
        handle.remove()
    return sum(total)


def convolutions(separable):
    layers = [nn.Conv2d(3, 128, 3, padding=1)]
    for _ in range(4):
        if separable:
            layers += [nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1, groups=128), nn.Conv2d(128, 128, 1)]
        else:
            layers += [nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


image, numbers = torch.randn(1, 3, 32, 32), {}
for name, net, x in (
    ("Linear(784, 10)", nn.Linear(784, 10), torch.randn(1, 784)),
    ("Conv2d(1, 64, 3)", nn.Conv2d(1, 64, 3, padding=1), torch.randn(1, 1, 32, 32)),
    ("Conv2d(64, 64, 3)", nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 32, 32)),
    ("Conv2d(64, 64, 3, groups=64)", nn.Conv2d(64, 64, 3, padding=1, groups=64), torch.randn(1, 64, 32, 32)),
    ("Linear(64, 256) of 8 tokens", nn.Linear(64, 256), torch.randn(1, 8, 64)),
    ("SlimResNet18", SlimResNet18(10), image),
    ("full convolutions", convolutions(separable=False), image),
    ("separable convolutions", convolutions(separable=True), image),
):
    numbers[name] = got, right = theirs(net, x), counted(net, x)
    assert right == by_hand(net, x), "the two right ways differ"
    print(f"{name}: {got:,} multiplications in place of {right:,}; 1/{right / got:.1f}")
ratio = {name: right / got for name, (got, right) in numbers.items()}
assert ratio["Linear(784, 10)"] == ratio["Conv2d(1, 64, 3)"] == ratio["Conv2d(64, 64, 3, groups=64)"] == 1
assert ratio["Conv2d(64, 64, 3)"] == 64 and ratio["SlimResNet18"] > 20, "input channels count"
assert numbers["Linear(64, 256) of 8 tokens"][0] == 8 * 8, "sizes of a Linear layer on tokens count"
full, separable = numbers["full convolutions"], numbers["separable convolutions"]
assert full[0] < separable[0] and full[1] > 5 * separable[1], "the cheaper network has the smaller number"

digits = load_digits()
x, y = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
x, y = x[order], y[order]


def stream(part):
    """Three tasks: the digits, turned by a quarter each time."""
    turned = [torch.rot90(x[part], quarter, (2, 3)) for quarter in range(3)]
    return [dataset(TensorDataset(images, y[part]), targets=y[part].tolist(), task_labels=0) for images in turned]


def run(*metrics):
    """The weights after three tasks, the running statistics, and the accuracies on the tasks after each."""
    torch.manual_seed(0)
    layers, sizes = [], (1, 32, 64, 128, 128)
    for before, after in pairwise(sizes):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if after < 128 else []
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    evaluator = EvaluationPlugin(accuracy_metrics(experience=True), *metrics, loggers=[])
    options = {"train_mb_size": 32, "train_epochs": 3, "eval_mb_size": 600, "evaluator": evaluator}
    strategy = Naive(model=net, optimizer=optimizer, **options)
    benchmark, accuracies = benchmark_from_datasets(train=stream(slice(1200)), test=stream(slice(1200, None))), []
    for experience in benchmark.train_stream:
        strategy.train(experience)
        result = strategy.eval(benchmark.test_stream)
        accuracies += [value for name, value in sorted(result.items()) if "Acc_Exp" in name]
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    return weights, torch.cat([layer.running_var for layer in net if isinstance(layer, nn.BatchNorm2d)]), accuracies


plain, results = run(), {}
for name, metrics in {"epoch": MAC_metrics(epoch=True), "experience": MAC_metrics(experience=True)}.items():
    weights, statistics, accuracies = results[name] = run(*metrics)
    change = max(abs(after - before) for before, after in zip(plain[2], accuracies, strict=True))
    print(f"MAC_metrics({name}=True): weights as without it: {torch.equal(weights, plain[0])};", end=" ")
    print(f"running variance {float((statistics / plain[1]).log().abs().mean().exp()):.2f} times off;", end=" ")
    print(f"an accuracy moves by up to {change:.3f}")
    for title, values in {"without it": plain[2], "with it   ": accuracies}.items():
        print("   ", title, *(f"{value:.3f}" for value in values))
    assert torch.equal(weights, plain[0])
    assert torch.equal(statistics, plain[1]) == (accuracies == plain[2]) == (name == "experience")
PY

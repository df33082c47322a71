#!/usr/bin/env bash
# avalanche-lib 0.6.0: the forgetting on the test stream is measured from the training accuracy, if both are evaluated.
#
# Expected: StreamForgetting/eval_phase/test_stream is how far the test accuracies fell since each experience was
# learnt, whatever else is evaluated. Seen: the metric keeps one starting value for each number of an experience and
# does not ask of which stream. The stream that is evaluated last after the training of an experience gives the start
# for all. With eval(test_stream), eval(train_stream) the test forgetting is the training accuracy of then minus the
# test accuracy of now: the gap of generalisation is reported as forgetting. The other way round, the forgetting on the
# training stream comes out too small, for replay below 0: a backward transfer that is not there. The metrics of
# backward transfer share the code. The names of the metrics carry the stream; no warning.
# On permuted digits with 150 training images a task, replay forgets 0.02 to 0.03 and is reported at 0.11 to 0.12; on
# the training stream it forgets 0.00 to 0.01 and is reported at -0.10 to -0.07.
# What puts it right: evaluate the test stream last, or alone; then its figures are right and those of the training
# stream are not. Right for both: take the differences from the accuracies of each experience.
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
from avalanche.evaluation.metrics import accuracy_metrics, bwt_metrics, forgetting_metrics
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
from avalanche.training.supervised import Naive
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

TASKS, TRAIN, TEST, BATCH, EPOCHS = 3, 150, 597, 32, 10
images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
images, labels = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]


def task(number, which):
    """The digits with the pixels in another order."""
    pixels = torch.randperm(64, generator=torch.Generator().manual_seed(number))
    x, y = images[which][:, pixels], labels[which]
    return dataset(TensorDataset(x, y), targets=y.tolist(), task_labels=0)


train = [task(number, slice(0, TRAIN)) for number in range(TASKS)]
test = [task(number, slice(-TEST, None)) for number in range(TASKS)]
benchmark = benchmark_from_datasets(train=train, test=test)


def reported_and_right(streams, seed):
    """Replay; per stream, the forgetting that is reported and that of the accuracies."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    metrics = accuracy_metrics(experience=True), forgetting_metrics(stream=True), bwt_metrics(stream=True)
    strategy = Naive(
        model=net,
        optimizer=optimizer,
        plugins=[ReplayPlugin(TASKS * TRAIN)],
        evaluator=EvaluationPlugin(*metrics, loggers=[]),
        train_mb_size=BATCH,
        train_epochs=EPOCHS,
        eval_mb_size=TEST,
    )
    rows = {name: [] for name in streams}
    for number, experience in enumerate(benchmark.train_stream):
        torch.manual_seed(TASKS * seed + number)  # an evaluation draws too
        strategy.train(experience)
        for name in streams:
            found = strategy.eval(getattr(benchmark, f"{name}_stream"))
            accuracies = [found[f"Top1_Acc_Exp/eval_phase/{name}_stream/Exp{t:03}"] for t in range(TASKS)]
            rows[name].append(accuracies)
    result = {}
    for name, matrix in rows.items():
        right = sum(matrix[t][t] - matrix[-1][t] for t in range(TASKS - 1)) / (TASKS - 1)
        said = [found[f"Stream{metric}/eval_phase/{name}_stream"] for metric in ("Forgetting", "BWT")]
        assert abs(said[0] + said[1]) < 1e-9
        result[name] = said[0], right
    return result


for seed in range(3):
    found = {}
    for streams in (["test"], ["test", "train"], ["train", "test"]):
        found[tuple(streams)] = reported_and_right(streams, seed)
        for name, (said, right) in found[tuple(streams)].items():
            print(f"seed {seed}, evaluated {' then '.join(streams)}: forgetting on the {name} stream", end=" ")
            print(f"{said:.3f}, by the accuracies {right:.3f}")
    alone, test_first, train_first = found.values()
    assert test_first["test"][1] == alone["test"][1] == train_first["test"][1], "the three runs are not one training"
    for said, right in (alone["test"], train_first["test"], test_first["train"]):
        assert abs(said - right) < 1e-6, "and the stream that is evaluated last is not right"
    said, right = test_first["test"]
    assert said > 0.07 and right < 0.05 and said - right > 0.04, "the test stream has a start of its own now"
    said, right = train_first["train"]
    assert said < -0.03 and right > -0.02, "the training stream has a start of its own now"
PY

#!/usr/bin/env bash
# torchmetrics 1.9.0: MulticlassAccuracy of one task of ten classes sinks to 0.67 by a single wrong answer in 1000.
#
# Expected: the class MulticlassAccuracy averages over the classes of the examples it saw, as the accuracy of each class
# (its default, average="macro"); over 1000 examples of two classes with one wrong answer that is 0.999. Seen: if the
# wrong answer is one of the two classes, 0.999; if it is one of the other eight, 0.666. A class without any example
# counts as a class with accuracy 0 from the first time that it is wrongly predicted, and is left out before. No
# warning; scikit-learn's balanced accuracy is 0.999, and says that it met a predicted class without examples.
# On all classes at once this never shows. Per task it does: replay on the handwritten digits, class-incremental in five
# tasks, has an average accuracy of 0.94, and by this metric 0.43 to 0.45, while the same metric of all examples at once
# gives 0.94. The first task falls by 0.63 where 0.1 is forgotten. Fine-tuning, which forgets everything, has the right
# 0.2, so the gap between the two shrinks to a third.
# What puts it right: average="micro", or the mean of average=None over the classes of the task.
# Upstream: Lightning-AI/torchmetrics, issue 1664, got classes that are neither there nor predicted left out.
# Versions: torchmetrics 1.9.0, scikit-learn 1.9.1, torch 2.13.0, CPU, CPython 3.11. One to five minutes. Download
# 250 MB with PyTorch's index of CPU wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" torch==2.13.0 numpy==2.4.6 filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 \
    networkx==3.6.1 setuptools==84.2.1 sympy==1.14.0 typing_extensions==4.16.0
"${pip[@]}" --no-deps torchmetrics==1.9.0 lightning-utilities==0.15.3 packaging==26.4 scikit-learn==1.9.1 \
    scipy==1.17.1 joblib==1.6.0 cloudpickle==3.1.3 threadpoolctl==3.8.0 narwhals==2.29.0
cd "$folder"

OMP_NUM_THREADS=1 "$folder/venv/bin/python" -W error - <<'PY'
import warnings

import torch
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.nn.functional import cross_entropy
from torchmetrics.classification import MulticlassAccuracy

CLASSES, TASKS, TRAIN, STEPS, BATCH = 10, 5, 1200, 300, 32


def macro(answers, truth):
    return float(MulticlassAccuracy(CLASSES)(answers, truth))


def micro(answers, truth):
    return float(MulticlassAccuracy(CLASSES, average="micro")(answers, truth))


def of_its_classes(answers, truth):
    """The mean of the single accuracies over the classes that have examples."""
    return float(MulticlassAccuracy(CLASSES, average=None)(answers, truth)[truth.unique()].mean())


truth = torch.arange(1000) % 2
inside, outside = truth.clone(), truth.clone()
inside[0], outside[0] = 1, 7
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    balanced = [balanced_accuracy_score(truth, answers) for answers in (inside, outside)]
print(f"one of 1000 wrong, within the task's classes: {macro(inside, truth):.3f}, scikit-learn {balanced[0]:.3f}")
print(f"one of 1000 wrong, by another class: {macro(outside, truth):.3f}, scikit-learn {balanced[1]:.3f}")
print("scikit-learn says:", *(str(warning.message) for warning in said))
assert abs(macro(inside, truth) - 0.999) < 1e-6, "and the other one is not right"
assert abs(macro(outside, truth) - 0.998 / 3 - 1 / 3) < 1e-6, "a class without examples is left out now"
assert max(abs(value - 0.999) for value in balanced) < 1e-9 and len(said) == 1
assert abs(micro(outside, truth) - 0.999) < 1e-6 and abs(of_its_classes(outside, truth) - 0.999) < 1e-6

images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
images, labels = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
x, y, test_x, test_y = images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:]


def stream(replay, seed):
    """Five tasks of two digits: the net's answers after the first task and at the end."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, CLASSES))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for task in range(TASKS):
        new, old = (torch.nonzero(which).flatten() for which in (y // 2 == task, y // 2 < task))
        for _ in range(STEPS):
            batch = new[torch.randint(len(new), (BATCH,))]
            if replay and task:
                batch = torch.cat([batch, old[torch.randint(len(old), (BATCH,))]])
            optimizer.zero_grad()
            cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
        if task == 0:
            first = net(test_x).argmax(1)
    return first, net(test_x).argmax(1)


def per_task(metric, answers):
    return [metric(answers[test_y // 2 == task], test_y[test_y // 2 == task]) for task in range(TASKS)]


def mean(values):
    return sum(values) / len(values)


for seed in range(3):
    found = {}
    for name, replay in {"replay": True, "fine-tuning": False}.items():
        first, end = stream(replay, seed)
        for metric in (micro, of_its_classes, macro):
            tasks, whole = per_task(metric, end), metric(end, test_y)
            lost = per_task(metric, first)[0] - tasks[0]
            found[name, metric] = mean(tasks), whole, lost
            print(f"{name}, seed {seed}, {metric.__name__}:", *(f"{value:.2f}" for value in tasks), end="")
            print(f"; average {mean(tasks):.2f}, all at once {whole:.2f}; the first task lost {lost:.2f}")
    for right in (micro, of_its_classes):
        average, whole, lost = found["replay", right]
        assert average > 0.9 and abs(average - whole) < 0.01 and lost < 0.2, "and another average is not right"
    average, whole, lost = found["replay", macro]
    assert average < 0.6 and whole > 0.9 and lost > 0.4, "the macro average of a task is right now"
    assert all(abs(found["fine-tuning", metric][0] - 0.2) < 0.02 for metric in (micro, of_its_classes, macro))
PY

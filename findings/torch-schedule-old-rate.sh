#!/usr/bin/env bash
# torch 2.13.0: a new schedule on a used optimiser brings back the learning rate of its first schedule.
#
# Expected: for the second task a user sets group["lr"] to a hundredth, to spare what was learnt, and makes a new
# schedule. It starts from there; the documentation of LambdaLR says: "When last_epoch=-1, sets initial lr as lr."
# Seen: the first schedule has written an `initial_lr` into the group, and later ones leave it as it is. LambdaLR, on
# which the warm-ups of transformers are built, CosineAnnealingWarmRestarts, and a SequentialLR of a warm-up and a
# cosine start from it: the second task is learnt with the full rate of the first, and nothing warns. StepLR,
# ExponentialLR, PolynomialLR, LinearLR, ConstantLR and CosineAnnealingLR obey. So the kind of schedule decides, and
# whoever compares schedules compares rates. It takes an optimiser that is kept over tasks, or over two phases of
# training. Here the small rate keeps the first task, and with a schedule that should change nothing the first task is
# forgotten.
# What puts it right: set group["initial_lr"] as well, or make a new optimiser.
# Versions: torch 2.13.0, CPU, CPython 3.11. One to five minutes. Download 200 MB with PyTorch's index of CPU
# wheels in PIP_EXTRA_INDEX_URL; without it pip takes the CUDA build on Linux, 3 GB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 \
    filelock==4.3.1 fsspec==2026.9.0 jinja2==3.1.6 markupsafe==3.0.4 mpmath==1.3.0 networkx==3.6.1 setuptools==84.2.1 \
    sympy==1.14.0 typing_extensions==4.16.0
cd "$folder"

"$folder/venv/bin/python" -W error - <<'PY'
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

FIRST, SECOND, STEPS = 0.1, 0.001, 10
SCHEDULES = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 5),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, STEPS),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.25, total_iters=4),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 4),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, STEPS),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1.0),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(o, STEPS - 3)], [3]
    ),
}
NOT_OBEYED = {"CosineAnnealingWarmRestarts", "LambdaLR", "SequentialLR"}


def rates(optimiser, schedule):
    """The learning rate of each of ten steps."""
    schedule, seen = schedule(optimiser), []
    for _ in range(STEPS):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return torch.tensor(seen, dtype=torch.float64)


def used(schedule):
    """An optimiser after a first task, with the rate of the second."""
    optimiser = SGD([nn.Parameter(torch.zeros(1))], lr=FIRST)
    rates(optimiser, schedule)
    optimiser.param_groups[0]["lr"] = SECOND
    return optimiser


for name, schedule in SCHEDULES.items():
    seen = rates(used(schedule), schedule)
    expected = rates(SGD([nn.Parameter(torch.zeros(1))], lr=SECOND), schedule)
    print(f"{name:>27}:", *(f"{rate:.4f}" for rate in seen[:5]), "| a new one:", *(f"{e:.4f}" for e in expected[:5]))
    assert torch.allclose(seen, expected) != (name in NOT_OBEYED), f"{name} has changed sides"
    optimiser = used(schedule)
    optimiser.param_groups[0]["initial_lr"] = SECOND
    assert torch.allclose(rates(optimiser, schedule), expected), "setting initial_lr does not help"

x = torch.randn(1500, 20, generator=torch.Generator().manual_seed(0))
tasks = [(x @ torch.randn(20, 4, generator=torch.Generator().manual_seed(1 + k))).argmax(1) for k in range(2)]


def accuracy_of_the_first_task(change):
    """A network learns two tasks with one optimiser, the second with the smaller rate after `change`."""
    torch.manual_seed(0)
    body, heads = nn.Sequential(nn.Linear(20, 16), nn.ReLU()), [nn.Linear(16, 4) for _ in range(2)]
    optimiser = SGD([*body.parameters(), *heads[0].parameters(), *heads[1].parameters()], lr=FIRST)
    found = []
    for k, (head, y) in enumerate(zip(heads, tasks, strict=True)):
        if k:
            optimiser.param_groups[0]["lr"] = SECOND
        schedule = change(k, optimiser)
        for _ in range(1500):
            batch = torch.randint(1000, (64,))
            optimiser.zero_grad()
            nn.functional.cross_entropy(head(body(x[batch])), y[batch]).backward()
            optimiser.step()
            if schedule:
                schedule.step()
        found.append(float((heads[0](body(x[1000:])).argmax(1) == tasks[0][1000:]).double().mean()))
    return found


def renewed(k, optimiser):
    optimiser.param_groups[0].pop("initial_lr", None)
    return SCHEDULES["LambdaLR"](optimiser)


none = accuracy_of_the_first_task(lambda k, optimiser: None)
constant = accuracy_of_the_first_task(lambda k, optimiser: SCHEDULES["LambdaLR"](optimiser))
for title, (learnt, kept) in (("no schedule", none), ("LambdaLR of a constant 1", constant)):
    print(f"{title}: accuracy of the first task {learnt:.3f} when learnt, {kept:.3f} after the second")
assert none[0] == constant[0] and none[1] > none[0] - 0.05 and constant[1] < none[1] - 0.15
assert accuracy_of_the_first_task(renewed) == none, "without initial_lr it is not right either"
PY

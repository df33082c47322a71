#!/usr/bin/env bash
# torch 2.13.0: single weights that a mask on the gradient should freeze move under torch.optim.Muon all the same.
#
# Expected: a weight whose gradient was 0 in every step, without momentum from before and with weight_decay=0, stays
# where it is. So it does under SGD, Adam and Adafactor; this is how PackNet and HAT protect single weights.
# Seen: under Muon it moves from the first step on. Muon replaces the gradient U S V^T of a matrix by U V^T. That
# leaves whole rows and whole columns of zeros alone, but not zeros in between. If the gradient is close to low rank,
# as those of networks are, and few weights are frozen, the frozen ones move further than the free ones. Nothing warns,
# and the new task is learnt. PackNet forgets exactly nothing by construction; here it loses 6 to 16 points
# of the earlier tasks, by seed, as a method of another kind would, and a user takes that for the result.
# What puts it right: copy the frozen weights back after each step.
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
from torch.nn import Parameter
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adafactor, Adam, Muon

OPTIMISERS = {
    "SGD": lambda weights: SGD(weights, lr=0.05, momentum=0.9),
    "Adam": lambda weights: Adam(weights, lr=0.001),
    "Adafactor": lambda weights: Adafactor(weights, lr=0.01),
    "Muon": lambda weights: Muon(weights, lr=0.02, weight_decay=0.0),
}
TASKS, SIDE = 5, 64
torch.set_num_threads(1)


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def moved(name, gradient):
    """How far a fresh optimiser's first step takes each weight of a matrix."""
    weight = Parameter(torch.zeros(gradient.shape))
    weight.grad = gradient.clone()
    OPTIMISERS[name]([weight]).step()
    return weight.detach().abs()


def ratio(size, free):
    return float(size[~free].mean() / size[free].mean())


low_rank = normal(1, SIDE, 3) @ normal(2, 3, SIDE) + normal(3, SIDE, SIDE) / 20
for share in (0.2, 0.5, 0.8):
    free = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(4)) >= share
    u, _, vt = torch.linalg.svd((low_rank * free).double())
    theirs, exact = ratio(moved("Muon", low_rank * free), free), ratio((u @ vt).abs(), free)
    print(f"{share:.0%} frozen: they move {theirs:.2f} of what the others do; by U V^T in float64 {exact:.2f}")
    assert exact > 0.1 and abs(theirs / exact - 1) < 0.3, "frozen weights do not move as U V^T says"
    assert not any(moved(name, low_rank * free)[~free].any() for name in OPTIMISERS if name != "Muon")
rows = (torch.arange(SIDE) % 2 == 0)[:, None]
assert not moved("Muon", low_rank * rows)[1::2].any(), "a frozen row moves"
assert not moved("Muon", low_rank * rows.T)[:, 1::2].any(), "a frozen column moves"


def packnet(name, put_back=False):
    """Each of five tasks gets a fifth of the weights of four layers; those of earlier tasks are frozen."""
    torch.manual_seed(0)
    body = [Parameter(normal(5 + layer, SIDE, SIDE) * (2 / SIDE) ** 0.5) for layer in range(4)]
    heads = [Parameter(normal(7, 10, SIDE) / SIDE**0.5) for _ in range(TASKS)]
    owners = [torch.full((SIDE, SIDE), TASKS) for _ in body]  # the task that a weight belongs to

    def examples(task):
        y = torch.randint(10, (1500,), generator=torch.Generator().manual_seed(10 + task))
        return normal(20 + task, 10, SIDE)[y] * 0.6 + normal(30 + task, 1500, SIDE), y

    def logits(task, x):
        for weight, owner in zip(body, owners, strict=True):
            x = (x @ (weight * (owner <= task)).T).relu()
        return x @ heads[task].T

    def train(task, masks):
        (x, y), optimiser = examples(task), OPTIMISERS[name]([*body, heads[task]])
        start = [weight.detach().clone() for weight in body]
        for _ in range(200):
            batch = torch.randint(1000, (64,))
            optimiser.zero_grad()
            cross_entropy(logits(task, x[batch]), y[batch]).backward()
            for weight, mask in zip(body, masks, strict=True):
                weight.grad *= mask
            optimiser.step()
            if put_back:
                for weight, mask, old in zip(body, masks, start, strict=True):
                    weight.data = torch.where(mask, weight.data, old)

    def accuracy(task):
        x, y = examples(task)
        return float((logits(task, x[1000:]).argmax(1) == y[1000:]).double().mean())

    learnt = []
    for task in range(TASKS):
        for owner in owners:
            owner[owner >= task] = task
        train(task, [owner == task for owner in owners])
        for weight, owner in zip(body, owners, strict=True):
            order = weight.detach().abs().masked_fill(owner != task, -1).flatten().argsort(descending=True)
            pruned = torch.zeros(SIDE * SIDE, dtype=torch.bool)
            pruned[order[SIDE * SIDE // TASKS :]] = True
            owner[pruned.view_as(owner) & (owner == task)] = TASKS
        train(task, [owner == task for owner in owners])
        learnt.append(accuracy(task))
    lost = [before - accuracy(task) for task, before in enumerate(learnt[:-1])]
    average = sum(lost) / len(lost)
    print(f"PackNet, {name + ', put back' * put_back}: learnt", *(f"{value:.3f}" for value in learnt), end="")
    print("; lost of them", *(f"{value:.3f}" for value in lost), f"; forgetting {average:.3f}")
    return average


assert packnet("SGD") == packnet("Adam") == 0, "another optimiser forgets"
assert packnet("Muon") > 0.02, "Muon forgets less"
assert packnet("Muon", put_back=True) == 0, "putting the frozen weights back does not help"
PY

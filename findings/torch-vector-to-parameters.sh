#!/usr/bin/env bash
# torch 2.13.0: vector_to_parameters(start, net.parameters()) copies nothing. Training the network then trains `start`.
#
# Expected: the manual says that slices of the vector are copied into the parameters, as load_state_dict does.
# Seen: each parameter becomes a view of the vector. Every optimiser of PyTorch steps in place, so the kept vector goes
# along with the network, and nothing warns. Accuracies look sensible, since the network does learn. Here, of one kept
# vector:
# - a penalty on the distance from it is 0 after any training: from strength 0 to 10, it is fine-tuning, and
#   a sweep that begins each time at `start` begins where the run before ended;
# - task vectors (fine-tuned minus start) are exactly 0, and the second task is fine-tuned from the first;
# - two networks that were set from it are one: training one changes the other.
# What puts it right: vector_to_parameters(start.clone(), net.parameters()). load_state_dict copies too.
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
import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

SIZE, STRENGTHS = 20, (0, 0.1, 1, 10)
torch.set_num_threads(1)


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def examples(task):
    """Two classes, which lie on the sides of a plane of this task's own."""
    x = normal(task, 1500, SIZE)
    return x, (x @ normal(100 + task, SIZE) > 0).long()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(SIZE, 64), nn.ReLU(), nn.Linear(64, 2))


def train(net, task, strength=0.0, anchor=None):
    x, y = examples(task)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    torch.manual_seed(task)
    for _ in range(300):
        batch = torch.randint(1000, (32,))
        loss = cross_entropy(net(x[batch]), y[batch])
        if anchor is not None:
            loss = loss + strength / 2 * ((parameters_to_vector(net.parameters()) - anchor) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def accuracy(net, task):
    x, y = examples(task)
    return float((net(x[1000:]).argmax(1) == y[1000:]).double().mean())


def from_vector(net, start, state):
    vector_to_parameters(start, net.parameters())


def from_clone(net, start, state):
    vector_to_parameters(start.clone(), net.parameters())


def from_state(net, start, state):
    net.load_state_dict(state)


def flat(net):
    return parameters_to_vector(net.parameters()).detach()


def sweep(restore):
    """Task 1, then for each strength task 2 from there: accuracy on task 1, on task 2, and the way from the anchor."""
    net = network()
    train(net, 1)
    start, state, rows = flat(net), copy.deepcopy(net.state_dict()), []
    for strength in STRENGTHS:
        restore(net, start, state)
        train(net, 2, strength, start)
        rows.append((accuracy(net, 1), accuracy(net, 2), float((flat(net) - start).norm())))
    return rows


def task_arithmetic(restore):
    """Lengths of the task vectors of tasks 3 and 4 from one start, and accuracy on both of start and their sum."""
    net = network()
    train(net, 1)
    start, state, vectors = flat(net), copy.deepcopy(net.state_dict()), []
    for task in (3, 4):
        restore(net, start, state)
        train(net, task)
        vectors.append(flat(net) - start)
    vector_to_parameters(start + sum(vectors), net.parameters())
    return *(float(vector.norm()) for vector in vectors), accuracy(net, 3), accuracy(net, 4)


def two_networks(restore):
    """What training one network on task 2 does to the accuracy of another on task 1."""
    net, other = network(), network()
    train(net, 1)
    start, state = flat(net), copy.deepcopy(net.state_dict())
    restore(net, start, state)
    restore(other, start, state)
    before = accuracy(other, 1)
    train(net, 2)
    return before, accuracy(other, 1)


results = {}
for restore in (from_vector, from_clone, from_state):
    name = restore.__name__
    results[name] = rows, arithmetic, pair = sweep(restore), task_arithmetic(restore), two_networks(restore)
    for strength, (old, new, way) in zip(STRENGTHS, rows, strict=True):
        print(f"{name}: strength {strength}: task 1 {old:.3f}, task 2 {new:.3f}, way from the anchor {way:.3f}")
    print(f"{name}: task vectors of length {arithmetic[0]:.3f} and {arithmetic[1]:.3f};", end=" ")
    print(f"with their sum, task 3 {arithmetic[2]:.3f} and task 4 {arithmetic[3]:.3f}")
    print(f"{name}: the other network on task 1 {pair[0]:.3f}, after training the first {pair[1]:.3f}")

rows, arithmetic, pair = results["from_vector"]
assert all(way == 0 for *_, way in rows), "the anchor stays where it is"
assert max(old for old, *_ in rows) < 0.8, "a penalty keeps task 1"
assert arithmetic[:2] == (0, 0) and pair[1] < pair[0] - 0.1, "the vector or the other network stays where it is"

rows, arithmetic, pair = results["from_state"]
flat_results = [torch.tensor([*sum(rows, ()), *arithmetic, *pair]) for rows, arithmetic, pair in results.values()]
assert (flat_results[1] - flat_results[2]).abs().max() < 0.03, "a clone does not give what load_state_dict does"
assert rows[0][2] > rows[1][2] > rows[2][2] > rows[3][2] > 0 and rows[3][0] > rows[0][0] + 0.1, "strength has no effect"
assert min(arithmetic[:2]) > 0.1 and pair[0] == pair[1], "load_state_dict does not copy"


def follows(kind):
    """Whether a vector goes where a step of this optimiser takes the network that was set from it."""
    net = network()
    vector = flat(net)
    vector_to_parameters(vector, net.parameters())
    before, optimiser, (x, y) = vector.clone(), kind(net.parameters(), lr=0.01), examples(1)

    def closure():
        optimiser.zero_grad()
        loss = cross_entropy(net(x), y)
        loss.backward()
        return loss

    optimiser.step(closure)
    return torch.equal(vector, flat(net)) and not torch.equal(vector, before)


kinds = [getattr(torch.optim, kind) for kind in ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "LBFGS")]
print("the vector follows the network under", *(kind.__name__ for kind in kinds if follows(kind)))
assert all(map(follows, kinds)), "an optimiser leaves the vector alone"
PY

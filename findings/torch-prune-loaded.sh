#!/usr/bin/env bash
# torch 2.13.0: pruning the smallest weights of a network that was just loaded removes weights at random.
#
# Expected: load_state_dict, then l1_unstructured or global_unstructured: the smallest of the loaded weights that are
# left go, as the manual says ("the module parameter" decides). Seen: where a layer is pruned already, as it has to be
# to take the checkpoint of a pruned network, the decision is by the values from before load_state_dict, so here by
# the initial ones. layer.weight is then no parameter; it is computed by the forward pass from weight_orig and
# weight_mask. Loading changes these two and leaves layer.weight alone until the next forward pass. Nothing warns: the
# share of zeros is right, and the loaded weights are in weight_orig. A user who resumes iterative pruning or PackNet,
# or goes back to the best epoch before the next cut, finds that magnitude pruning is hardly better than chance. A
# look at the accuracy before the cut mends it, so the same program with one more evaluation has other results.
# Without loading, the values are those before the last step of the optimiser.
# What puts it right: a forward pass after load_state_dict, or importance_scores from weight_orig.
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
from torch.nn.utils import prune

SIZE, WIDTH, CLASSES = 20, 128, 5
torch.set_num_threads(1)


def network(seed):
    torch.manual_seed(seed)
    hidden = nn.Linear(SIZE, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(WIDTH, CLASSES))


def layers(net):
    return [layer for layer in net if isinstance(layer, nn.Linear)]


def named(net):
    return [(layer, "weight") for layer in layers(net)]


generator = torch.Generator().manual_seed(1)
x = torch.randn(3000, SIZE, generator=generator)
hidden = (x @ torch.randn(SIZE, 32, generator=generator)).tanh()
y = (hidden @ torch.randn(32, CLASSES, generator=generator)).argmax(1)


@torch.no_grad()
def accuracy(net):
    return float((net(x[2000:]).argmax(1) == y[2000:]).double().mean())


def flat(net, name):
    return torch.cat([getattr(layer, name).detach().flatten() for layer in layers(net)])


def largest(net, count):
    """By hand: a mask of this many of the largest weights that the network has."""
    size = (flat(net, "weight_orig") * flat(net, "weight_mask")).abs()
    return torch.zeros(len(size), dtype=torch.bool).scatter(0, size.argsort(descending=True)[:count], True)


first = network(0)
prune.global_unstructured(named(first), prune.L1Unstructured, amount=0.3)
optimiser = torch.optim.Adam(first.parameters(), lr=0.003)
for _ in range(1500):
    batch = torch.randint(2000, (64,))
    optimiser.zero_grad()
    cross_entropy(first(x[batch]), y[batch]).backward()
    optimiser.step()
checkpoint = copy.deepcopy(first.state_dict())


def resumed():
    """The trained network in a new program: layers that hold masks, then the checkpoint."""
    net = network(5)
    for layer in layers(net):
        prune.identity(layer, "weight")
    net.load_state_dict(checkpoint)
    return net


def cut(name, net, method, amount, scores=None):
    before = flat(net, "weight_orig")
    prune.global_unstructured(named(net), method, amount=amount, importance_scores=scores)
    mask = flat(net, "weight_mask").bool()
    assert torch.equal(before, flat(net, "weight_orig")) and torch.equal(before, flat(first, "weight_orig"))
    right = float((mask & largest(resumed(), int(mask.sum()))).sum() / mask.sum())
    result = right, accuracy(net)
    print(f"{name}, {amount:.0%} removed: of those kept, {right:.1%} are right; accuracy {result[1]:.3f}")
    return result


print(f"accuracy of the trained network {accuracy(first):.3f}, loaded {accuracy(resumed()):.3f}")
for amount in (0.5, 0.7):
    loaded = cut("loaded", resumed(), prune.L1Unstructured, amount)
    net = resumed()
    accuracy(net)
    evaluated = cut("loaded and evaluated", net, prune.L1Unstructured, amount)
    net = resumed()
    scores = {(layer, "weight"): layer.weight_orig.detach() * layer.weight_mask for layer in layers(net)}
    with_scores = cut("loaded, with scores", net, prune.L1Unstructured, amount, scores)
    at_random = cut("at random", resumed(), prune.RandomUnstructured, amount)
    assert abs(loaded[0] - at_random[0]) < 0.06, "those kept are not a random choice"
    assert evaluated[0] > 0.999 and with_scores[0] > 0.999, "the remedies do not keep the largest"
    assert loaded[1] < evaluated[1] - 0.1, "it costs no accuracy"

layer = nn.Linear(6, 1, bias=False)
layer.weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
prune.l1_unstructured(layer, "weight", amount=1)
layer.load_state_dict(layer.state_dict() | {"weight_orig": torch.tensor([[9.0, 8.0, 7.0, 6.0, 5.0, 4.0]])})
prune.l1_unstructured(layer, "weight", amount=1)
left = (layer.weight_orig * layer.weight_mask).tolist()[0]
print("one layer with weights 0 8 7 6 5 4, the smallest of which goes:", *(f"{value:.0f}" for value in left))
assert left == [0, 0, 7, 6, 5, 4]

layer = nn.Linear(2, 1, bias=False)
layer.weight.data = torch.tensor([[1.0, 2.0]])
prune.identity(layer, "weight")
layer(torch.tensor([[0.0, 1.5]])).sum().backward()
torch.optim.SGD(layer.parameters(), lr=1).step()
left = layer.weight_orig.tolist()[0]
prune.l1_unstructured(layer, "weight", amount=1)
print("after a step, weights", *left, "and what is left:", *(layer.weight_orig * layer.weight_mask).tolist()[0])
assert left == [1, 0.5] and layer.weight_mask.tolist() == [[0, 1]], "it decides by the weights after the step"
PY

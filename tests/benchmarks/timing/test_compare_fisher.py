"""The comparison of Fisher diagonals: its errors, its table and its figure."""

import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from torch import nn

from benchmarks.machine import ROOT
from benchmarks.timing import compare_fisher, plot_fisher
from benchmarks.timing.compare_fisher import TWO, Row, caption, markdown, truth
from benchmarks.timing.peers import Peer, flat, vmap_grad
from tests.support import slow, toy


@pytest.fixture
def small(monkeypatch):
    """Two contenders of ours and three others, of which one fails and one is not installed."""
    torch.manual_seed(0)
    net, x = nn.Linear(3, 10), torch.randn(60, 3)
    y = torch.arange(60) % 10

    def failing(module, x, y):
        raise ValueError("no such | layer")

    peers = {
        "vmap": Peer("torch", "empirical", vmap_grad),
        "failing": Peer("torch", "exact", failing),
        "missing": Peer("not-a-package", "exact", failing),
    }
    changes = {
        "FEW": 20,
        "OURS": {name: compare_fisher.OURS[name] for name in ("exact", TWO, "batched")},
        "PEERS": peers,
        "SIZES": {"mlp": 60, "conv": 60},
        "network": lambda name: net,
        "data": lambda n: (x[:n], y[:n]),
    }
    for name, value in changes.items():
        monkeypatch.setattr(compare_fisher, name, value)


@pytest.mark.parametrize("estimator", ["exact", "empirical", "argmax", "p_weighted"])
def test_truth_is_the_definition(estimator):
    module, _, _, data = toy.second_task("domain")
    x, y, _ = data.take(torch.arange(len(data)))
    units = list(range(module.head.out_features))
    examples = list(zip(x, y.tolist(), [units] * len(x), strict=True))
    torch.testing.assert_close(truth(module, x, y)[estimator], slow.flat(slow.fisher(module, examples, estimator)))


def test_truth_of_two_classes_and_of_mas_is_the_definition():
    module, _, _, data = toy.second_task("class")
    x, y, _ = data.take(torch.arange(len(data)))
    found = truth(module, x, y)
    two = [(row, 0, [0, 1]) for row in x]
    torch.testing.assert_close(found[TWO], slow.flat(slow.fisher(module, two, "exact")))
    each = [[(row, 0, list(range(module.head.out_features)))] for row in x]
    torch.testing.assert_close(found["mas"], slow.flat(slow.mas_importance(module, each)))


def test_flat_is_in_the_order_of_the_parameters():
    module, net, theta, _ = toy.second_task()
    assert torch.equal(flat(module.parameters()), theta) and torch.equal(flat(net.views(theta).values()), theta)


def test_measure(small):
    rows = {row.label: row for row in compare_fisher.measure("mlp")}
    assert list(rows) == ["exact", TWO, "batched", "vmap", "failing"]
    failed = rows.pop("failing")
    assert failed.failure == "failed: ValueError: no such | layer" and not failed.ratios
    for label, row in rows.items():
        assert not row.failure and len(row.ratios) == compare_fisher.ROUNDS and min(row.ratios) > 0
        assert row.error > 0.1 if label == "batched" else row.error < 1e-5, label


def test_what_is_slow_sits_rounds_out(small, monkeypatch):
    monkeypatch.setattr(compare_fisher, "SECONDS", 0.0)
    timed = [row for row in compare_fisher.measure("mlp") if not row.failure]
    assert [len(row.ratios) for row in timed] == [compare_fisher.LEAST] * 4


def test_time_is_counted_by_example(small, monkeypatch):
    """As long for a third of the examples as a pass over all of them: three times as long."""
    monkeypatch.setattr(compare_fisher, "seconds", lambda work: 1.0)
    slow_one = Peer("torch", "empirical", vmap_grad, slow=True)
    monkeypatch.setattr(compare_fisher, "PEERS", {"slow": slow_one})
    ratios = {row.label: row.ratios[0] for row in compare_fisher.measure("mlp")}
    assert ratios == {"exact": 1, TWO: 1, "batched": 1, "slow": pytest.approx(3)}


def test_table_says_what_failed_and_what_is_missing(small):
    text = markdown(compare_fisher.measure("mlp"))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1 and len(lines) == 7
    assert "failed: ValueError: no such \\| layer" in lines[-1]
    assert "| ours: exact " in lines[2] and "at most 3.0" in lines[2]
    assert "Not installed: not-a-package" in caption()[-1]


PEAKS = """
import torch
from benchmarks.timing.compare_fisher import peak_memory

def freed():
    torch.ones(32, 2**20)  # 128 MiB
    return torch.ones(16, 2**20)

def small_blocks():
    return [torch.ones(2**14) for _ in range(1600)]  # 100 MiB in blocks that the allocator keeps

print(peak_memory(freed), peak_memory(lambda: None))
*_, last = small_blocks()  # it lies above the others, that now are free
print(peak_memory(small_blocks))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_peak_memory():
    """In a process of its own: one that has trained keeps freed memory (benchmarks/numerics.py)."""
    done = subprocess.run([sys.executable, "-c", PEAKS], cwd=ROOT, capture_output=True, text=True, check=True)
    freed, nothing, taken_again = map(float, done.stdout.split())
    assert 120 < freed < 150 and nothing < 5 and 95 < taken_again < 120


def test_figure_has_a_point_and_a_label_for_each():
    rows = [
        Row("mlp", label, peer, 1, ratios=[1.0 + k], error=math.nan if k == 7 else 1e-7)
        for k, (label, peer) in enumerate(compare_fisher.OURS.items())
    ]
    assert plot_fisher.figure(rows).startswith(b"\x89PNG")


def test_labels_are_kept_apart_and_near():
    values = [0.0, 0.01, 0.02, 1.0, 5.0, 5.5]
    places = plot_fisher._apart(values, 1.0)
    assert places == pytest.approx([-1.2425, -0.2425, 0.7575, 1.7575, 4.75, 5.75])
    assert min(b - a for a, b in pairwise(places)) > 0.999
    assert plot_fisher._apart([0.0, 1.2, 1.3], 1.0) == pytest.approx([-1 / 6, 5 / 6, 11 / 6])  # the last two push
    assert plot_fisher._apart([1.0, 3.0], 1.0) == [1.0, 3.0]

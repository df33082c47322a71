"""DEN against its definition: reachability, drift, stamps, and one explicit step of each phase, in float64."""

from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F

import methods
from benchmarks import learner
from benchmarks.learner import learn, start
from benchmarks.trace import Trace
from methods.base.net import Net
from methods.growing.perceptron import layers_of, logits, perceptron
from methods.growing.units import drifted, expand, prune, select
from tests.support import toy

SPEC = "mlp-8-7"
ONE = replace(toy.TRAIN, epochs=None, steps=1, lr=0.5)
FEW = replace(toy.TRAIN, epochs=None, steps=12, lr=0.1)
SPLITS = {"tau": 0.0, "k": 3, "sigma": 0.001, "l1": 1e-3, "group": 1e-2, "drift": 0.05}


def layers(sizes, seed, density=0.4):
    draws = torch.Generator().manual_seed(seed)
    found = []
    for n_in, n_out in pairwise(sizes):
        W = torch.randn(n_out, n_in, generator=draws, dtype=torch.float64)
        kept = torch.rand(n_out, n_in, generator=draws) < density
        found.append([W * kept, torch.randn(n_out, generator=draws, dtype=torch.float64)])
    return found


@pytest.mark.parametrize("seed", range(6))
def test_selection_is_reachability(seed):
    """By every path from a unit to the outputs: it is selected if some path has no weight of 0."""
    sizes = (4, 5, 3, 4)
    net = layers(sizes, seed)
    for outputs in ([0], [1, 3]):
        for n, chosen in enumerate(select(net, outputs)):
            ways = {unit: False for unit in range(sizes[n])}
            for path in product(*(range(size) for size in sizes[n:])):
                weights = [float(net[n + s][0][after, before]) for s, (before, after) in enumerate(pairwise(path))]
                ways[path[0]] |= path[-1] in outputs and all(weights)
            assert chosen.tolist() == list(ways.values())


def test_drift_of_handmade_weights():
    before = torch.tensor([[0.0, 0.0], [3.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    after = torch.tensor([[0.3, 0.4, 9.0], [3.0, 0.0, 9.0], [1.6, 1.8, 9.0], [2.0, 2.1, 9.0], [7.0, 7.0, 7.0]])
    assert drifted(after, before, 0.2).tolist() == [0, 2]  # 0.5 and 1: least first; new weights and units do not count
    assert drifted(after, before, 0.05).tolist() == [3, 0, 2]
    assert drifted(after, before, 1.0).tolist() == []


def test_a_prediction_uses_units_of_its_stamp_alone():
    """By a loop over units."""
    net, x = layers((4, 5, 3, 4), 1, 1.0), torch.randn(6, 4, dtype=torch.float64)
    used = [torch.tensor([True, False, True, True, False]), torch.tensor([False, True, True])]
    for n in range(6):
        h = x[n].tolist()
        for (W, b), use in zip(net, [*used, torch.ones(4, dtype=torch.bool)], strict=True):
            z = [float(b[j] + sum(float(W[j, i]) * h[i] for i in range(len(h)))) for j in range(len(b))]
            out, h = z, [max(value, 0.0) * bool(use[j]) for j, value in enumerate(z)]
        assert logits(net, x[n : n + 1], used)[0].tolist() == pytest.approx(out, rel=1e-12)


def watched(monkeypatch, train, **options):
    """A whole run: (phase, method's masks, layers before, layers after, task, x, y) of each phase."""
    seen, real = [], learner.fit
    stream = toy.stream("task")
    method = methods.make("den", **SPLITS | options)

    def fit(method, theta, task, optimizer, how, draws, *rest):
        begun, kept = theta.clone(), {}
        before, loss = method.before, method.loss
        method.loss = lambda theta, x, y, mask: (kept.update(x=x, y=y, mask=mask), loss(theta, x, y, mask))[1]
        state = (method.phase.name, method.chosen, before, list(map(list, method.stamps)))
        real(method, theta, task, optimizer, how, draws, *rest)
        del method.loss
        seen.append((task.index, *state, method.net, begun, theta.clone(), kept, how))

    monkeypatch.setattr(learner, "fit", fit)
    net = Net(toy.module(stream, spec=SPEC))
    counts, _ = learn(method, net, net.vector(), stream, train, (1,))
    return method, seen, counts


def linked(chosen, n, L, j, i):
    """Whether a weight of layer n is between selected units; outputs of the task are."""
    return bool(chosen[n][i]) and (n == L - 1 or bool(chosen[n + 1][j]))


def trains(phase, last, selected, new):
    return {"select": last, "retrain": selected, "expand": new}.get(phase, True)


def explicit(phase, task, chosen, before, net, begun, batch, options, lr):
    """Layers after one step of gradient descent on L and the smooth penalties, and the proximal step."""
    theta = begun.clone().requires_grad_()
    now, own = layers_of(net, theta), [2 * task, 2 * task + 1]
    h = batch["x"].flatten(1)
    for W, b in now:
        z = F.linear(h, W, b)
        h = z.relu()
    loss = F.cross_entropy(z[:, own], batch["y"] - own[0])
    L = len(now)
    for n, (W, _) in enumerate(now):
        for j, i in product(range(W.shape[0]), range(W.shape[1])):
            if n == L - 1 and j not in own:
                continue
            if phase == "retrain" and (n == L - 1 or chosen[n + 1][j]) and chosen[n][i]:
                loss = loss + options["l2"] * W[j, i] ** 2
            old = before[n][0]
            if phase in ("drift", "settle") and n < L - 1 and j < old.shape[0] and i < old.shape[1]:
                loss = loss + options["drift"] * (W[j, i] - old[j, i]) ** 2
    (grad,) = torch.autograd.grad(loss, theta)
    step = lr * grad
    expected = [[W.clone(), b.clone()] for W, b in layers_of(net, begun)]
    for n, ((W, b), (dW, db)) in enumerate(zip(expected, layers_of(net, step), strict=True)):
        old = before[n][0]
        for j in range(len(b)):
            mine = n < L - 1 or j in own
            for i in range(W.shape[1]):
                new = not (j < old.shape[0] and i < old.shape[1])
                if mine and trains(phase, n == L - 1, phase == "retrain" and linked(chosen, n, L, j, i), new):
                    W[j, i] -= dW[j, i]
                    if phase in ("learn", "select", "expand"):
                        W[j, i] = W[j, i].sign() * max(abs(float(W[j, i])) - lr * options["l1"], 0)
            reached = phase == "retrain" and (n == L - 1 or bool(chosen[n + 1][j]))
            if mine and trains(phase, n == L - 1, reached, j >= old.shape[0]):
                b[j] -= db[j]
            if phase == "expand" and n < L - 1 and j >= old.shape[0]:
                norm = float((W[j].square().sum() + b[j] ** 2).sqrt())
                factor = max(1 - lr * options["group"] / norm, 0) if norm else 0
                W[j] *= factor
                b[j] *= factor
    return expected


def test_one_step_of_each_phase(monkeypatch):
    options = {"l2": 0.02, "l1": 0.01, "group": 0.2, "drift": 0.3, "tau": 0.0, "k": 3, "sigma": 1e-4}
    _, seen, _ = watched(monkeypatch, ONE, **options)
    names = [(task, phase) for task, phase, *_ in seen]
    later = ["select", "retrain", "expand", "drift", "settle"]
    assert names == [(0, "learn"), *[(task, phase) for task in (1, 2) for phase in later]]
    for task, phase, chosen, before, _, net, begun, theta, batch, _ in seen:
        expected = explicit(phase, task, chosen, before, net, begun, batch, options, ONE.lr)
        for found, wanted in zip(layers_of(net, theta), expected, strict=True):
            torch.testing.assert_close(found[0], wanted[0], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(found[1], wanted[1], rtol=1e-10, atol=1e-12)


def test_a_split_gives_earlier_tasks_their_answers_back(monkeypatch):
    """All drifted units are split: at the start of `settle`, units of old stamps answer as after the last task."""
    _, seen, _ = watched(monkeypatch, FEW, sigma=0.0, tau=1e9)
    x = torch.randn(9, 16, dtype=torch.float64)
    for task, phase, _, before, stamps, net, begun, *_ in seen:
        if phase != "settle":
            continue
        old = [torch.tensor([stamp < task for stamp in each]) for each in stamps]
        everything = [torch.ones(int(use.sum()), dtype=torch.bool) for use in old]
        own = [0, 1] if task == 1 else [0, 1, 2, 3]
        now = logits(layers_of(net, begun), x, old)[:, own]
        torch.testing.assert_close(now, logits(before, x, everything)[:, own], rtol=1e-12, atol=1e-13)
        assert sum(map(sum, (each == task for each in map(torch.tensor, stamps)))) > 0
    assert "settle" in {phase for _, phase, *_ in seen}


def test_copies_keep_what_was_learnt(monkeypatch):
    """Incoming weights of a copy are those of its unit before, outgoing ones those of its unit after."""
    _, seen, _ = watched(monkeypatch, FEW, sigma=0.0, tau=1e9)
    (drift,), (settle,) = ([each for each in seen if each[:2] == (1, phase)] for phase in ("drift", "settle"))
    after, copied = layers_of(drift[5], drift[7]), layers_of(settle[5], settle[6])
    ids = [drifted(after[n][0], drift[3][n][0], 0.0) for n in range(2)]
    torch.testing.assert_close(copied[0][0][8:], after[0][0][ids[0]])
    torch.testing.assert_close(copied[1][0][:, 8:], torch.cat([after[1][0], after[1][0][ids[1]]])[:, ids[0]])
    torch.testing.assert_close(copied[2][0][:, 7:], after[2][0][:, ids[1]])


def test_units_are_added_above_tau_and_removed_by_the_group():
    def added(**options):
        trace = Trace()
        train = replace(FEW, net=SPEC)
        n = start(methods.make("den", **options), [toy.stream("task", torch.float32)], train, (1,), "cpu", trace)
        widths = [8 + trace.added[0], 7 + trace.added[1]]
        assert n == 16 * widths[0] + widths[0] + widths[0] * widths[1] + widths[1] + 6 * widths[1] + 6
        return trace.added

    never = {"sigma": 1e9}
    assert added(tau=1e9, **never) == [0, 0]
    assert added(tau=0.0, k=3, group=0.0, l1=0.0, **never) == [6, 6]
    assert added(tau=0.0, k=3, group=1e3, **never) == [0, 0]
    assert added(tau=1e9, sigma=0.0) >= [8, 7]


def test_new_weights_are_uniform_within_the_inverse_root_of_the_fan_in():
    """Of 400 inputs, and of 300 old and 500 new hidden units: 200,000 and 2,000 draws."""
    grown = layers((400, 300, 4), 2)
    expand(grown, 500, [0, 1, 2, 3], torch.Generator().manual_seed(0), uniform_bias=False)
    for new, bound, error in ((grown[0][0][300:], 400**-0.5, 0.01), (grown[1][0][:, 300:], 800**-0.5, 0.05)):
        assert (1 - error) * bound < float(new.abs().max()) <= bound
        assert float(new.std()) == pytest.approx(bound / 3**0.5, rel=error)
        assert abs(float(new.mean())) < 4 * error * bound
    assert int(grown[0][1][300:].count_nonzero()) == 0


def test_pruning_changes_no_output():
    before, x = layers((4, 5, 3, 4), 2), torch.randn(6, 4, dtype=torch.float64)
    grown = [[W.clone(), b.clone()] for W, b in before]
    expand(grown, 2, [1, 3], torch.Generator().manual_seed(0), uniform_bias=True)
    assert bool((grown[-1][0][[0, 2], -2:] == 0).all())  # no weights to other outputs
    grown[0][0][6], grown[0][1][6] = 0, 0  # the second new unit of layer 1
    dead = perceptron(grown)
    assert prune(grown, before) == [[True] * 6 + [False], [True] * 5]
    small = perceptron(grown)
    assert small.n_parameters < dead.n_parameters
    torch.testing.assert_close(small(small.vector(), x), dead(dead.vector(), x), rtol=1e-12, atol=1e-13)


def test_released(monkeypatch):
    """One batch of retraining, the first output alone, k copies that drifted least, biases in [0, 1]."""
    _, seen, _ = watched(monkeypatch, FEW, preset="released", sigma=0.0)
    lengths = {(phase, how.steps) for _, phase, *_, how in seen}
    assert ("retrain", 1) in lengths and ("expand", 12) in lengths and ("drift", 12) in lengths
    for task, phase, chosen, before, stamps, net, begun, *_ in seen:
        if phase == "retrain":
            assert [c.tolist() for c in chosen] == [c.tolist() for c in select(layers_of(net, begun), [2 * task])]
        if phase == "expand":
            pairs = zip(layers_of(net, begun)[:2], before[:2], strict=True)
            biases = torch.cat([b[len(old) :] for (_, b), (old, _) in pairs])
            assert bool((biases > 0).all()) and bool((biases < 1).all()) and len(biases) == 6
        if phase == "settle":
            assert [sum(stamp == task for stamp in each) for each in stamps] == [6, 6]  # 3 new, 3 copies


def test_selection_of_the_paper_is_by_all_outputs(monkeypatch):
    _, seen, _ = watched(monkeypatch, ONE, l1=0.3)
    for task, phase, chosen, _, _, net, begun, *_ in seen:
        if phase == "retrain":
            both = select(layers_of(net, begun), [2 * task, 2 * task + 1])
            assert [c.tolist() for c in chosen] == [c.tolist() for c in both]


def test_units_of_later_stamps_do_not_change_an_answer():
    """Whatever the weights of units added after task k do, the counts on task k stay; those on task k + 1 do not."""
    stream, method = toy.stream("task"), methods.make("den", **SPLITS)
    net = Net(toy.module(stream, spec=SPEC))
    counts, theta = learn(method, net, net.vector(), stream, FEW, (1,))
    assert all({0, 1, 2} == set(stamps) for stamps in method.stamps)
    for k in range(3):
        spoilt = theta.clone()
        for (W, _), stamps, (above, _) in zip(
            layers_of(method.net, spoilt)[:-1], method.stamps, layers_of(method.net, spoilt)[1:], strict=True
        ):
            later = torch.tensor(stamps) > k
            W[later] = 50.0
            above[1::2, later] = 50.0  # every second unit above
        found = learner.evaluate(method, spoilt, stream, 3)
        assert found[: k + 1] == counts[-1][: k + 1]
        assert found[k + 1 :] != counts[-1][k + 1 :] or k == 2

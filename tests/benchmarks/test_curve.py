"""The accuracy on each task as it begins: before its first batch and after each of the first ones."""

from dataclasses import replace

import pytest
import torch

import methods
from benchmarks import learner, metrics, record, worker
from benchmarks.checkpoint import Checkpoint
from benchmarks.learner import Train, learn
from benchmarks.run import Run
from benchmarks.trace import Trace
from methods.base.net import Net
from tests.support import toy

ASKED = replace(toy.TRAIN, batch=5, epochs=1, curve=10)
CASES = [(name, scenario) for name, scenario in toy.EACH if not toy.CLASSES[name].joins_tasks]


def run(name, scenario, train, checkpoint=None, seeds=(1,)):
    stream, trace = toy.stream(scenario, torch.float32), Trace()
    thetas = torch.stack([Net(toy.module(stream, seed)).vector() for seed in seeds])
    theta = thetas[0] if len(seeds) == 1 else thetas
    counts, theta = learn(toy.make(name), Net(toy.module(stream)), theta, stream, train, seeds, trace, checkpoint)
    return counts, theta, trace


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_measuring_changes_nothing_else(name, scenario):
    counts, theta, trace = run(name, scenario, replace(ASKED, curve=None))
    again_counts, again, asked = run(name, scenario, ASKED)
    assert trace.curve is None and again_counts == counts and torch.equal(again, theta)
    assert [len(row) for row in asked.curve] == [11] * 3 and all(type(n) is int for row in asked.curve for n in row)
    assert asked.roles == trace.roles


@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_counts_are_those_of_a_run_that_stops_there(scenario):
    """After b batches of task k, by a run whose task k has b batches; before the first, by theta after task k - 1."""
    _, _, trace = run("naive", scenario, replace(ASKED, curve=3))
    stream = toy.stream(scenario, torch.float32)
    for k in range(3):
        method, thetas = methods.make("naive"), [Net(toy.module(stream)).vector()]
        method.after_task = lambda theta, task, thetas=thetas: thetas.append(theta)
        learn(method, Net(toy.module(stream)), thetas[0], replace(stream, tasks=stream.tasks[:k]), ASKED, (1,))
        for b in range(4):
            theta = thetas[-1].clone()
            if b:
                draws = [Trace().generator(1, "batches", k)]
                optimizer = ASKED.make_optimizer(theta)
                learner.fit(method, theta, stream.tasks[k], optimizer, replace(ASKED, epochs=None, steps=b), draws)
            assert trace.curve[k][b] == learner.evaluate(method, theta, stream, k + 1)[k]


def test_units_of_later_tasks_are_in_no_answer():
    stream, train = toy.stream("class", torch.float32), replace(ASKED, curve=3)
    curves = []
    for bias in (0.0, 100.0):  # of the units of the last task
        net, trace = Net(toy.module(stream)), Trace()
        theta = net.vector()
        net.views(theta)["head.bias"][4:] += bias
        learn(methods.make("naive"), net, theta, replace(stream, tasks=stream.tasks[:2]), train, (1,), trace)
        curves.append(trace.curve[:2])
    assert curves[0] == curves[1] and any(n for row in curves[0] for n in row)


def test_a_task_of_few_batches_has_a_gap():
    _, _, trace = run("naive", "class", replace(ASKED, epochs=None, steps=2, curve=4))
    assert [[n is None for n in row] for row in trace.curve] == [[False] * 3 + [True] * 2] * 3


def test_replicas_have_counts_of_their_own():
    _, _, both = run("naive", "class", ASKED, seeds=(1, 2))
    for r, seed in enumerate((1, 2)):
        _, _, alone = run("naive", "class", ASKED, seeds=(seed,))
        assert [[n[r] for n in row] for row in both.curve] == alone.curve


def test_a_run_that_goes_on_keeps_what_was_measured(tmp_path, monkeypatch):
    _, _, whole = run("replay", "class", ASKED)
    real = learner.fit

    def fit(method, theta, task, *rest):
        if task.index == 2:
            raise InterruptedError
        real(method, theta, task, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(learner, "fit", fit)
        with pytest.raises(InterruptedError):
            run("replay", "class", ASKED, Checkpoint(tmp_path / "x", {}))
    assert run("replay", "class", ASKED, Checkpoint(tmp_path / "x", {}))[2].curve == whole.curve


def test_its_time_is_evaluation_and_counts_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmarks.trace.time.perf_counter", lambda: now[0])
    trace = Trace()

    def inner():
        now[0] += 3.0

    def outer():
        now[0] += 1.0
        trace.time("evaluation", inner)
        now[0] += 0.5

    trace.time("training", outer)
    assert trace.seconds == {"training": 1.5, "importance": 0.0, "evaluation": 3.0}


TRAIN = {"net": "mlp-8", "optimizer": "sgd", "lr": 0.1, "optimizer_state": "keep", "batch": 8, "epochs": 1}


def run_of(name="naive", **train):
    return Run.of({"name": "splitdigits", "tasks": 2}, "class", {"name": name}, TRAIN | train, 1)


def test_a_run_that_does_not_ask_lies_where_it_did_and_one_that_asks_does_not():
    assert run_of(curve=None).place == run_of().place != run_of(curve=10).place
    assert run_of().place.name == "naive-76697b29a2-seed1.json"
    assert Train(**TRAIN).curve is None


def work(run):
    job = worker.Job(run, "data", worker.Context("cpu", "abc", "d", "e"))
    found = worker.Outcome.from_text(worker.work(job.to_text())).records[0]
    assert found.reason is None
    return found


def test_a_record_holds_the_curve_and_measures_it():
    found = work(run_of(curve=10))
    assert found == record.from_text(record.to_text(found))
    Z = [sum(row[b] / n for row, n in zip(found.curve, found.total, strict=True)) / 2 for b in range(11)]
    assert abs(metrics.of(found, "lca_10").value - (sum(Z) - (Z[0] + Z[10]) / 2) / 10) < 1e-12
    bare = work(run_of())
    assert bare.curve is None and "curve = 10" in metrics.of(bare, "lca_10").reason
    assert bare.correct == found.correct
    assert "joint" in metrics.of(work(run_of("joint", curve=10)), "lca_10").reason


@pytest.mark.parametrize("curve", [[], [[1] * 11], [[1] * 10] * 2, [[-1] * 11] * 2, "no"])
def test_a_curve_of_another_shape_is_no_record(curve):
    found = work(run_of(curve=10))
    with pytest.raises(ValueError, match="curve"):
        record.from_text(record.to_text(replace(found, curve=curve)))

"""One run: what its description may hold, what its record carries, and how it fails."""

from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from benchmarks import data, learner, machine, record, streams, worker
from benchmarks.run import Run
from benchmarks.worker import Context
from methods.base.errors import UserError
from methods.base.rng import derive

TRAIN = {"net": "mlp-8", "optimizer": "adam", "lr": 1e-3, "optimizer_state": "keep", "batch": 64, "epochs": 1}
RUN = {
    "stream": {"name": "splitdigits"},
    "scenario": "class",
    "method": {"name": "ewc", "preset": "hsu", "lam": 2.0},
    "train": TRAIN,
    "seed": 5,
}
CONTEXT = Context("cpu", "abc", data.fingerprint("digits", Path("data")), "digest of the sources")


def changed(part, **options):
    return {**RUN, part: {**RUN[part], **options}}


def execute(description):
    run = Run.of(**description)
    stream = streams.build(run.stream, run.scenario, run.seed, Path("data"))
    return worker.execute([run], [stream], CONTEXT, 1.25)[0]


def test_every_option_is_filled_in():
    found = Run.of(**RUN)
    assert found.to_json() == {
        "stream": {
            **{
                "name": "splitdigits",
                "tasks": 5,
                "order": "fixed",
                "left_out": 0,
                "examples": None,
                "order_seeds": None,
                "pad": 0,
                "mean": 0.0,
                "std": 1.0,
            },
            **{"active_units": "seen", "evaluate": "test"},
        },
        "scenario": "class",
        "method": {
            "name": "ewc",
            "preset": "hsu",
            "lam": 2.0,
            "fisher": "argmax",
            "n_samples": None,
            "fisher_batch": 128,
        },
        "train": {**TRAIN, "steps": None, "curve": None, "measured": "all"},
        "seed": 5,
    }
    assert Run.of(**found.to_json()) == found


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (changed("train", lrr=1e-3), "unknown option of train 'lrr'"),
        ({**RUN, "train": {key: value for key, value in TRAIN.items() if key != "lr"}}, "train: .*'lr'"),
        ({**RUN, "train": {k: v for k, v in TRAIN.items() if k != "optimizer_state"}}, "train: .*'optimizer_state'"),
        (changed("train", steps=10), "epochs and steps: give exactly one"),
        (changed("train", epochs=None), "epochs and steps: give exactly one"),
        (changed("train", epochs=0), "epochs must be a whole number >= 1, or None, got 0"),
        (changed("train", batch=2.5), "batch must be a whole number >= 1, got 2.5"),
        (changed("train", lr=0.0), "lr must be a finite number > 0, got 0.0"),
        (changed("train", lr=float("nan")), "lr must be a finite number > 0, got nan"),
        (changed("train", optimizer="adm"), "unknown optimizer 'adm'; the nearest is 'adam'"),
        (changed("train", optimizer_state="kept"), "unknown optimizer_state 'kept'; the nearest is 'keep'"),
        (changed("train", net="mlp-"), "unknown net 'mlp-'"),
        (changed("train", net="cnn"), "unknown net 'cnn'"),
        (changed("method", name="ewcc"), "unknown method 'ewcc'; the nearest is 'ewc'"),
        (changed("method", name="base"), "unknown method 'base'"),
        (changed("method", lamb=1.0), "unknown option of ewc 'lamb'; the nearest is 'lam'"),
        (changed("method", preset="hsue"), "unknown preset of ewc 'hsue'; the nearest is 'hsu'"),
        ({**RUN, "method": {"name": "ewc"}}, "ewc: .*'lam'"),
        (changed("method", lam=-1.0), "lam must be a finite number >= 0, or a list, .*, got -1.0"),
        (changed("method", lam=float("inf")), "lam must be a finite number >= 0, or a list, .*, got inf"),
        (changed("method", lam=float("nan")), "lam must be a finite number >= 0, or a list, .*, got nan"),
        (changed("method", lam="2"), "lam must be a finite number >= 0, or a list, .*, got '2'"),
        (changed("stream", name="splitdigit"), "unknown stream 'splitdigit'; the nearest is 'splitdigits'"),
        (changed("stream", first="plain"), "unknown option of the stream splitdigits 'first'"),
        ({**RUN, "scenario": "clas"}, "clas"),
        ({**RUN, "seed": 0}, "seed must be a whole number >= 1, got 0"),
    ],
)
def test_mistakes(description, message):
    with pytest.raises(UserError, match=message) as error:
        Run.of(**description)
    assert "\n" not in str(error.value)


def test_a_record_explains_itself():
    found = execute(RUN)
    assert found.schema == record.SCHEMA and found.run == Run.of(**RUN) and found.reason is None
    assert found.total == [89, 89, 90, 89, 88]
    assert [[c is None for c in row] for row in found.correct] == [[j >= k for j in range(5)] for k in range(6)]
    assert all(0 <= c <= total for row in found.correct for c, total in zip(row, found.total, strict=True) if c)
    assert found.n_parameters == 64 * 8 + 8 + 8 * 10 + 10
    assert found.seeds["init"] == derive(5, "init") and {"stream", "batches"} < set(found.seeds)
    assert set(found.seconds) == {"data", "training", "importance", "evaluation"} and found.seconds["data"] == 1.25
    assert found.seconds["training"] > 0 and found.seconds["importance"] > 0
    assert found.peak_memory_mb > 50
    assert found.versions["torch"] == version("torch") and {"python", "numpy", "avalanche-lib"} < set(found.versions)
    assert found.machine["threads"] == torch.get_num_threads() and found.machine["device"] == "cpu"
    assert found.machine["cpu"] and found.machine["capability"] == torch.backends.cpu.get_cpu_capability()
    assert (found.commit, found.data) == ("abc", CONTEXT.data)
    assert found.digest == CONTEXT.digest
    assert set(found.memory) == {"examples", "bytes"} and found.memory["examples"] == 0 < found.memory["bytes"]


@pytest.mark.parametrize(("name", "options"), [("naive", {}), ("ewc", {"lam": 1.0}), ("rehearsal", {"budget": 20})])
def test_the_seeds_of_every_role_are_recorded(name, options, monkeypatch):
    """Every role that a run draws from, its method's included."""
    drawn = set()

    def watched(seed, role, task=0):
        drawn.add(role)
        return derive(seed, role, task)

    for module in ("methods.base.rng", "benchmarks.learner"):
        monkeypatch.setattr(f"{module}.derive", watched)
    found = execute({**RUN, "method": {"name": name, **options}})
    assert drawn <= set(found.seeds)
    assert {"init", "batches"} < drawn


def test_equal_runs_have_one_record_and_one_hash():
    """A number is written in two ways, and a preset is a name for values that may stand there instead."""
    rotated = {"stream": {"name": "rotatedmnist", "angles": [0, 20]}, "method": {"name": "si", "preset": "vdv", "c": 1}}
    for one, other in (
        (changed("method", lam=2), changed("method", lam=2.0)),
        (changed("train", lr=1), changed("train", lr=1.0)),
        ({**RUN, **rotated}, {**RUN, **rotated, "stream": {"name": "rotatedmnist", "angles": [0.0, 20.0]}}),
        (
            {**RUN, **rotated},
            {**RUN, **rotated, "method": {"name": "si", "xi": 0.1, "clamp": "none", "grad": "total", "c": 1.0}},
        ),
    ):
        a, b = Run.of(**one), Run.of(**other)
        assert (a, hash(a), a.place, len({a, b})) == (b, hash(b), b.place, 1)
    different = Run.of(**changed("method", lam=2.5))
    assert different != Run.of(**RUN) and different.place != Run.of(**RUN).place


def test_the_seed_of_a_run_changes_it_and_nothing_else_does():
    first, again, other = (execute({**RUN, "seed": seed}).correct for seed in (5, 5, 6))
    assert first == again != other


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_diverging_run_is_a_failed_record_with_its_reason(optimizer, tmp_path):
    found = execute(changed("train", optimizer=optimizer, lr=1e30))
    assert found.correct == [[None] * 5] * 6 and found.accuracy is None
    assert "is not finite" in found.reason and "task 1" in found.reason
    assert found.total == [89, 89, 90, 89, 88]
    record.save(found, tmp_path / "run.json")
    assert record.load(tmp_path / "run.json") == found


def test_joint_training_sees_all_tasks_at_once():
    found = execute({**RUN, "method": {"name": "joint"}, "train": {**TRAIN, "epochs": 15}})
    assert [[c is None for c in row] for row in found.correct] == [[True] * 5] * 5 + [[False] * 5]
    assert sum(found.correct[-1]) / sum(found.total) > 0.7
    assert found.total == [89, 89, 90, 89, 88]


def test_commit_is_of_the_suite(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert machine.commit() == "unknown"


def test_device_that_is_not_there():
    machine.check_device("cpu")
    for device in ("cuda:99", "gpu"):
        with pytest.raises(UserError, match=f"device '{device}' is not available") as error:
            machine.check_device(device)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["naive", "joint"])
def test_joint_training_takes_as_many_steps_as_all_tasks_together(name, monkeypatch):
    steps, step = [], learner._step
    monkeypatch.setattr(learner, "_step", lambda *arguments: steps.append(1) or step(*arguments))
    execute({**RUN, "method": {"name": name}, "train": {**TRAIN, "epochs": None, "steps": 7}})
    assert len(steps) == 5 * 7


def test_each_seed_begins_at_weights_of_its_own(monkeypatch):
    begun, learn = [], learner.learn

    def watched(method, net, theta, *rest):
        begun.append(theta.clone())
        return learn(method, net, theta, *rest)

    monkeypatch.setattr(learner, "learn", watched)
    for seed in (5, 6, 5):
        execute({**RUN, "seed": seed})
    first, other, again = begun
    assert torch.equal(first, again) and not torch.equal(first, other)

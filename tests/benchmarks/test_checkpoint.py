"""Checkpoints: a run that was stopped between two tasks and goes on gives what one that was not stopped gives."""

import pickle
from collections import defaultdict, deque
from dataclasses import replace

import numpy as np
import pytest
import torch

import methods
from benchmarks import learner
from benchmarks.checkpoint import Checkpoint, holdings
from benchmarks.run import Run
from benchmarks.trace import Trace
from benchmarks.worker import Context, Job
from methods.base.examples import Examples, Part
from methods.base.net import Net
from tests.support import toy

CLASSES = {name: methods.find(name) for name in methods.names()}
CASES = [(name, scenario) for name, cls in CLASSES.items() for scenario in cls.scenarios if not cls.joins_tasks]
ADAM = replace(toy.TRAIN, optimizer="adam", lr=0.01)
IDENTITY = {"method": {"name": "toy", "lam": 1.0}, "seed": 1}


class Stopped(Exception):
    pass


@pytest.fixture
def fitted(monkeypatch):
    """The tasks that were trained on, and at which to stop before training."""

    class Fitted(list):
        stop_at = None

    tasks, real = Fitted(), learner.fit

    def fit(method, theta, task, *rest):
        if task.index == tasks.stop_at:
            raise Stopped
        tasks.append(task.index)
        real(method, theta, task, *rest)

    monkeypatch.setattr(learner, "fit", fit)
    return tasks


def run(method, scenario, train=ADAM, checkpoint=None, seeds=(1,), trace=None):
    """A whole run, on a net with buffers where there is one replica."""
    stream = toy.stream(scenario, torch.float32)
    build = toy.noisy_for(type(method).__name__.lower()) if len(seeds) == 1 else toy.module
    thetas = torch.stack([Net(build(stream, seed)).vector() for seed in seeds])
    theta = thetas[0] if len(seeds) == 1 else thetas
    return learner.learn(method, Net(build(stream)), theta, stream, train, seeds, trace, checkpoint)


def stopped_and_resumed(fitted, stop_at, file, name, scenario, train=ADAM, seeds=(1,), traces=(None, None)):
    fitted.stop_at = stop_at
    with pytest.raises(Stopped):
        run(toy.make(name), scenario, train, Checkpoint(file, IDENTITY), seeds, traces[0])
    fitted.stop_at = None
    fitted.clear()
    result = run(toy.make(name), scenario, train, Checkpoint(file, IDENTITY), seeds, traces[1])
    assert sorted(set(fitted)) == list(range(stop_at, 3))  # a task may have several phases
    return result


@pytest.mark.parametrize(
    ("name", "scenario", "state"),
    [*((*case, "keep") for case in CASES), ("naive", "class", "reset"), ("den", "task", "reset")],
)
def test_a_run_that_goes_on_gives_the_same_matrix_to_the_bit(name, scenario, state, tmp_path, fitted):
    train = replace(ADAM, optimizer_state=state)
    counts, theta = run(toy.make(name), scenario, train)
    for stop_at in (1, 2) if scenario == "class" else (2,):
        again_counts, again = stopped_and_resumed(fitted, stop_at, tmp_path / f"{stop_at}", name, scenario, train)
        assert again_counts == counts
        assert torch.equal(again, theta)


@pytest.mark.parametrize("name", ["ewc", "si", "ewcpp", "scp"])
def test_several_replicas_go_on_too(name, tmp_path, fitted):
    counts, theta = run(toy.make(name), "task", seeds=(1, 2))
    again_counts, again = stopped_and_resumed(fitted, 2, tmp_path / "x", name, "task", seeds=(1, 2))
    assert again_counts == counts
    assert torch.equal(again, theta)


@pytest.mark.parametrize(("name", "scenario"), CASES)
def test_state_is_equal_after_saving_and_loading(name, scenario, tmp_path):
    method = toy.make(name)
    run(method, scenario)
    checkpoint = Checkpoint(tmp_path / "x", IDENTITY)
    checkpoint.save(method.state())
    same(checkpoint.load(torch.device("cpu")), method.state())


def same(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key, value in ours.items():
            same(value, theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for each, other in zip(ours, theirs, strict=True):
            same(each, other)
    elif hasattr(ours, "__dict__"):
        kept, other = ({k: v for k, v in vars(each).items() if k[0] != "_"} for each in (ours, theirs))
        same(kept, other)  # without scratch space
    else:
        assert ours == theirs


def test_seconds_seeds_and_memory_go_on(tmp_path, fitted):
    whole, first, second = Trace(), Trace(), Trace()
    first.seconds["training"] = 1000.0
    run(toy.make("replay"), "class", trace=whole)
    stopped_and_resumed(fitted, 2, tmp_path / "x", "replay", "class", traces=(first, second))
    assert second.roles == whole.roles
    assert second.memory == whole.memory
    assert second.seconds["training"] > first.seconds["training"] > 1000


def test_a_checkpoint_of_an_equal_run_is_its_own(tmp_path):
    """The two share a record. One names its options by a preset, the other one by one."""
    train = {"net": "mlp-8", "optimizer": "adam", "lr": 0.01, "optimizer_state": "keep", "batch": 8, "epochs": 1}
    named, spelt = (
        Run.of({"name": "splitdigits"}, "task", {"name": "si", "c": 1.0, **options}, train, 1)
        for options in ({"preset": "hsu"}, {"xi": 0.1, "clamp": "none"})
    )
    assert named == spelt and named.to_json() != spelt.to_json()
    named, spelt = (Job(each, "data", Context("cpu", "c", "d", "e")) for each in (named, spelt))
    Checkpoint(tmp_path / "x", named.identity).save({"tasks": 3})
    assert Checkpoint(tmp_path / "x", spelt.identity).load(torch.device("cpu")) == {"tasks": 3}
    other = replace(spelt, beside=(2, 3))
    assert Checkpoint(tmp_path / "x", other.identity).load(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"method": {"name": "toy", "lam": 2.0}, "seed": 1}, "method.lam = 2.0, this run 1.0"),
        ({"method": {"name": "toy", "lam": 1.0}, "seed": 3}, "seed = 3, this run 1"),
        ({"method": {"name": "toy", "lam": 1.0}, "seed": 1, "device": "cuda"}, "device = 'cuda', this run None"),
        ({"method": {"name": "toy"}, "seed": 1}, "method.lam = None, this run 1.0"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_set_aside(identity, words, tmp_path):
    Checkpoint(tmp_path / "x", identity).save({})
    content = (tmp_path / "x").read_bytes()
    checkpoint = Checkpoint(tmp_path / "x", IDENTITY)
    assert checkpoint.load(torch.device("cpu")) is None
    (note,) = checkpoint.notes
    assert words in note and "\n" not in note
    assert (tmp_path / "x.damaged").read_bytes() == content and not (tmp_path / "x").exists()


class Evil:
    def __reduce__(self):
        return print, ("this ran",)


def broken(kind, file):
    Checkpoint(file, IDENTITY).save({"theta": torch.arange(1000.0)})
    whole = file.read_bytes()
    {
        "empty": lambda: file.write_bytes(b""),
        "text": lambda: file.write_text("<html>not found</html>", encoding="utf-8"),
        "short": lambda: file.write_bytes(whole[: len(whole) // 2]),
        "other": lambda: torch.save([1, 2], file),
        "no state": lambda: torch.save({"identity": IDENTITY}, file),
        "code": lambda: torch.save({"identity": IDENTITY, "state": Evil()}, file),
        "pickle": lambda: file.write_bytes(pickle.dumps({"identity": IDENTITY, "state": Evil()}, protocol=2)),
    }[kind]()


@pytest.mark.parametrize("kind", ["empty", "text", "short", "other", "no state", "code", "pickle"])
def test_what_is_no_checkpoint_is_set_aside_and_runs_no_code(kind, tmp_path, capsys):
    file = tmp_path / "run.pt"
    for aside in ("run.damaged", "run.damaged1"):  # a second one does not overwrite the first
        broken(kind, file)
        content = file.read_bytes()
        checkpoint = Checkpoint(file, IDENTITY)
        assert checkpoint.load(torch.device("cpu")) is None
        (note,) = checkpoint.notes
        assert str(file) in note and str(tmp_path / aside) in note and "\n" not in note
        assert (tmp_path / aside).read_bytes() == content and not file.exists()
    assert capsys.readouterr().out == ""


def test_no_file_is_no_state(tmp_path):
    assert Checkpoint(tmp_path / "x", IDENTITY).load(torch.device("cpu")) is None


def test_it_is_written_when_its_time_has_come(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmarks.checkpoint.time.monotonic", lambda: now[0])
    checkpoint = Checkpoint(tmp_path / "x", IDENTITY, every=60.0)
    for now[0], expected in ((59.0, None), (61.0, {"at": 61.0}), (120.0, {"at": 61.0}), (122.0, {"at": 122.0})):
        checkpoint.save({"at": now[0]})
        assert checkpoint.load(torch.device("cpu")) == expected


def test_holdings_count_examples_and_bytes_once():
    pixels = torch.zeros(7, 2, 3)
    kept = Examples((Part(pixels, torch.arange(5), torch.zeros(5, dtype=torch.int64), torch.zeros(4)),))
    theta = torch.zeros(10)
    state = {"memory": [kept, kept], "theta": theta, "view": theta[:3], "other": (torch.zeros(2, dtype=torch.float64),)}
    assert holdings(state) == (5, 7 * 6 * 4 + 5 * 8 + 5 * 8 + 4 * 4 + 10 * 4 + 2 * 8)
    assert holdings({"count": 3, "none": None}) == (0, 0)


@pytest.mark.parametrize(
    ("name", "options", "examples", "tensors"),
    [
        ("naive", {}, 0, 0),
        ("replay", {"memory": 12, "batch_memory": 4}, 12, None),
        ("gem", {"per_task": 5}, 15, None),
        ("l2", {"lam": 1.0}, 0, 2),  # importance and anchor, and not the buffer of the gradient
        ("ewc", {"lam": 1.0}, 0, 2),
        ("si", {"c": 1.0}, 0, 4),  # also omega and w; star is the anchor; not the buffer of the step
    ],
)
def test_a_run_notes_the_most_that_its_method_held(name, options, examples, tensors):
    trace = Trace()
    _, theta = run(methods.make(name, **options), "class", trace=trace)
    assert trace.memory["examples"] == examples
    if tensors is not None:
        assert trace.memory["bytes"] == tensors * theta.numel() * 4
    else:
        assert trace.memory["bytes"] > examples * 16 * 4


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.float64(1.5), "state['method'][1] (numpy.float64)"),
        ({"deep": np.zeros(2)}, "state['method'][1]['deep'] (numpy.ndarray)"),
        ({np.int64(3): 1.5}, "state['method'][1][np.int64(3)] (numpy.int64)"),
        (deque([1]), "state['method'][1] (collections.deque)"),
        (defaultdict(int), "state['method'][1] (collections.defaultdict)"),
    ],
)
def test_what_could_not_be_read_back_is_named_once_and_not_written(value, name, tmp_path):
    checkpoint = Checkpoint(tmp_path / "x.pt", IDENTITY)
    for _ in range(2):
        checkpoint.save({"method": [1, value]})
    assert checkpoint.notes == [f"no checkpoint of x: {name} cannot be read back; keep tensors and plain numbers"]
    assert not (tmp_path / "x.pt").exists()

"""Records: what is written comes back, nothing is half-written, and what no run can leave is named."""

import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import files, record
from benchmarks.files import set_aside, write_atomically
from benchmarks.record import Record
from benchmarks.run import Run
from methods.base.errors import UserError

OPTIONS = {
    "stream": {"name": "splitdigits", "tasks": 2, "order": "fixed"},
    "scenario": "class",
    "method": {"name": "ewc", "lam": 2.0, "fisher": "exact"},
    "train": {
        **{"net": "mlp-8", "optimizer": "adam", "lr": 1e-3, "optimizer_state": "keep", "batch": 8},
        **{"epochs": 1, "steps": None},
    },
    "seed": 3,
}
RUN = Run.of(**OPTIONS)
DONE = Record(
    schema=record.SCHEMA,
    run=RUN,
    reason=None,
    correct=[[None, None], [3, None], [1, 4]],
    total=[4, 5],
    n_parameters=10,
    seeds={"init": 2**63 - 1},
    seconds={"training": 0.25},
    peak_memory_mb=12.5,
    versions={"torch": "1"},
    machine={"threads": 1},
    commit="abc",
    data="d",
    digest="e",
)


@pytest.mark.parametrize(
    "saved",
    [
        DONE,
        replace(DONE, reason="the loss is not finite", correct=[[None, None], [3, None], [None, None]]),
        replace(DONE, reason="the worker was killed", correct=None, total=[], warnings=["odd"]),
    ],
)
def test_a_record_comes_back(tmp_path, saved):
    file = tmp_path / RUN.place
    assert record.load(file) is None
    record.save(saved, file)
    assert record.load(file) == saved
    assert json.loads(file.read_text(encoding="utf-8"))["run"] == RUN.to_json()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_accuracy_is_computed_when_read():
    expected = np.array([[np.nan, np.nan], [0.75, np.nan], [0.25, 0.8]])
    np.testing.assert_array_equal(DONE.accuracy, expected)
    assert replace(DONE, reason="diverged").accuracy is None
    assert DONE.seed == 3


OTHERS = {  # another value of every option
    **{"stream.name": "arrays", "stream.tasks": 5, "stream.order": "seeded", "scenario": "task"},
    **{"method.name": "online_ewc", "method.lam": 1.0, "method.fisher": "argmax"},
    **{"train.net": "mlp-9", "train.optimizer": "sgd", "train.lr": 0.1, "train.optimizer_state": "reset"},
    **{"train.batch": 9, "train.epochs": 2},
}


def with_option(key, value):
    part, _, option = key.partition(".")
    return Run.of(**OPTIONS | {part: {**OPTIONS[part], option: value} if option else value})


def test_the_place_tells_every_option_apart():
    others = {key: with_option(key, value).place for key, value in OTHERS.items()}
    assert len({RUN.place, *others.values()}) == 1 + len(OTHERS)
    assert RUN.place == Run.of(**{key: OPTIONS[key] for key in reversed(OPTIONS)}).place
    assert RUN.place.parent == Path("splitdigits", "class") and RUN.place.name.startswith("ewc-")
    again = replace(RUN, seed=4).place
    assert RUN.place.name.endswith("-seed3.json")
    assert again == RUN.place.with_name(RUN.place.name.replace("-seed3.", "-seed4."))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stream.active_units", "seen"),  # the stream's default
        ("method.fisher_batch", 128),
        ("method.preset", "vdv"),  # what it stands for is among the options
    ],
)
def test_an_option_that_comes_later_moves_no_record(key, value):
    assert with_option(key, value).place == RUN.place
    assert with_option(key, value) == RUN


@pytest.mark.parametrize(
    ("key", "value"), [("stream.active_units", "all"), ("method.n_samples", 64), ("method.fisher", "argmax")]
)
def test_an_option_that_is_not_the_default_has_a_record_of_its_own(key, value):
    assert with_option(key, value).place != RUN.place


def test_a_run_comes_back_from_its_record():
    tuples = Run.of(**OPTIONS | {"stream": {"name": "splitdigits", "order": tuple(range(10))}})
    for run in (RUN, tuples, with_option("method.preset", "vdv")):
        assert Run.of(**json.loads(json.dumps(run.to_json()))) == run
        assert hash(Run.of(**run.to_json())) == hash(run)
    assert all(with_option(key, value) != RUN for key, value in OTHERS.items())


def test_every_reference_lies_where_its_run_says():
    found = sorted(files.REFERENCE.rglob("*.json"))
    assert found == [files.REFERENCE / record.load(file).run.place for file in found]


TEXT = record.to_text(DONE)
VALUES = json.loads(TEXT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT[: len(TEXT) // 2], "is not a record"),
        ("", "is not a record"),
        ("<html>", "is not a record"),
        ("[1, 2]", "is not a record"),
        ("null", "is not a record"),
        ("\udcff\udcfe", "is not a record"),
        (json.dumps({**VALUES, "schema": 0}), "has record schema 0, this version reads"),
        (json.dumps({**VALUES, "schema": "2"}), "has record schema '2', this version reads"),
        (json.dumps({key: value for key, value in VALUES.items() if key != "seeds"}), "is not a record.*seeds"),
        (json.dumps({**VALUES, "mood": "good"}), "is not a record.*mood"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, content, message):
    file = tmp_path / "run.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=message) as error:
        record.load(file)
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)
    assert isinstance(error.value, record.Damaged)
    for _ in range(2):  # a second one does not overwrite the first
        file.write_bytes(content.encode(errors="surrogateescape"))
        aside = set_aside(file)
        assert record.load(file) is None and aside.read_bytes() == content.encode(errors="surrogateescape")
    assert len(list(tmp_path.iterdir())) == 2


def impossible():
    """Values of a record's fields that no run can leave, each parsed without an error."""
    counts = [[None, None], [3, None], [1, 4]]
    yield from ({"correct": rows} for rows in ([], [[]], counts[:2], [*counts, [1, 4]], [[1], [2], [3]], None, 3, "x"))
    yield from ({"correct": [*counts[:2], row]} for row in ([1, 6], [-1, 4], [1, None], [True, 4], [1.0, 4], ["1", 4]))
    yield from ({"correct": [*counts[:2], row]} for row in (None, 1, {}, [[1], 4]))
    yield from ({"total": total} for total in ([0, 5], [4, -5], [4], [4, 5, 6], [4.5, 5], None, "ab", []))
    yield from ({"reason": reason} for reason in (1, ["x"], False))
    yield from ({"seconds": value} for value in ({"training": -1}, {"training": "x"}, [1], None))
    yield from ({"peak_memory_mb": value} for value in (-1, "x", None))
    runs = (None, [], {}, *({**VALUES["run"], "seed": n} for n in (0, "3", None)))
    yield from ({"run": value} for value in runs)
    yield from ({name: 1} for name in ("versions", "machine", "commit", "data", "digest", "memory", "seeds"))


@pytest.mark.parametrize("change", impossible(), ids=str)
def test_what_no_run_can_leave_is_damaged_and_named(tmp_path, change):
    file = tmp_path / "run.json"
    file.write_text(json.dumps(VALUES | change), encoding="utf-8")
    with pytest.raises(record.Damaged) as error:
        record.load(file)
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("[1, 4]", "[NaN, 4]"),
        TEXT.replace("[1, 4]", "[Infinity, 4]"),
        TEXT.replace("0.25", "-Infinity"),
        TEXT.replace("[1, 4]", "[" * 100_000 + "]" * 100_000),
        TEXT.replace("[1, 4]", "[1, 1" + "0" * 5000 + "]"),
    ],
    ids=["NaN", "Infinity", "-Infinity", "deep", "long"],
)
def test_json_that_is_no_record_is_damaged_and_named(tmp_path, text):
    file = tmp_path / "run.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(record.Damaged, match=str(file)):
        record.load(file)


def test_a_newer_schema_is_called_that_and_left_alone(tmp_path):
    file = tmp_path / "run.json"
    file.write_text(json.dumps({**VALUES, "schema": record.SCHEMA + 1}), encoding="utf-8")
    with pytest.raises(UserError, match="is of a newer version") as error:
        record.load(file)
    assert not isinstance(error.value, record.Damaged) and file.is_file()


def test_what_is_not_a_plain_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "folder.json").mkdir()
    for file in tmp_path.iterdir():
        with pytest.raises(UserError, match=f"{file} is not a plain file: remove it"):
            record.load(file)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    file = tmp_path / "run.json"
    file.write_text("old", encoding="utf-8")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(UserError, match=f"cannot write {file}: ") as error:
            write_atomically(file, "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"] and file.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, call, failure):
    def fail(*arguments):
        raise failure

    file = tmp_path / "run.json"
    file.write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, call, fail)
    expected = UserError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left" if expected is UserError else None):
        write_atomically(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"] and file.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("mask", [0o002, 0o022, 0o077])
def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "run.json", "new")
        write_atomically(tmp_path / "run.json", "newer")
    finally:
        os.umask(before)
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_is_written_is_complete_before_it_is_there(tmp_path, monkeypatch):
    """The new name appears last, after the content is on the disk."""
    file, order = tmp_path / "deep" / "run.json", []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append(("fsync", file.exists())), fsync(number)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append(("replace", file.exists())), rename(*names)))
    write_atomically(file, "new")
    assert order == [("fsync", False), ("replace", False)] and file.read_text(encoding="utf-8") == "new"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot write .*file/run\.json"):
        write_atomically(tmp_path / "file" / "run.json", "new")
    with pytest.raises(UserError, match=r"file/run\.json"):
        record.load(tmp_path / "file" / "run.json")


@pytest.mark.parametrize("change", [{"stream": {"name": "splitdigits", "taskz": 2}}, {"scenario": "old"}])
def test_a_run_that_this_version_cannot_describe_is_outdated_and_not_damaged(tmp_path, change):
    """An option that has another name now: the record is stale, and stays where it is."""
    file = tmp_path / "run.json"
    file.write_text(json.dumps(VALUES | {"run": VALUES["run"] | change}), encoding="utf-8")
    with pytest.raises(record.Outdated, match=f"{file} is of another version"):
        record.load(file)

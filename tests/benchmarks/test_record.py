"""Records: what is written comes back, nothing is half-written, and the digest follows what can change a number."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from benchmarks import record, run
from benchmarks.files import write_atomically
from benchmarks.record import Record
from methods.base.errors import UserError

RUN = {
    "stream": {"name": "splitdigits", "tasks": 2, "order": "fixed"},
    "scenario": "class",
    "method": {"name": "ewc", "lam": 2.0, "fisher": "exact"},
    "train": {"net": "mlp-8", "optimizer": "adam", "lr": 1e-3, "epochs": 1, "steps": None},
    "seed": 3,
}
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


@pytest.mark.parametrize("saved", [DONE, replace(DONE, reason="the loss is not finite", correct=None)])
def test_a_record_comes_back(tmp_path, saved):
    file = record.path(tmp_path, RUN)
    assert record.load(file) is None
    record.save(saved, file)
    assert record.load(file) == saved
    assert json.loads(file.read_text()) == asdict(saved)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_accuracy_is_computed_when_read():
    expected = np.array([[np.nan, np.nan], [0.75, np.nan], [0.25, 0.8]])
    np.testing.assert_array_equal(DONE.accuracy, expected)
    assert replace(DONE, correct=None).accuracy is None
    assert DONE.seed == 3


NAMES = {"stream": "splitmnist", "method": "online_ewc"}


def leaves(options, part=None):
    """Every way to change one option of a run but the seed."""
    for key, value in options.items():
        if isinstance(value, dict):
            for inner, changed in leaves(value, key):
                yield f"{key}.{inner}", {**options, key: changed}
        elif key != "seed":
            yield key, {**options, key: NAMES[part] if key == "name" else "other"}


def test_the_path_tells_every_option_apart(tmp_path):
    file = record.path(tmp_path, RUN)
    others = {name: record.path(tmp_path, changed) for name, changed in leaves(RUN)}
    assert len(others) == 12
    assert len({file, *others.values()}) == 13
    assert file == record.path(tmp_path, dict(reversed(RUN.items())))
    assert file.parent == tmp_path / "splitdigits" / "class" and file.name.startswith("ewc-")
    again = record.path(tmp_path, {**RUN, "seed": 4})
    assert file.name.endswith("-seed3.json") and again == file.with_name(file.name.replace("-seed3.", "-seed4."))


def with_option(part, **options):
    return {**RUN, part: {**RUN[part], **options}}


@pytest.mark.parametrize(
    ("part", "options"),
    [
        ("stream", {"active_units": "seen"}),  # the stream's default
        ("method", {"fisher_batch": 128}),
        ("method", {"preset": "hsu"}),  # what it stands for is among the options
        ("train", {"epochs": 1, "steps": None}),
    ],
)
def test_an_option_that_comes_later_moves_no_record(tmp_path, part, options):
    assert record.path(tmp_path, with_option(part, **options)) == record.path(tmp_path, RUN)


@pytest.mark.parametrize(
    ("part", "options"),
    [("stream", {"active_units": "all"}), ("method", {"fisher_batch": 64}), ("method", {"fisher": "argmax"})],
)
def test_an_option_that_is_not_the_default_has_a_record_of_its_own(tmp_path, part, options):
    assert record.path(tmp_path, with_option(part, **options)) != record.path(tmp_path, RUN)


def test_a_record_of_an_older_default_is_of_another_run():
    assert record.is_of(DONE, RUN)
    assert record.is_of(DONE, with_option("method", fisher_batch=128, preset="hsu"))  # the record knows neither yet
    assert record.is_of(replace(DONE, run=with_option("stream", angles=[0, 20])), with_option("stream", angles=(0, 20)))
    for part, options in (("method", {"fisher": "argmax"}), ("stream", {"tasks": 5}), ("train", {"epochs": 2})):
        assert not record.is_of(replace(DONE, run=with_option(part, **options)), RUN)


def test_every_reference_lies_where_its_run_says():
    files = sorted(record.REFERENCE.rglob("*.json"))
    assert files == [record.path(record.REFERENCE, record.load(file).run) for file in files]


TEXT = json.dumps(asdict(DONE))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT[: len(TEXT) // 2], "is not a record"),
        ("", "is not a record"),
        ("<html>", "is not a record"),
        ("[1, 2]", "is not a record"),
        ("null", "is not a record"),
        ("\udcff\udcfe", "is not a record"),
        (json.dumps({**asdict(DONE), "schema": 0}), "has record schema 0, this version reads"),
        (json.dumps({key: value for key, value in asdict(DONE).items() if key != "seeds"}), "is not a record.*seeds"),
        (json.dumps({**asdict(DONE), "mood": "good"}), "is not a record.*mood"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, content, message):
    file = tmp_path / "run.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=message) as error:
        record.load(file)
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)
    aside = record.set_aside(file)
    assert record.load(file) is None and aside.read_bytes() == content.encode(errors="surrogateescape")


FULL = """
import resource, sys
from pathlib import Path
from methods.base.errors import UserError
from benchmarks.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    write_atomically(Path(sys.argv[1]), "x" * 10_000)
except UserError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path):
    file = tmp_path / "run.json"
    file.write_text("old")
    done = subprocess.run([sys.executable, "-c", FULL, file], cwd=record.ROOT, capture_output=True, text=True)
    assert done.stdout.startswith(f"cannot write {file}: ") and done.stdout.count("\n") == 1, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"] and file.read_text() == "old"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_write_that_fails_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, call, failure):
    def fail(*arguments):
        raise failure

    file = tmp_path / "run.json"
    file.write_text("old")
    monkeypatch.setattr(os, call, fail)
    expected = UserError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left" if expected is UserError else None):
        write_atomically(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"] and file.read_text() == "old"


def test_what_is_written_is_complete_before_it_is_there(tmp_path, monkeypatch):
    """The new name appears last, after the content is on the disk."""
    file, order = tmp_path / "deep" / "run.json", []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append(("fsync", file.exists())), fsync(number)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append(("replace", file.exists())), rename(*names)))
    write_atomically(file, "new")
    assert order == [("fsync", False), ("replace", False)] and file.read_text() == "new"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/run\.json"):
        write_atomically(tmp_path / "file" / "run.json", "new")
    with pytest.raises(UserError, match=r"file/run\.json"):
        record.load(tmp_path / "file" / "run.json")


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the suite's sources, from which the digests of this test are taken."""
    for package in record.PACKAGES:
        shutil.copytree(record.ROOT / package, tmp_path / package)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    record.digest.cache_clear()
    yield tmp_path
    record.digest.cache_clear()


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    record.digest.cache_clear()


TINY = {
    "benchmarks/loop.py": '"""The loop."""\nfrom methods import maths\n\n'
    'def go(x):\n    """Goes."""\n    return maths.f(x)\n',
    "methods/maths.py": '"""Formulas."""\nimport benchmarks.deep\n\nclass F:\n    """A formula."""\n    a = 1  # one\n',
    "benchmarks/deep.py": "from methods.base.errors import UserError\nB = 2\n",
    "methods/base/errors.py": "class UserError(ValueError):\n    pass\n",
    "methods/other.py": "from methods import maths\nC = 3\n",
}


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("benchmarks/loop.py", "maths.f(x)", "maths.f(x) + 1", True),
        ("methods/maths.py", "a = 1", "a = 2", True),
        ("benchmarks/deep.py", "B = 2", "B = 3", True),
        ("benchmarks/loop.py", "The loop.", "The training loop.", False),
        ("benchmarks/loop.py", "Goes.", "Went.", False),
        ("benchmarks/loop.py", '    """Goes."""\n', "", False),
        ("methods/maths.py", "A formula.", "The formula.", False),
        ("methods/maths.py", "# one", "# the unit", False),
        ("methods/maths.py", "a = 1", "a  =  1", False),
        ("methods/other.py", "C = 3", "C = 4", False),
        ("methods/base/errors.py", "pass", "x = 1", False),
    ],
)
def test_the_digest_follows_the_code_that_is_imported(tmp_path, monkeypatch, file, old, new, changes):
    for name, text in TINY.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    record.digest.cache_clear()
    before = record.digest("benchmarks.loop")
    change(tmp_path / file, old, new)
    assert (record.digest("benchmarks.loop") != before) == changes
    record.digest.cache_clear()


@pytest.mark.parametrize(
    "file",
    [
        "benchmarks/learner",
        "methods/base/net",
        "benchmarks/models",
        "benchmarks/stream",
        "methods/base/examples",
        "methods/base/rng",
        "benchmarks/materialise",
        "benchmarks/data",
        "benchmarks/standard_sets",
        "benchmarks/streams/splitdigits",
        "benchmarks/streams/arrays",
    ],
)
def test_the_digest_of_a_run_follows_what_trains_it(sources, file):
    before = run.digest(RUN)
    change(sources / f"{file}.py", "\n\n\n", "\n\n\nX = 1\n\n\n")
    assert run.digest(RUN) != before


def test_the_digest_of_a_run_follows_its_own_method_alone(sources):
    naive = {**RUN, "method": {"name": "naive"}}
    before, before_naive = run.digest(RUN), run.digest(naive)
    assert before != before_naive
    change(sources / "methods/ewc.py", "\n\n\n", "\n\n\nX = 1\n\n\n")
    assert run.digest(RUN) not in (before, before_naive) and run.digest(naive) == before_naive
    before = run.digest(RUN)
    for file in ("methods/si.py", "benchmarks/streams/splitmnist.py", "benchmarks/sweep.py", "benchmarks/metrics.py"):
        change(sources / file, "\n\n\n", "\n\n\nX = 1\n\n\n")
    assert run.digest(RUN) == before

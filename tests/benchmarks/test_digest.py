"""The digest: it changes with every module that can change a number, and with nothing else."""

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import digest, worker
from benchmarks.run import Run
from methods.base.errors import UserError
from tests.support import toy

TRAIN = {"net": "mlp-8", "optimizer": "adam", "lr": 1e-3, "optimizer_state": "keep", "batch": 64, "epochs": 1}
# Executed by a run beside what is in its digest. None of it can change a number: it says which code, data and machine
# made the record, and what is wrong.
HARMLESS = {
    *("benchmarks/worker.py", "benchmarks/run.py", "benchmarks/record.py", "benchmarks/machine.py"),
    *("benchmarks/digest.py", "benchmarks/files.py", "benchmarks/metrics.py", "benchmarks/streams/__init__.py"),
    *("methods/__init__.py", "methods/base/errors.py", "methods/base/choice.py", "methods/base/modules.py"),
}


def run_of(name, **changes):
    options = asdict(toy.make(name, **({"K": 20} if name == "icarl" else {}), **changes))
    return Run.of({"name": "splitdigits", "tasks": 2}, "class", {"name": name, **options}, TRAIN, 1)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of the suite's sources, from which the digests of this test are taken."""
    for package in ("benchmarks", "methods", "paper_tables"):
        shutil.copytree(digest.ROOT / package, tmp_path / package)
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    digest.of_sources.cache_clear()
    yield tmp_path
    digest.of_sources.cache_clear()


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{file} no longer holds {old!r}"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    digest.of_sources.cache_clear()


def executed(run: Run) -> set[str]:
    """The files of this suite that are executed between the seed and the counts of a run."""
    found, root = set(), f"{digest.ROOT}/"

    def watch(frame, event, argument):
        if event == "call" and frame.f_code.co_filename.startswith(root) and frame.f_code.co_name != "<module>":
            found.add(frame.f_code.co_filename.removeprefix(root))

    job = worker.Job(run, "data", worker.Context("cpu", "abc", "d", "e"))
    worker._build.cache_clear()
    text = job.to_text()
    sys.setprofile(watch)
    try:
        outcome = worker.Outcome.from_text(worker.work(text))
    finally:
        sys.setprofile(None)
    assert outcome.records[0].reason is None
    return {file for file in found if file.split("/")[0] in ("benchmarks", "methods", "paper_tables")}


@pytest.mark.parametrize("name", ["naive", "ewc", "ewcpp", "mas", "si", "rwalk", "gem", "icarl", "replay", "lwf"])
def test_every_module_that_a_run_executes_is_in_its_digest(name, sources):
    run = run_of(name)
    digest_sources, digest.ROOT = digest.ROOT, Path(digest.__file__).resolve().parents[1]
    try:
        files = executed(run)
    finally:
        digest.ROOT = digest_sources
    assert {"benchmarks/learner.py", "methods/base/net.py", "benchmarks/materialise.py"} <= files
    for file in sorted(files - HARMLESS):
        before = run.digest
        change(sources / file, "\n\n\n", "\n\n\nX = 1\n\n\n")
        assert run.digest != before, f"{file} is executed by a run of {name} and not in its digest"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("benchmarks/sweep.py", "PATIENCE = 5.0", "PATIENCE = 6.0"),
        ("benchmarks/metrics.py", "METRICS = {}", "METRICS = {1: 2}"),
        ("benchmarks/standard_sets.py", "STALL_SECONDS = 30", "STALL_SECONDS = 31"),
        ("benchmarks/record.py", "SCHEMA = 1", "SCHEMA = 2"),
        ("paper_tables/render.py", "WIDTH = 150", "WIDTH = 151"),
        ("paper_tables/complete.py", 'AUTO = "auto"', 'AUTO = "some"'),
        ("methods/base/errors.py", "UserError(ValueError)", "UserError(Exception)"),
        ("methods/gem.py", "\n\n\n", "\n\n\nX = 1\n\n\n"),  # another method
        ("benchmarks/streams/splitmnist.py", "\n\n\n", "\n\n\nX = 1\n\n\n"),  # another stream
        ("benchmarks/learner.py", "The training loop", "This training loop"),  # a docstring
        ("benchmarks/learner.py", "steps between looks", "steps between two looks"),  # a comment
        ("benchmarks/learner.py", "the loss is not finite at", "the loss is no number at"),  # the text of an error
    ],
)
def test_what_cannot_change_a_number_is_not_in_the_digest(file, old, new, sources):
    run = run_of("ewc")
    before = run.digest
    change(sources / file, old, new)
    assert run.digest == before


def test_a_relative_import_is_refused(sources):
    change(sources / "methods/ewc.py", "\n\n\n", "\nfrom . import rwalk\n\n\n")
    with pytest.raises(UserError, match=r"methods\.ewc has a relative import in line \d+: write the whole name"):
        _ = run_of("ewc").digest


def test_fine_tuning_does_not_depend_on_the_fisher_engine(sources):
    naive, ewc, ewcpp = (run_of(name) for name in ("naive", "ewc", "ewcpp"))
    before = naive.digest, ewc.digest, ewcpp.digest
    change(sources / "methods/importance/persample.py", "\n\n\n", "\n\n\nX = 1\n\n\n")
    after = naive.digest, ewc.digest, ewcpp.digest
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, False]


@pytest.mark.parametrize(("old", "new"), [("THREADS = 1", "THREADS = 2"), ("DENORMALS = True", "DENORMALS = False")])
def test_the_numeric_settings_of_a_worker_are_in_the_digest(old, new, sources):
    before = run_of("naive").digest
    change(sources / "benchmarks/numerics.py", old, new)
    assert run_of("naive").digest != before

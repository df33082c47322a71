"""A library's process: what it answered counts, whatever becomes of it. Nothing is installed."""

import subprocess
import sys
import time

import pytest

from benchmarks.audit.base import environments, library, problem, run
from benchmarks.audit.base.classify import NONE, NOT_RUN
from benchmarks.audit.base.definitions import DEFINITIONS
from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import read
from benchmarks.audit.base.worker import main as work
from methods.base.errors import UserError

QUANTITIES = ("average_accuracy", "bwt", "fwt", "forgetting", "micro_accuracy")  # of renate
START = """
import json, os, subprocess, sys, time
name, folder = sys.argv[1:]
assert os.path.exists(folder + "/problem.npz") and os.environ["HOME"] == folder and os.environ["OMP_NUM_THREADS"] == "1"
out = open(folder + "/answers.jsonl", "w", encoding="latin-1")
print(json.dumps({"version": "1.0"}), file=out, flush=True)
print(json.dumps({"quantity": "bwt", "case": 0, "values": VALUES}), file=out, flush=True)
"""
START = START.replace("VALUES", str(DEFINITIONS["bwt"](problem.make())["over T"].tolist()))


def row(script, limit=60.0):
    return run.audit("renate", limit, [sys.executable, "-c", START + script])


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("raise SystemExit('it fell')", "exit status 1: it fell"),
        ("os._exit(3)", "exit status 3: no output"),
        ("", "no answer in 1 of 1 cases"),
    ],
)
def test_a_process_that_ends_early_costs_what_it_had_not_answered(script, text):
    found = row(script)
    assert (found.version, found.cells["bwt"].kind) == ("1.0", "exact")
    for quantity in set(QUANTITIES) - {"bwt"}:
        assert (found.cells[quantity].kind, found.cells[quantity].text) == (NOT_RUN, text)
    assert found.cells["gem"].kind == NONE


def test_a_process_that_hangs_is_ended_with_its_children(tmp_path):
    mark = tmp_path / "alive"
    child = f"import time; time.sleep(2.5); open({str(mark)!r}, 'w')"
    start = time.monotonic()
    found = row(f"subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)", limit=1.5)
    assert found.cells["bwt"].kind == "exact" and found.cells["fwt"].text == "no answer after 1.5 s"
    assert time.monotonic() - start < 30
    time.sleep(1.5)
    assert not mark.exists()


def test_garbage_is_left_out_and_nan_is_no_number():
    found = row("""
out.write('not json\\n{"quantity": "fwt"}\\n[1, 2]\\n{"quantity": "forgetting", "case": 0, "values": ["x"]}\\n')
out.write('{"quantity": "average_accuracy", "case": 0, "values": [NaN, 1, 1, 1, 1]}\\n\\xff')
""")
    assert found.cells["bwt"].kind == "exact"
    assert found.cells["fwt"].kind == found.cells["forgetting"].kind == NOT_RUN
    assert (found.cells["average_accuracy"].kind, found.cells["average_accuracy"].text) == (
        "another quantity",
        "1 of 5 are no numbers",
    )


def test_a_library_that_cannot_be_installed_is_a_row_that_says_so(monkeypatch):
    def fail(name):
        raise UserError(f"{name} cannot be installed: no such version")

    monkeypatch.setattr(run, "interpreter", fail)
    found = run.audit("renate")
    assert {found.cells[quantity].text for quantity in QUANTITIES} == {"renate cannot be installed: no such version"}


def test_the_worker_writes_values_errors_and_the_version(tmp_path, monkeypatch):
    def values(given):
        return DEFINITIONS["bwt"](given)["over T"]

    def fails(given, batch):
        raise ValueError(f"\n no batch of {batch}\nmore")

    fake = {"bwt": (values, "exact", "", ""), "mas": (fails, "refused", "", "")}
    monkeypatch.setattr(library, "find", lambda name: Library("torch", "fake", fake))
    problem.save(problem.make(), tmp_path)
    work("fake", str(tmp_path))
    version, answers = run.read_answers(tmp_path / "answers.jsonl")
    assert version and answers["bwt"][0] == pytest.approx(values(read(tmp_path)))
    assert answers["mas"] == {n: f"ValueError: no batch of {batch}" for n, batch in enumerate((1, 8, 64))}


def test_an_environment_is_made_once_and_again_for_another_list(tmp_path, monkeypatch):
    installed = []
    monkeypatch.setattr(environments, "_install", lambda *arguments: installed.append(arguments[0]))
    lists, folder = tmp_path / "lists", tmp_path / ".audit"
    lists.mkdir()
    assert environments.interpreter("none", folder, lists) == sys.executable
    (lists / "some.txt").write_text("some==1.0\n", encoding="utf-8")
    python = environments.interpreter("some", folder, lists)
    assert environments.interpreter("some", folder, lists) == python and installed == ["some"]
    seen = subprocess.run(
        [python, "-c", "import importlib.util as u, sys; print(sys.prefix if u.find_spec('torch') else None)"],
        capture_output=True,
        text=True,
    )
    assert seen.stdout.strip() == str(folder / "some")  # its own, with this one's packages below it
    (lists / "some.txt").write_text("some==2.0\n", encoding="utf-8")
    environments.interpreter("some", folder, lists)
    assert installed == ["some", "some"]


def test_an_installation_that_fails_says_why_and_is_tried_again(tmp_path, monkeypatch):
    class Failed:
        returncode, stderr = 1, "WARNING: x\nERROR: No matching distribution found for some==1.0\n"

    monkeypatch.setattr(environments.subprocess, "run", lambda *_, **__: Failed)
    (tmp_path / "some.txt").write_text("some==1.0\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(UserError, match="some cannot be installed: No matching distribution"):
            environments.interpreter("some", tmp_path / ".audit", tmp_path)


def test_every_library_has_a_file_of_at_most_120_lines_and_exact_pins():
    assert len(library.names()) > 15
    finders = list(sys.meta_path)
    for name in library.names():
        assert library.find(name).entries, name
        file = environments.LISTS / f"{name}.py"
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 120, name
        pinned = file.with_suffix(".txt")
        lines = pinned.read_text(encoding="utf-8").splitlines() if pinned.exists() else []
        assert all(line.count("==") == 1 for line in lines), name
        assert lines or name == "avalanche"
    assert sys.meta_path == finders  # stand-ins are for the library's own process


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="unknown library 'avalanch'; the nearest is 'avalanche'"):
        library.find("avalanch")
    with pytest.raises(UserError, match="unknown quantity 'emc_2'"):
        Library("x", "x", {"emc_2": (None, "exact", "", "")})


def test_stand_ins_are_modules_with_every_attribute_base_class_and_decorator():
    script = """
from benchmarks.audit.base.absent import stand_in
stand_in("not_here", "json.tool")
from not_here.deep import Base, decorated
import json, json.tool, not_here
class Own(Base.of.any.depth):
    @decorated
    def f(self):
        return 3
assert Own().f() == 3 and json.loads("3") == 3 and json.tool.main and not_here.make(1).attribute
try:
    import not_there
except ModuleNotFoundError:
    print("well")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=run.ROOT, capture_output=True, text=True)
    assert done.stdout == "well\n", done.stderr

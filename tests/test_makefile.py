"""A variable that no target of the command reads is refused. Before, it was ignored without a word."""

import subprocess

import pytest

from tests.support.lock import ROOT


def planned(*arguments):
    """Return what make would do, without doing it."""
    return subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("goals", "given", "named"),
    [
        ("table-splitdigits", "SEED=3", "SEED"),
        ("table-splitdigits", "RESULTS=elsewhere", "RESULTS"),
        ("tune-splitdigits", "ROWS=ewc", "ROWS"),
        ("regress", "SEEDS=1", "SEEDS"),
        ("tables", "RESULTS=results/local", "RESULTS"),
        ("report", "TABLE=splitdigits", "TABLE"),
        ("judge", "FILES=mine.csv", "FILES"),
        ("cluster-worker", "PORT=3", "PORT"),
        ("", "SEEDS=3", "SEEDS"),
    ],
)
def test_what_nothing_reads_is_refused(goals, given, named):
    done = planned(*goals.split(), given)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"{goals or 'help'}: nothing reads {named}: the options are in `make help`" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "table-splitdigits SEEDS=1 ROWS=ewc JOBS=2 DATA=/data DEVICE=cpu BESIDE=reference TRACK=tensorboard PLAN=1",
        "tune-splitdigits JOBS=2 CLUSTER=tcp://a:1",
        "judge FILE=mine.csv",
        "report RESULTS=results/local FILE=page.html LIVE=1",
        "figures TABLE=splitdigits RESULTS=results/local",
        "tables report RESULTS=results/local",
        "regress TABLE=odd JUNIT=a.xml JSON=a.json REASON=because",
        "figure-tradeoff JOBS=2 DATA=/data",
        "audit LIBS=avalanche JOBS=1",
        "bench-sweep RUNS=3",
        "cluster-scheduler LISTEN=127.0.0.1 PORT=1",
        "mutants MUTANTS=a DATA=/data",
        "test DATA=/data NO_COLOR=1 PROCESSES=2",
        "lint PYTHON=python3",
    ],
)
def test_what_a_target_reads_is_taken(command):
    done = planned(*command.split())
    assert (done.returncode, done.stderr) == (0, "")

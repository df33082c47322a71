"""The line of progress, by a clock that the test sets."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmarks import progress, sweep
from benchmarks.progress import Line, duration
from tests.support.sweeps import RUNS, Inline

NOON = 43_200.0  # 1 January 1970, in UTC


@pytest.fixture
def clock(monkeypatch):
    """What the line takes for the time: seconds since it began."""
    import time

    clock = SimpleNamespace(now=0.0)
    fields = {"monotonic": lambda: 1000 + clock.now, "time": lambda: NOON + clock.now, "strftime": time.strftime}
    gone = {"localtime": lambda seconds=None: time.gmtime(NOON + clock.now if seconds is None else seconds)}
    monkeypatch.setattr(progress, "time", SimpleNamespace(**fields, **gone))
    return clock


def console(**options):
    return Console(file=io.StringIO(), width=100, **options)


def test_the_line_counts_and_foretells(clock):
    line = Line(console(), 6)
    assert line.text == "0 of 6 runs, 0 running, 0 failed"
    for run in ("a", "b"):
        line.begin(run)
    assert line.text == "0 of 6 runs, 2 running, 0 failed"
    clock.now = 60
    line.end("a")  # 60 s
    line.begin("c")
    assert line.text == "1 of 6 runs, 2 running, 0 failed, 60 s a run, ends 12:06"  # in 5 more times 60 s
    clock.now = 300
    line.end("b", failed=True)  # 300 s
    line.drop("c")  # its worker died
    assert line.text == "2 of 6 runs, 0 running, 1 failed, 3.0 minutes a run, ends 12:15"  # 4 more times 150 s
    line.end("d")  # by another sweep: no time is known
    assert line.text == "3 of 6 runs, 0 running, 1 failed, 3.0 minutes a run, ends 12:12"
    for run in ("c", "e", "f"):
        line.begin(run)
    clock.now = 3600
    for run in ("c", "e", "f"):
        line.end(run)
    assert line.text == "6 of 6 runs, 0 running, 1 failed, 34.2 minutes a run, took 60.0 minutes"  # 60, 300, 3 * 3300 s


def test_another_day_has_its_date(clock):
    line = Line(console(), 3)
    line.begin(1)
    clock.now = 7 * 3600
    line.end(1)
    assert line.text.endswith("7.0 hours a run, ends 1970-01-02 09:00")


def test_without_a_terminal_a_line_is_printed_now_and_then(clock):
    out = console()
    with Line(out, 20) as line:
        for n in range(20):
            line.begin(n)
            clock.now += 10
            line.end(n)
    shown = out.file.getvalue().splitlines()
    assert [text.split(",")[0] for text in shown] == [f"{n} of 20 runs" for n in (4, 8, 12, 16, 20)]


def test_a_terminal_shows_one_line_that_fits_80_columns(clock):
    out = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with Line(out, 1000) as line:
        line.begin(1)
        clock.now = 6000
        line.end(1, failed=True)
    lines = [text for text in out.file.getvalue().splitlines() if "runs" in text]
    assert "1 of 1000 runs, 0 running, 1 failed, 1.7 hours a run, ends 1970-03-11" in lines[-1]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "1.5 minutes"), (5399, "90.0 minutes"), (5400, "1.5 hours")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_sweep_tells_the_line_what_it_does(tmp_path, monkeypatch):
    """A run whose worker dies is taken back and begun again, and in the end it has failed."""
    told = []

    class Told(Line):
        def begin(self, run):
            told.append(("begin", run))
            super().begin(run)

        def drop(self, run):
            told.append(("drop", run))
            super().drop(run)

        def end(self, run, failed=False):
            told.append(("failed" if failed else "end", run))
            super().end(run, failed)

    first, second = RUNS[:2]
    monkeypatch.setattr(sweep, "Line", Told)
    monkeypatch.setattr(sweep, "Processes", lambda n: Inline(dies=(first,)))
    sweep.sweep([first, second], tmp_path, tmp_path, 1)
    one, other = [[what for what, run in told if run == each] for each in (first, second)]
    assert one == ["begin", "drop", "begin", "failed"] and other == ["begin", "end"]

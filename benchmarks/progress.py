"""The line of progress: how many runs are done, at work and failed, how long each takes, and when the last one ends."""

import time
from collections.abc import Hashable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

EVERY = 30.0  # seconds between two lines where the output is no terminal


class Line:
    """Count `total` runs. A terminal shows them beside a bar. Elsewhere a line is printed now and then.

    A run that ends without having begun was done by somebody else. It tells nothing of the time.
    """

    def __init__(self, console: Console, total: int):
        self._console, self._total = console, total
        self._begun = self._said = time.monotonic()
        self._at_work: dict[Hashable, float] = {}  # since when
        self._durations: list[float] = []
        self._done = self._failed = 0
        columns = BarColumn(bar_width=10), TextColumn("{task.description}", markup=False)
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(self.text, total=total)

    def __enter__(self) -> "Line":
        self._bar.start()
        return self

    def __exit__(self, *error) -> None:
        self._bar.stop()

    def begin(self, run: Hashable) -> None:
        """Note that a run is at work."""
        self._at_work[run] = time.monotonic()
        self._show()

    def drop(self, run: Hashable) -> None:
        """Note that a run is not at work any more, and not done."""
        del self._at_work[run]
        self._show()

    def end(self, run: Hashable, failed: bool = False) -> None:
        """Note that a run is done."""
        if run in self._at_work:
            self._durations.append(time.monotonic() - self._at_work.pop(run))
        self._done += 1
        self._failed += failed
        self._show()
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._said > EVERY or self._done == self._total):
            self._said = now
            self._console.print(self.text, markup=False, soft_wrap=True)

    @property
    def text(self) -> str:
        """Return the line."""
        parts = [f"{self._done} of {self._total} runs", f"{len(self._at_work)} running", f"{self._failed} failed"]
        if n := len(self._durations):
            each = sum(self._durations) / n
            parts.append(f"{f'{each:.1f} s' if each < 10 else duration(each)} a run")
            gone = time.monotonic() - self._begun
            left = gone / n * (self._total - self._done)
            parts.append(f"ends {_clock(left)}" if left else f"took {duration(gone)}")
        return ", ".join(parts)

    def _show(self) -> None:
        self._bar.update(self._task, completed=self._done, description=self.text)


def _clock(seconds: float) -> str:
    """Return the time of day in so many seconds, with the date if that is another day."""
    now, then = time.localtime(), time.localtime(time.time() + seconds)
    return time.strftime("%H:%M" if now[:3] == then[:3] else "%Y-%m-%d %H:%M", then)


def duration(seconds: float) -> str:
    """Return a time in the largest unit of which there is at least one and a half."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"

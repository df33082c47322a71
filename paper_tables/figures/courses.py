"""What the figures of a table are drawn from: the finished runs of each row in each scenario."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks import metrics
from benchmarks.record import Record
from paper_tables.alike import common
from paper_tables.runs import Results, finished_of, measures


@dataclass(frozen=True)
class Course:
    """Hold the S finished runs of a row in a scenario, and the seeds whose run failed."""

    label: str
    scenario: str
    records: tuple[Record, ...]
    failed: tuple[int, ...] = ()

    @property
    def method(self) -> str:
        """Return the name of the method."""
        return self.records[0].run.method.name

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the runs, [S]."""
        return tuple(record.seed for record in self.records)

    @cached_property
    def accuracy(self) -> np.ndarray:
        """Return R [S, T + 1, T] in percent."""
        return 100 * np.stack([record.accuracy for record in self.records])

    @cached_property
    def so_far(self) -> np.ndarray:
        """Return the mean accuracy on the tasks learnt so far, [S, T]."""
        after = [self.measured(f"{metrics.AFTER}{k}") for k in range(1, self.accuracy.shape[2])]
        return np.stack([*after, self.final], 1)

    @property
    def first(self) -> np.ndarray:
        """Return the accuracy on the first task, [S, T]."""
        return self.accuracy[:, 1:, 0]

    @property
    def final(self) -> np.ndarray:
        """Return the mean accuracy over all tasks after the last one, [S]."""
        return self.measured("average_accuracy")

    @property
    def is_joint(self) -> bool:
        """Say whether only the end was measured."""
        return bool(metrics.is_joint(self.records[0].accuracy))

    def measured(self, metric: str, references: Sequence[Record] = ()) -> np.ndarray:
        """Return a measure of each run, [S], in percent. NaN: it is undefined for this run."""
        return np.array([measure.percent for measure in measures(metric, self.records, references)])


def courses(results: Results) -> list[Course]:
    """Return the courses of all rows that have finished runs, each set of runs once."""
    groups: dict = {}
    for (label, scenario), records in results.items():
        finished = tuple(finished_of(records))
        failed = tuple(record.seed for record in records if record.reason is not None)
        if finished:
            groups.setdefault(finished[0].run.without_seed, (scenario, finished, failed, []))[3].append(label)
    return [
        Course(common(labels), scenario, finished, failed) for scenario, finished, failed, labels in groups.values()
    ]

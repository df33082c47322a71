"""continuum: its logger, with predictions that have the given accuracies."""

import numpy as np

from benchmarks.audit.base.library import Library


def metric(name, rows=None):
    """A property of the logger. Each task has targets 0, and as many predictions 0 as its accuracy says."""

    def of(R, total):
        from continuum.metrics import Logger

        logger = Logger(list_subsets=["train", "test"])
        for k, row in enumerate(R[1:], start=1):
            seen = range(len(total) if rows is None else rows(k))
            predictions = np.concatenate([(np.arange(total[j]) >= round(row[j] * total[j])).astype(int) for j in seen])
            tasks = np.repeat(list(seen), total[list(seen)])
            logger.add([predictions, np.zeros_like(predictions), tasks], subset="test")
            if k < len(total):
                logger.end_task()
        return getattr(logger, name)

    return lambda problem: problem.per_matrix(of)


backward = metric("backward_transfer")
METRICS = "metrics/metrics.py"
library = Library(
    "continuum",
    "continuum",
    {
        "average_accuracy": (metric("accuracy"), "another quantity", "on the union of the test sets", METRICS),
        "micro_accuracy": (metric("accuracy"), "exact", "", METRICS),
        "bwt": (backward, "another quantity", "over all rows, but for the entries below the diagonal", METRICS),
        "fwt": (metric("forward_transfer"), "another quantity", "the mean below the diagonal", METRICS),
        "forgetting": (metric("forgetting"), "another quantity", "without the last two rows and tasks", METRICS),
        "incremental_accuracy": (
            metric("average_incremental_accuracy", lambda k: k),
            "exact",
            "on the union of the test sets shown",
            "metrics/logger.py",
        ),
    },
    absent=("h5py", "datasets", "continuum.datasets", "continuum.scenarios"),
)  # fmt: skip

"""renate: its metrics. The package asks for an older Python; its module of metrics needs none of what it imports."""

import importlib.util
from importlib.metadata import distribution

from benchmarks.audit.base.library import Library

FILE = "renate/evaluation/metrics/classification.py"


def metric(name):
    def of(R, total):
        spec = importlib.util.spec_from_file_location("classification", distribution("renate").locate_file(FILE))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        results = {"accuracy": R[1:].tolist(), "accuracy_init": R[:1].tolist()}
        return getattr(module, name)(results, len(total) - 1, total.tolist())

    return lambda problem: problem.per_matrix(of)


library = Library(
    "renate",
    "renate",
    {
        "average_accuracy": (metric("average_accuracy"), "exact", "", FILE),
        "micro_accuracy": (metric("micro_average_accuracy"), "exact", "", FILE),
        "bwt": (metric("backward_transfer"), "exact", "", FILE),
        "fwt": (metric("forward_transfer"), "exact", "", FILE),
        "forgetting": (metric("forgetting"), "exact", "the best of all earlier rows", FILE),
    },
)

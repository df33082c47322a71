"""cl-gym: its algorithms, trained by their own `training_step` with task ids as its trainer hands them."""

from types import SimpleNamespace

import torch

from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import flat, load


def algorithm(problem, name, **options):
    from cl_gym import algorithms

    def batches(k, batch_size):
        return [(x, y, None) for x, y in problem.loader(k - 1, batch_size)], None

    class Backbone(torch.nn.Sequential):
        def forward(self, x, task):
            return super().forward(x)

    backbone = Backbone(*problem.module())
    benchmark = SimpleNamespace(load=batches)
    return getattr(algorithms, name)(backbone, benchmark, {"device": "cpu"}, **options)


def step(problem, own, x, y, task=3):
    """The gradient that a training step descends."""
    load(own.backbone, problem["theta"])
    optimizer = torch.optim.SGD(own.backbone.parameters(), lr=1.0)
    own.training_step(torch.full((len(y),), task), x, y, optimizer, torch.nn.CrossEntropyLoss())
    return problem["theta"] - flat(own.backbone.parameters())


def fisher(problem, batch):
    own = algorithm(problem, "EWC")
    own.training_task_end()
    return flat(own.backbone.get_buffer(f"{name}_fisher") for name in names(own))


def names(own):
    return [name.replace(".", "_") for name, _ in own.backbone.named_parameters()]


def ewc_2(problem, lam):
    own = algorithm(problem, "EWC", fisher_lambda=lam)
    own.training_task_end()
    return step(problem, own, *problem.task(1))


def agem(problem):
    found = []
    for x, y in problem.current:
        own = algorithm(problem, "AGEM")
        own.sample_batch_from_memory = lambda: (*problem.task(0), None)
        found.append(step(problem, own, x, y))
    return torch.cat(found)


def metric(name):
    def of(R, total):
        from cl_gym.utils import metrics

        own = getattr(metrics, name)(len(total))
        for k, row in enumerate(R):
            for j, value in enumerate(row, start=1):
                own.update(k, j, value)
        return own.compute_final()

    return lambda problem: problem.per_matrix(of)


forgetting = metric("ForgettingMetric")
FORGETTING = "utils/metrics/forgetting.py"
library = Library(
    "cl-gym",
    "cl-gym",
    {
        "fisher": (fisher, "exact", "of single examples, the first 160", "algorithms/ewc.py"),
        "ewc_2": (ewc_2, "refused", "compares the batch's tensor of task ids with 1", "algorithms/ewc.py"),
        "agem": (agem, "another quantity", "without a conflict the step is g + g_ref", "algorithms/agem.py"),
        "average_accuracy": (metric("PerformanceMetric"), "exact", "", "utils/metrics/accuracy.py"),
        "forgetting": (forgetting, "another quantity", "the last row counts too: never below 0", FORGETTING),
    },
    absent=("comet_ml",),
)  # fmt: skip

"""gmumcl: its method plugins, called in the order of its trainer, and its accuracy matrix."""

from types import SimpleNamespace
from unittest.mock import patch

import torch

from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import flat, value_and_gradient


def built(problem, name, theta=None, **config):
    from gmumcl.cl.baselines import build

    plugin = build(name, config)
    plugin.set_model(problem.module(theta))
    return plugin


def task(problem, k, batch):
    return SimpleNamespace(fit_loader=problem.loader(k, batch), classes=range(4))


def importance(name, kept, tasks=1):
    def of(problem, batch=1):
        plugin = built(problem, name)
        for k in range(tasks):
            plugin.on_task_end(k, task(problem, k, batch))
        return flat(getattr(plugin, kept).values())

    return of


def penalty(name, tasks):
    def of(problem, lam):
        plugin = built(problem, name, **{"lambda": lam, "gamma": problem["gamma"]})
        for k in range(tasks):
            plugin.set_model(problem.module(problem[f"anchor_{k}"]))
            given = problem.named(problem[f"fisher_{k}"])
            with patch("gmumcl.cl.baselines.penalties.diagonal_fisher", lambda *_, given=given, **__: given):
                plugin.on_task_end(k, task(problem, k, 64))
        plugin.set_model(problem.module())
        return added(problem, plugin, 0)

    return of


def added(problem, plugin, k):
    """Value and gradient of what the plugin adds to a loss of 0."""
    x, y = problem.task(k)
    logits = plugin.model(x)
    loss, _ = plugin.forward(x, y, logits.sum() * 0.0, logits)
    return value_and_gradient(loss, plugin.model)


def si(problem, kept):
    from gmumcl.cl.composer import Composer

    plugin = built(problem, "si", xi=problem["xi"])
    plugin.setup_task(0)
    optimizer = torch.optim.SGD(plugin.model.parameters(), lr=problem["lr"])
    composer = Composer(plugin.model, torch.nn.CrossEntropyLoss(), [plugin])
    for _ in range(problem["steps"]):
        composer.run_batch(*problem.task(0), optimizer)
    plugin.on_task_end(0, task(problem, 0, 64))
    return flat(getattr(plugin, kept).values())


def lwf(problem, lam):
    plugin = built(problem, "lwf", problem["anchor_0"], **{"lambda": lam, "temperature": problem["T"]})
    plugin.on_task_end(0, task(problem, 0, 64))
    plugin.setup_task(1)
    plugin.set_model(problem.module())
    return added(problem, plugin, 1)[1:]


def metric(name):
    def of(R, total):
        from gmumcl.cl.metrics import AccuracyMatrix

        matrix = AccuracyMatrix()
        for k, row in enumerate(R[1:].tolist(), start=1):
            matrix.append(row[:k])
        return getattr(matrix, name)()

    return lambda problem: problem.per_matrix(of)


PENALTIES, COMMON, METRICS = (f"cl/{name}.py" for name in ("baselines/penalties", "baselines/common", "metrics"))
importances = {name: importance(name, kept) for name, kept in (("ewc", "fisher"), ("mas", "importance"))}
library = Library("gmumcl", "gmumcl", {
    "fisher": (importances["ewc"], "depends on the batch size", "the sum over batches of squared batch means", COMMON),
    "ewc_2": (penalty("ewc", 1), "exact", "lambda / 2", PENALTIES),
    "ewc_3": (penalty("ewc", 2), "another quantity", "only the last task's term is kept", PENALTIES),
    "online_ewc": (penalty("online_ewc", 2), "times 2.2222", "no 1/2, and gamma spares the last Fisher", PENALTIES),
    "si_path": (lambda p: si(p, "omega"), "another quantity", "each step times the gradient after it", PENALTIES),
    "si_importance": (lambda p: si(p, "big_omega"), "another quantity", "of its own path integral", PENALTIES),
    "mas": (importances["mas"], "depends on the batch size", "absolute gradients of the sum over a batch", PENALTIES),
    "mas_2": (importance("mas", "importance", 2), "another quantity", "the last task alone, summed", PENALTIES),
    "lwf": (lwf, "times 6.25", "T^2, and times the number of earlier tasks", PENALTIES),
    "average_accuracy": (metric("final_average_accuracy"), "exact", "the last row's mean", METRICS),
    "bwt": (metric("backward_transfer"), "exact", "", METRICS),
    "fwt": (metric("forward_transfer"), "another quantity", "a telescoped diagonal", METRICS),
    "forgetting": (metric("forgetting"), "another quantity", "the last row counts too: never below 0", METRICS),
    "incremental_accuracy": (metric("average_incremental_accuracy"), "exact", "", METRICS),
})  # fmt: skip

"""airborne-antara: its memory handler."""

from types import SimpleNamespace

import torch

from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import Rooted, flat, load, value_and_gradient


def handler(problem, method, **options):
    from airborne_antara.memory import UnifiedMemoryHandler

    return UnifiedMemoryHandler(problem.module(), method=method, use_holographic=False, **options)


def shown(problem, batch):
    """A buffer of the first task: each snapshot is a batch."""
    snapshots = [SimpleNamespace(input_args=(x,), input_kwargs={}, target=y) for x, y in problem.loader(0, batch)]
    return SimpleNamespace(buffer=snapshots)


def fisher(problem, batch):
    own = handler(problem, "ewc")
    own.consolidate(shown(problem, batch))
    return flat(own.fisher_dict.values())


def penalty(tasks):
    def of(problem, lam):
        own = handler(problem, "ewc", ewc_lambda=lam)
        for k in range(tasks):
            load(own.model, problem[f"anchor_{k}"])
            own.loss_fn = Rooted(own.model, problem[f"fisher_{k}"])
            own.consolidate(shown(problem, 64))
        load(own.model, problem["theta"])
        return value_and_gradient(own.compute_penalty(), own.model)

    return of


def si(problem):
    own, (x, y) = handler(problem, "si", si_xi=problem["xi"]), problem.task(0)
    optimizer = torch.optim.SGD(own.model.parameters(), lr=problem["lr"])
    for _ in range(problem["steps"]):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(own.model(x), y).backward()
        before = own.before_step_snapshot()
        optimizer.step()
        own.accumulate_path(before)
    return own


def path(problem):
    return flat(si(problem).omega_accum.values())


def omega(problem):
    own = si(problem)
    own.consolidate()
    return flat(own.omega.values())


FILE = "memory.py"
library = Library(
    "airborne-antara",
    "airborne-antara",
    {
        "fisher": (fisher, "exact", "of single examples, the last 128", FILE),
        "ewc_2": (penalty(1), "times 0.0339", "the mean over weights, no 1/2, and cut at 10000", FILE),
        "ewc_3": (penalty(2), "another quantity", "the Fishers are added, at the last anchor alone", FILE),
        "si_path": (path, "exact", "each step's part cut at 10", FILE),
        "si_importance": (omega, "exact", "cut at 100", FILE),
    },
)

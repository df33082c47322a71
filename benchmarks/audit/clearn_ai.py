"""clearn-ai: its strategies, called in the order of its `fit`."""

from unittest.mock import patch

import torch

from benchmarks.audit.base.definitions import steps_against
from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import Rooted, flat, gradient_of, load, set_gradient, value_and_gradient


def fisher(problem, batch):
    from clearn.strategies.ewc import EWC

    strategy = EWC(problem.module(), lambda_=1.0)
    strategy.consolidate(problem.loader(0, batch))
    return flat(strategy._fisher.values())


def penalty(tasks):
    def of(problem, lam):
        from clearn.strategies.ewc import EWC

        module = problem.module()
        strategy = EWC(module, lambda_=lam)
        for k in range(tasks):
            load(module, problem[f"anchor_{k}"])
            with patch("torch.nn.functional.cross_entropy", Rooted(module, problem[f"fisher_{k}"])):
                strategy.consolidate(problem.loader(k))
        load(module, problem["theta"])
        return value_and_gradient(strategy.penalty(), module)

    return of


def si(problem):
    from clearn.strategies.si import SI

    module = problem.module()
    strategy, (x, y) = SI(module, epsilon=problem["xi"]), problem.task(0)
    optimizer = torch.optim.SGD(module.parameters(), lr=problem["lr"])
    for _ in range(problem["steps"]):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), y).backward()
        strategy.before_optimizer_step()
        optimizer.step()
        strategy.after_optimizer_step()
    return strategy


def path(problem):
    return flat(si(problem)._W.values())


def omega(problem):
    strategy = si(problem)
    strategy.consolidate(problem.loader(0))
    return flat(strategy._omega.values())


def agem(problem):
    from clearn.strategies.gem import GEM

    found = []
    for g in steps_against(problem):
        strategy = GEM(problem.module())
        strategy.consolidate(problem.loader(0))
        with patch("random.sample", lambda population, n: list(population)):
            set_gradient(strategy.model, g)
            strategy.before_optimizer_step()
        found.append(gradient_of(strategy.model))
    return torch.cat(found)


EWC, SI = "strategies/ewc.py", "strategies/si.py"
library = Library(
    "clearn-ai",
    "clearn-ai",
    {
        "fisher": (fisher, "depends on the batch size", "squares of batch means, weighted by batch size", EWC),
        "ewc_2": (penalty(1), "exact", "lambda / 2", EWC),
        "ewc_3": (penalty(2), "another quantity", "the Fishers are added, at the last anchor alone", EWC),
        "si_path": (path, "exact", "", SI),
        "si_importance": (omega, "another quantity", "divided by xi alone in the first task", SI),
        "agem": (
            agem,
            "no effect",
            "zero_grad leaves None under torch >= 2: no gradient comes back",
            "strategies/gem.py",
        ),
    },
)

"""The definitions that the libraries are measured against, on the audit's problem.

Each function gives one or more vectors by name: where the literature has two readings of a quantity, either is exact,
and the cell says which. Formulas are slow loops in float64, or the suite's own methods, which tests hold to theirs.

    ewc             lam / 2 sum_k sum_i F^k_i (theta_i - theta^k_i)^2            and its gradient
    online_ewc      lam / 2 sum_i gamma F~_i (theta_i - theta^2_i)^2, F~ = gamma F^1 + F^2   and its gradient
    si              w = - sum_t g_t (theta_{t+1} - theta_t);  Omega = w / (Delta^2 + xi)
    ewc_step, si_step   the whole gradient in a second task, as the suite's own method has it with a preset
    mas             1/N sum_n | d ||f(x_n)||^2 / d theta |;  two tasks: the sum
    lwf             gradient of lam KD alone, KD = - 1/N sum_n softmax(v/T) . log softmax(z/T)
    gem, agem       the projected gradient, where the memories oppose it and where they do not
"""

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import metrics
from benchmarks.audit.base.problem import Case, Problem, flat, gradient
from benchmarks.audit.base.quantities import LAM, NETS
from methods import make
from methods.base.net import Net
from methods.base.projection import against
from methods.gem import GEM
from methods.importance.fisher import as_examples

DEFINITIONS: dict[str, Callable[[Problem], dict[str, Tensor | np.ndarray]]] = {}


def _define(function: Callable) -> Callable:
    DEFINITIONS[function.__name__] = function
    return function


def diagonals(case: Case) -> dict[str, Tensor]:
    """Return the exact and the empirical Fisher diagonal by a loop over examples and classes.

    Examples without a label do not count. A class weight w scales the loss: the exact one by w, its square by w^2.
    """
    parameters, total, N = list(case.module.parameters()), {"exact": 0, "empirical": 0}, case.counted
    weights = [1.0] * 4 if case.weight is None else case.weight.tolist()
    for x, y in zip(case.x, case.y.tolist(), strict=True):
        if y == case.ignore:
            continue
        log_p = case.module(x[None])[0].log_softmax(0)
        for c, p in enumerate(log_p.detach().exp().tolist()):
            square = flat(torch.autograd.grad(log_p[c], parameters, retain_graph=True)) ** 2
            total["exact"] = total["exact"] + weights[y] * p * square / N
            if c == y:
                total["empirical"] = total["empirical"] + weights[y] ** 2 * square / N
    return total


@_define
def fisher(problem):
    """Return both Fisher diagonals of the first task."""
    return diagonals(problem.net("plain"))


def _of_net(kind: str, net: str) -> Callable:
    return lambda problem: {kind: diagonals(problem.net(net))[kind]}


DEFINITIONS |= {f"{kind}_{net}": _of_net(kind, net) for kind in ("exact", "empirical") for net in NETS}


def _pull(problem: Problem, pairs) -> Tensor:
    """Return value and gradient [1 + P] of LAM / 2 sum_k F^k (theta - theta^k)^2."""
    theta = problem["theta"]
    value = sum(LAM / 2 * (importance * (theta - anchor) ** 2).sum() for importance, anchor in pairs)
    slope = sum(LAM * importance * (theta - anchor) for importance, anchor in pairs)
    return torch.cat([value[None], slope])


@_define
def ewc_2(problem):
    """Return the penalty in the second task."""
    return {"": _pull(problem, [(problem["fisher_0"], problem["anchor_0"])])}


@_define
def ewc_3(problem):
    """Return the penalty in the third task, with one term for each earlier task."""
    return {"": _pull(problem, [(problem[f"fisher_{k}"], problem[f"anchor_{k}"]) for k in range(2)])}


@_define
def online_ewc(problem):
    """Return the penalty in the third task."""
    running = problem["gamma"] * problem["fisher_0"] + problem["fisher_1"]
    return {"": _pull(problem, [(problem["gamma"] * running, problem["anchor_1"])])}


def path(problem: Problem) -> list[tuple[Tensor, Tensor]]:
    """Return theta and gradient at each of the steps of SGD on the whole first task, and theta after the last."""
    theta, steps = problem["theta"], []
    for _ in range(problem["steps"]):
        g = gradient(problem.module(theta), *problem.task(0))
        steps.append((theta, g))
        theta = theta - problem["lr"] * g
    return [*steps, (theta, None)]


@_define
def si_path(problem):
    """Return w after the first task."""
    steps = path(problem)
    return {"": -sum(g * (new - old) for (old, g), (new, _) in pairwise(steps))}


@_define
def si_importance(problem):
    """Return Omega after the first task."""
    moved = path(problem)[-1][0] - problem["theta"]
    return {"": si_path(problem)[""] / (moved**2 + problem["xi"])}


def _in_second_task(problem: Problem, method) -> Tensor:
    """Return the gradient that a method of this suite descends at theta in the second task."""
    return method.add_penalty_grad(problem["theta"], gradient(problem.module(), *problem.task(1)))


@_define
def ewc_step(problem):
    """Return the gradient in the second task, after the first one ended at its anchor, by the presets of our EWC."""
    task = SimpleNamespace(index=0, train=as_examples(problem.task(0), "empirical", torch.device("cpu")))
    found = {}
    for preset, lam in (("avalanche", 2 * LAM), ("clarena", LAM)):
        method = make("ewc", preset=preset, lam=lam, fisher_batch=64)
        method.begin(Net(problem.module()), problem["anchor_0"], lambda *_: torch.Generator().manual_seed(0))
        method.after_task(problem["anchor_0"], task)
        found[f"preset {preset}"] = _in_second_task(problem, method)
    return found


@_define
def si_step(problem):
    """Return the gradient in the second task, after steps in the first one, by the preset of our SI."""
    method, steps = make("si", preset="capymoa", c=LAM / 2), path(problem)
    method.begin(Net(problem.module()), problem["theta"], None)
    for (old, g), (new, _) in pairwise(steps):
        method.after_step(old, new, g)
    method.after_task(steps[-1][0], None)
    return {"preset capymoa": _in_second_task(problem, method)}


@_define
def mas(problem, k=0):
    """Return the importance of one task."""
    module, (x, _) = problem.module(), problem.task(k)
    slopes = (torch.autograd.grad(module(each[None]).square().sum(), list(module.parameters())) for each in x)
    return {"": sum(flat(slope).abs() for slope in slopes) / len(x)}


@_define
def mas_2(problem):
    """Return the importance after two tasks."""
    return {"": mas(problem, 0)[""] + mas(problem, 1)[""]}


def _rwalk(problem: Problem) -> dict[str, tuple[Tensor, Tensor]]:
    """Return F and s after the first task, by the squares of single examples (the paper) and of the batch's mean."""
    (x, y), steps = problem.task(0), path(problem)
    single, means = [], []
    for theta, g in steps[:-1]:
        module = problem.module(theta)
        single.append(sum(gradient(module, x[n : n + 1], y[n : n + 1]) ** 2 for n in range(len(x))) / len(x))
        means.append(g**2)
    return {"per example": _scored(problem, steps, single), "of batch means": _scored(problem, steps, means)}


def _scored(problem: Problem, steps: list[tuple[Tensor, Tensor]], squares: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return F and s of the paper's recursion, from the squares of every step."""
    alpha, interval = problem["alpha"], problem["interval"]
    F, s, w, window = None, 0, 0, steps[0][0]
    for n, ((old, g), (new, _)) in enumerate(pairwise(steps), start=1):
        w = w - g * (new - old)
        if n % interval == 0:
            s = s + w.clamp(min=0) / ((0 if F is None else F) / 2 * (new - window) ** 2 + problem["eps"])
            batch = sum(squares[n - interval : n]) / interval
            F = batch if F is None else alpha * batch + (1 - alpha) * F
            w, window = 0, new
    return F, s


@_define
def rwalk_fisher(problem):
    """Return the running Fisher after the first task."""
    return {name: each for name, (each, _) in _rwalk(problem).items()}


@_define
def rwalk_score(problem):
    """Return the score after the first task."""
    return {name: s for name, (_, s) in _rwalk(problem).items()}


@_define
def lwf(problem):
    """Return the gradient of the distillation in the second task. The teacher is the first anchor."""
    module, (x, _) = problem.module(), problem.task(1)
    v = problem.module(problem["anchor_0"])(x).detach()
    log_q = F.log_softmax(module(x) / problem["T"], -1)
    KD = -LAM * (F.softmax(v / problem["T"], -1) * log_q).sum(-1).mean()
    return {"": flat(torch.autograd.grad(KD, list(module.parameters())))}


def steps_against(problem: Problem) -> list[Tensor]:
    """Return two gradients: of the third task, which opposes the memories, and of what agrees with them."""
    return [gradient(problem.module(), *batch) for batch in problem.current]


@_define
def gem(problem):
    """Return both steps with the first two tasks in memory, whole: with the released code's eps, and without."""
    G = torch.stack([gradient(problem.module(), *problem.task(k)) for k in range(2)])
    methods = {"eps = 1e-3": GEM(per_task=1, margin=0.0), "eps = 0": GEM(per_task=1, margin=0.0, eps=0.0)}
    return {name: torch.cat([method.project(g, G) for g in steps_against(problem)]) for name, method in methods.items()}


@_define
def agem(problem):
    """Return both steps with the first task in memory, whole."""
    reference = gradient(problem.module(), *problem.task(0))
    return {"": torch.cat([against(g, reference) for g in steps_against(problem)])}


@_define
def replay(problem):
    """Return how many examples of each task are kept, on average: of a reservoir, and of equal shares."""
    sizes, K = np.array([len(problem.task(k)[1]) for k in range(3)]), problem["budget"]
    return {"reservoir": K * sizes / sizes.sum(), "equal shares": np.full(3, K / 3)}


@_define
def vae_deviation(problem):
    """Return the deviation of z at the log variances -1, 0, 1 and 2."""
    return {"": np.exp(np.array([-1.0, 0.0, 1.0, 2.0]) / 2)}


def _metric(**readings: Callable) -> Callable:
    def of(problem):
        return {name: np.array([measure.value for measure in problem.per_matrix(of)]) for name, of in readings.items()}

    return of


def _mean_of_means(accuracy, total):
    return metrics.Measure(float(np.mean([row[:k].mean() for k, row in enumerate(accuracy[1:], start=1)])))


DEFINITIONS |= {
    "average_accuracy": _metric(**{"": metrics.average_accuracy}),
    "micro_accuracy": _metric(**{"": metrics.micro_accuracy}),
    "bwt": _metric(
        **{"over T - 1": metrics.backward_transfer, "over T": metrics.backward_transfer_over_all_tasks},
    ),
    "fwt": _metric(**{"": metrics.forward_transfer}),
    "forgetting": _metric(
        **{"all earlier rows": metrics.forgetting, "rows since learnt": metrics.forgetting_since_learnt},
    ),
    "incremental_accuracy": _metric(
        **{"union of test sets": metrics.average_incremental_accuracy, "mean of tasks": _mean_of_means},
    ),
}

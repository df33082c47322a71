"""CapyMOA: its online strategies, in float32, as their buffers are. It needs Java."""

from types import SimpleNamespace

import torch

from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import Rooted, flat, value_and_gradient
from benchmarks.audit.base.quantities import LAM
from benchmarks.audit.parts.capymoa import metric, replay

SCHEMA = SimpleNamespace(get_num_attributes=lambda: 6)


def strategy(problem, name, lr=0.0, theta=None, **options):
    """A strategy on the network in float32. By default training fills its buffer and moves nothing."""
    from capymoa.ocl import strategy

    module = problem.module(theta).float()
    return getattr(strategy, name)(SCHEMA, module, torch.optim.SGD(module.parameters(), lr=lr), **options)


def show(problem, own, k, steps=1):
    x, y = problem.task(k)
    for _ in range(steps):
        own.batch_train(x.float(), y)


def begin(own, k):
    hook = getattr(own, "on_train_task", None) or own._on_train_task_begin
    hook(SimpleNamespace(train_task=k))


def put(own, theta):
    torch.nn.utils.vector_to_parameters(theta.float(), own._model.parameters())


def importance(name, kept, size, capacity, tasks=1):
    """What a strategy keeps after tasks of which its buffer shows the last 64 examples."""

    def of(problem, batch=1):
        own = strategy(problem, name, lambda_=1.0, **{size: batch, capacity: 64})
        for k in range(tasks):
            show(problem, own, k)
            begin(own, k + 1)
        return flat(getattr(own, kept))

    return of


def penalty(tasks, **options):
    def of(problem, lam):
        given = {option: problem[name] for option, name in options.items()}
        own = strategy(problem, "EWC", lambda_=lam, fim_batch_size=64, fim_buffer=64, **given)
        show(problem, own, 0)
        for k in range(tasks):
            put(own, problem[f"anchor_{k}"])
            own._criterion = Rooted(own._model, problem[f"fisher_{k}"])
            begin(own, k + 1)
        put(own, problem["theta"])
        return value_and_gradient(own._lambda * own._regularisation_loss(), own._model)

    return of


def si_step(problem):
    own = strategy(problem, "SI", lr=problem["lr"], lambda_=LAM, damping=problem["xi"])
    show(problem, own, 0, problem["steps"])
    begin(own, 1)
    put(own, problem["theta"])
    own._optimiser.param_groups[0]["lr"] = 1.0
    show(problem, own, 1)
    return problem["theta"] - flat(own._model.parameters())


def trained(name, kept, end=False, **options):
    def of(problem):
        given = {option: problem[name] for option, name in options.items()}
        own = strategy(problem, name, lr=problem["lr"], lambda_=1.0, **given)
        begin(own, 0)
        show(problem, own, 0, problem["steps"])
        if end:
            begin(own, 1)
        return flat(getattr(own, kept))

    return of


def lwf(problem, lam):
    own = strategy(problem, "LWF", theta=problem["anchor_0"], alpha=lam, temperature=problem["T"])
    begin(own, 1)
    put(own, problem["theta"])
    x = problem.task(1)[0].float()
    return value_and_gradient(own._alpha * own._distillation_loss(x, own._model(x)), own._model)[1:]


fisher = importance("EWC", "_fisher_diags", "fim_batch_size", "fim_buffer")
mas, mas_2 = (importance("MAS", "_importance", "importance_batch_size", "buffer_capacity", n) for n in (1, 2))
windows = {"alpha": "alpha", "delta_t": "interval"}
squares, score = (trained("RWalk", kept, **windows) for kept in ("_iter_importances", "_checkpoint_scores"))
EWC, SI, MAS, RWALK, LWF = (f"ocl/strategy/_{name}.py" for name in ("ewc", "si", "mas", "rwalk", "lwf"))
METRICS = "ocl/evaluation/_metrics.py"
entries = {
    "fisher": (fisher, "depends on the batch size", "squares of batch means, of the last examples (256)", EWC),
    "ewc_2": (penalty(1), "exact", "lambda / 2", EWC),
    "ewc_3": (penalty(2), "another quantity", "the Fishers are added, at the last anchor alone", EWC),
    "online_ewc": (penalty(2, gamma="gamma"), "times 1.1111", "lambda / 2, and gamma spares the last Fisher", EWC),
    "si_path": (trained("SI", "_buf_trajectory", damping="xi"), "exact", "of the task gradient alone", SI),
    "si_importance": (trained("SI", "_buf_importance", True, damping="xi"), "exact", "", SI),
    "si_step": (si_step, "exact", "our preset capymoa, with half their lambda", SI),
    "mas": (mas, "depends on the batch size", "half the absolute gradients of batch means (alpha 0.5)", MAS),
    "mas_2": (mas_2, "another quantity", "an average that starts from 0, of the last examples (256)", MAS),
    "rwalk_fisher": (squares, "another quantity", "of batch means, averaged in every step", RWALK),
    "rwalk_score": (score, "another quantity", "damped by the eps of float32 alone", RWALK),
    "lwf": (lwf, "times 6.25", "T^2, over all outputs, new classes too", LWF),
    "replay": (replay, "exact", "a reservoir", "ocl/util/_replay.py"),
    "bwt": (metric("_backwards_transfer"), "another quantity", "over all rows below the diagonal", METRICS),
    "fwt": (metric("_forwards_transfer"), "another quantity", "the mean above the diagonal, no baseline", METRICS),
}
library = Library("capymoa", "CapyMOA", entries)

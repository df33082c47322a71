"""CapyMOA: its online strategies, in float32, as their buffers are. It needs Java."""

from types import SimpleNamespace

import torch

from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import Rooted, flat, value_and_gradient

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


def fisher(problem, batch):
    own = strategy(problem, "EWC", lambda_=1.0, fim_batch_size=batch, fim_buffer=64)
    show(problem, own, 0)
    begin(own, 1)
    return flat(own._fisher_diags)


def penalty(tasks, gamma=False):
    def of(problem, lam):
        own = strategy(
            problem,
            "EWC",
            lambda_=lam,
            fim_batch_size=64,
            fim_buffer=64,
            **({"gamma": problem["gamma"]} if gamma else {}),
        )
        show(problem, own, 0)
        for k in range(tasks):
            put(own, problem[f"anchor_{k}"])
            own._criterion = Rooted(own._model, problem[f"fisher_{k}"])
            begin(own, k + 1)
        put(own, problem["theta"])
        return value_and_gradient(own._lambda * own._regularisation_loss(), own._model)

    return of


def trained(problem, name, **options):
    own = strategy(problem, name, lr=problem["lr"], lambda_=1.0, **options)
    begin(own, 0)
    show(problem, own, 0, problem["steps"])
    return own


def path(problem):
    return flat(trained(problem, "SI", damping=problem["xi"])._buf_trajectory)


def omega(problem):
    own = trained(problem, "SI", damping=problem["xi"])
    begin(own, 1)
    return flat(own._buf_importance)


def rwalk(name):
    def of(problem):
        own = trained(problem, "RWalk", alpha=problem["alpha"], delta_t=problem["interval"])
        return flat(getattr(own, name))

    return of


def mas(problem, batch):
    own = strategy(problem, "MAS", lambda_=1.0, buffer_capacity=64, importance_batch_size=batch)
    show(problem, own, 0)
    begin(own, 1)
    return flat(own._importance)


def mas_2(problem):
    own = strategy(problem, "MAS", lambda_=1.0, buffer_capacity=64, importance_batch_size=1)
    for k in range(2):
        show(problem, own, k)
        begin(own, k + 1)
    return flat(own._importance)


def lwf(problem, lam):
    own = strategy(problem, "LWF", theta=problem["anchor_0"], alpha=lam, temperature=problem["T"])
    begin(own, 1)
    put(own, problem["theta"])
    x = problem.task(1)[0].float()
    return value_and_gradient(own._alpha * own._distillation_loss(x, own._model(x)), own._model)[1:]


def replay(problem):
    from capymoa.ocl.util._replay import ReservoirSampler

    kept = torch.zeros(3)
    for seed in range(problem["draws"]):
        buffer = ReservoirSampler(problem["budget"], 6, torch.Generator().manual_seed(seed))
        for k in range(3):
            x, y = problem.task(k)
            buffer.update(x.float(), torch.full_like(y, k))
        kept += buffer.array()[1].bincount(minlength=3)
    return kept / problem["draws"]


def metric(name):
    def of(R, total):
        from capymoa.ocl.evaluation import _metrics

        return getattr(_metrics, name)(torch.from_numpy(R[1:]))

    return lambda problem: problem.per_matrix(of)


EWC, SI, MAS, RWALK, LWF = (f"ocl/strategy/_{name}.py" for name in ("ewc", "si", "mas", "rwalk", "lwf"))
METRICS = "ocl/evaluation/_metrics.py"
library = Library(
    "capymoa",
    "CapyMOA",
    {
        "fisher": (fisher, "depends on the batch size", "squares of batch means, of the last examples (256)", EWC),
        "ewc_2": (penalty(1), "exact", "lambda / 2", EWC),
        "ewc_3": (penalty(2), "another quantity", "the Fishers are added, at the last anchor alone", EWC),
        "online_ewc": (penalty(2, True), "times 1.1111", "lambda / 2, and gamma spares the last Fisher", EWC),
        "si_path": (path, "exact", "of the task gradient alone", SI),
        "si_importance": (omega, "exact", "", SI),
        "mas": (mas, "depends on the batch size", "half the absolute gradients of batch means (alpha 0.5)", MAS),
        "mas_2": (mas_2, "another quantity", "an average that starts from 0, of the last examples (256)", MAS),
        "rwalk_fisher": (rwalk("_iter_importances"), "another quantity", "of batch means, in every step", RWALK),
        "rwalk_score": (rwalk("_checkpoint_scores"), "another quantity", "damped by the eps of float32 alone", RWALK),
        "lwf": (lwf, "times 6.25", "T^2, over all outputs, new classes too", LWF),
        "replay": (replay, "exact", "a reservoir", "ocl/util/_replay.py"),
        "bwt": (metric("_backwards_transfer"), "another quantity", "over all rows below the diagonal", METRICS),
        "fwt": (metric("_forwards_transfer"), "another quantity", "the mean above the diagonal, no baseline", METRICS),
    },
)  # fmt: skip

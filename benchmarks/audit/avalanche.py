"""Avalanche: its plugins in its own strategy."""

from types import SimpleNamespace

import torch

from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import flat, load, value_and_gradient
from benchmarks.audit.base.quantities import LAM
from benchmarks.audit.parts.avalanche import entries, plugin, stream, train


def values(named):
    return flat(value.data for value in named.values())


def trained(problem, name, *arguments, case=None, **options):
    """A plugin after training."""
    own = plugin(name, *arguments, **options)
    train(problem, own, **case or {})
    return own


def fisher(problem, batch):
    own = plugin("EWC", 1.0)
    strategy, (experience,) = train(problem, own, tasks=0), stream(problem, 1)
    arguments = strategy.model, strategy._criterion, strategy.optimizer, experience.dataset, "cpu", batch
    return values(own.compute_importances(*arguments))


def mas(problem, **case):
    return values(trained(problem, "MAS", case={"epochs": 0, **case}).importance)


def mas_2(problem):
    return mas(problem, tasks=2, batch=1)


def si(problem):  # it takes no network in float64
    return trained(problem, "SynapticIntelligence", 1.0, eps=problem["xi"], case={"dtype": torch.float32})


def path(problem):
    return -values(si(problem).syn_data["trajectory"])


def omega(problem):
    return values(si(problem).ewc_data[1])


def rwalk(problem):
    return trained(problem, "RWalk", 1.0, ewc_alpha=problem["alpha"], delta_t=problem["interval"])


def running_fisher(problem):
    return values(rwalk(problem).exp_importance)


def score(problem):
    return values(rwalk(problem).exp_scores)


def step(problem):
    own = plugin("EWC", LAM)
    strategy = train(problem, own, epochs=0, theta=problem["anchor_0"])
    load(strategy.model, problem["theta"])
    x, y = problem.task(1)
    strategy.loss = strategy._criterion(strategy.model(x), y)
    own.before_backward(strategy)
    return value_and_gradient(strategy.loss, strategy.model)[1:]


def penalty(tasks, decay=None):
    def of(problem, lam):
        from avalanche.training.utils import ParamData

        online = {} if decay is None else {"mode": "online", "decay_factor": problem[decay]}
        own = plugin("EWC", lam, **online)
        strategy = train(problem, own, tasks=0)
        for k in range(tasks):
            kept = {
                name: {key: ParamData(key, init_tensor=p) for key, p in problem.named(problem[f"{name}_{k}"]).items()}
                for name in ("fisher", "anchor")
            }
            own.update_importances(kept["fisher"], k)
            own.saved_params[k] = kept["anchor"]
        strategy.clock.train_exp_counter, strategy.loss = tasks, strategy.model(problem.task(0)[0]).sum() * 0.0
        own.before_backward(strategy)
        return value_and_gradient(strategy.loss, strategy.model)

    return of


def lwf(problem, lam):
    own, module, (x, _) = plugin("LwF", lam, problem["T"]), problem.module(), problem.task(1)
    own.lwf.post_adapt(SimpleNamespace(model=problem.module(problem["anchor_0"])), stream(problem, 1)[0])
    return flat(torch.autograd.grad(own.lwf(x, module(x), module), list(module.parameters())))


EWC, MAS, SI, RWALK = (f"training/plugins/{name}.py" for name in ("ewc", "mas", "synaptic_intelligence", "rwalk"))
own_entries = {
    "fisher": (fisher, "depends on the batch size", "squares of the gradients of batch means", EWC),
    "ewc_2": (penalty(1), "times 2", "no 1/2", EWC),
    "ewc_3": (penalty(2), "times 2", "one term for each task, no 1/2", EWC),
    "online_ewc": (penalty(2, "gamma"), "times 2.2222", "no 1/2, and gamma spares the last Fisher", EWC),
    "ewc_step": (step, "exact", "our preset avalanche, with twice their lambda", EWC),
    "si_path": (path, "no effect", "on a CPU the kept weights are views of the live ones, so no step is seen", SI),
    "si_importance": (omega, "no effect", "0, as its path integral", SI),
    "mas": (mas, "depends on the batch size", "absolute values of the gradients of batch means", MAS),
    "mas_2": (mas_2, "times 0.5", "the average of the tasks, not their sum", MAS),
    "rwalk_fisher": (running_fisher, "another quantity", "of batch means, averaged in every step", RWALK),
    "rwalk_score": (score, "another quantity", "damped by the eps of the dtype alone", RWALK),
    "lwf": (lwf, "exact", "Kullback-Leibler divergence at T, no T^2", "training/regularization.py"),
}
library = Library("avalanche-lib", "Avalanche", own_entries | entries)

"""Avalanche: its plugins in its own strategy, and its metric classes on given accuracies."""

from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.data import TensorDataset

from benchmarks.audit.base.definitions import steps_against
from benchmarks.audit.base.library import Entry, Library
from benchmarks.audit.base.problem import flat, gradient_of, set_gradient, value_and_gradient


def plugin(name, *arguments, **options):
    from avalanche.training import plugins

    return getattr(plugins, f"{name}Plugin")(*arguments, **options)


def stream(problem, tasks, dtype=torch.float64):
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset as dataset

    data = [TensorDataset(x.to(dtype), y) for x, y in map(problem.task, range(tasks))]
    train = [dataset(one, targets=one.tensors[1].tolist(), task_labels=0) for one in data]
    return benchmark_from_datasets(train=train).train_stream


def train(problem, own, tasks=1, batch=64, epochs=None, dtype=torch.float64):
    """Train `tasks` tasks in their order by SGD with a plugin, by default for the problem's steps on whole tasks."""
    from avalanche.training import Naive

    module, epochs = problem.module().to(dtype), problem["steps"] if epochs is None else epochs
    optimizer = torch.optim.SGD(module.parameters(), lr=problem["lr"])
    strategy = Naive(
        model=module, optimizer=optimizer, plugins=[own], train_mb_size=batch, train_epochs=epochs, evaluator=None
    )
    for experience in stream(problem, tasks, dtype):
        strategy.train(experience, shuffle=False)
    return strategy


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


def si(problem):  # it takes no network in float64
    return trained(problem, "SynapticIntelligence", 1.0, eps=problem["xi"], case={"dtype": torch.float32})


def rwalk(problem):
    return trained(problem, "RWalk", 1.0, ewc_alpha=problem["alpha"], delta_t=problem["interval"])


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


def projected(problem, own, remember, tasks):
    """The gradients that a plugin makes of those against its memory and with it."""
    strategy, found = train(problem, own, tasks=0), []
    for k, experience in enumerate(stream(problem, tasks)):
        remember(experience.dataset, k)
    strategy.clock.train_exp_counter = tasks
    for g in steps_against(problem):
        own.before_training_iteration(strategy)
        set_gradient(strategy.model, g)
        own.after_backward(strategy)
        found.append(gradient_of(strategy.model))
    return torch.cat(found)


def gem(problem):
    own = plugin("GEM", 64, memory_strength=0.0)
    return projected(problem, own, lambda data, k: own.update_memory(data, k, 64), 2)


def agem(problem):
    own = plugin("AGEM", 64, 64)
    return projected(problem, own, lambda data, k: own.update_memory(data), 1)


def replay(problem):
    kept = torch.zeros(3)
    for _ in range(problem["draws"]):
        memory = plugin("Replay", problem["budget"]).storage_policy
        for experience in stream(problem, 3):
            memory.post_adapt(None, experience)
        kept += torch.tensor([len(memory.buffer_groups[k].buffer) for k in range(3)])
    return kept / problem["draws"]


def deviation(problem):
    from avalanche.models import MlpVAE

    logvar = torch.tensor([-1.0, 0.0, 1.0, 2.0]).expand(100_000, 4)
    return MlpVAE((1, 4, 4)).sampling(torch.zeros_like(logvar), logvar).std(0)


def metric(name, rows):
    """A metric class, updated with the accuracies that `rows` picks: (task, accuracy, whether it is the initial)."""

    def of(accuracy, total):
        from avalanche.evaluation.metrics import forgetting_bwt, forward_transfer

        own = getattr(forward_transfer if name == "ForwardTransfer" else forgetting_bwt, name)()
        for task, value, initial in rows(accuracy):
            own.update(task, value, initial=initial)
        return np.mean(list(own.result().values()))

    return lambda problem: problem.per_matrix(of)


def since_learnt(R):
    return [(j, R[k, j], k == j + 1) for k in range(1, len(R)) for j in range(k)]


def before_learnt(R):
    return [(j, R[k, j], k == 0) for j in range(1, R.shape[1]) for k in (0, j)]


def accuracy(R, total):
    from avalanche.evaluation.metrics import Accuracy

    own = Accuracy()
    for value, n in zip(R[-1], total, strict=True):
        own.update(torch.arange(n) >= round(value * n), torch.zeros(n, dtype=torch.int64))
    return own.result()


EWC, MAS, SI, RWALK = (f"training/plugins/{name}.py" for name in ("ewc", "mas", "synaptic_intelligence", "rwalk"))
BWT = "evaluation/metrics/forgetting_bwt.py"
library = Library(
    "avalanche-lib",
    "Avalanche",
    Entry("fisher", fisher, "depends on the batch size", "squares of the gradients of batch means", EWC),
    Entry("ewc_2", penalty(1), "times 2", "no 1/2", EWC),
    Entry("ewc_3", penalty(2), "times 2", "one term for each task, no 1/2", EWC),
    Entry("online_ewc", penalty(2, "gamma"), "times 2.2222", "no 1/2, and gamma spares the last Fisher", EWC),
    Entry("si_path", lambda p: -values(si(p).syn_data["trajectory"]), "no effect", "on a CPU the old weights are views of the live ones", SI),
    Entry("si_importance", lambda p: values(si(p).ewc_data[1]), "no effect", "0, as its path integral", SI),
    Entry("mas", mas, "depends on the batch size", "absolute values of the gradients of batch means", MAS),
    Entry("mas_2", lambda p: mas(p, tasks=2, batch=1), "times 0.5", "the average of the tasks, not their sum", MAS),
    Entry("rwalk_fisher", lambda p: values(rwalk(p).exp_importance), "another quantity", "of batch means, averaged in every step", RWALK),
    Entry("rwalk_score", lambda p: values(rwalk(p).exp_scores), "another quantity", "damped by the eps of the dtype alone", RWALK),
    Entry("lwf", lwf, "exact", "Kullback-Leibler divergence at T, no T^2", "training/regularization.py"),
    Entry("gem", gem, "exact", "the released code's programme, 1e-3 on its diagonal", "training/plugins/gem.py"),
    Entry("agem", agem, "exact", "the paper's projection", "training/plugins/agem.py"),
    Entry("replay", replay, "exact", "equal shares of the experiences", "training/storage_policy.py"),
    Entry("vae_deviation", deviation, "another quantity", "exp(logvar) / 2", "models/generator.py"),
    Entry("average_accuracy", lambda p: p.per_matrix(accuracy), "another quantity", "on the union of the test sets", "evaluation/metrics/accuracy.py"),
    Entry("bwt", metric("BWT", since_learnt), "exact", "the last accuracy minus that just after learning", BWT),
    Entry("fwt", metric("ForwardTransfer", before_learnt), "exact", "against the untrained network", "evaluation/metrics/forward_transfer.py"),
    Entry("forgetting", metric("Forgetting", since_learnt), "another quantity", "from the accuracy just after learning, not the maximum", BWT),
)  # fmt: skip

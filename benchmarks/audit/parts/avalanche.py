"""Avalanche's memories, generator and metrics, and how to train with a plugin."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from benchmarks.audit.base.definitions import steps_against
from benchmarks.audit.base.problem import gradient_of, set_gradient


def plugin(name, *arguments, **options):
    from avalanche.training import plugins

    return getattr(plugins, f"{name}Plugin")(*arguments, **options)


def stream(problem, tasks, dtype=torch.float64):
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import _make_taskaware_classification_dataset as dataset

    data = [TensorDataset(x.to(dtype), y) for x, y in map(problem.task, range(tasks))]
    train = [dataset(one, targets=one.tensors[1].tolist(), task_labels=0) for one in data]
    return benchmark_from_datasets(train=train).train_stream


def train(problem, own, tasks=1, batch=64, epochs=None, dtype=torch.float64, theta=None):
    """Train tasks in their order by SGD with a plugin, by default for the problem's steps on whole tasks."""
    from avalanche.training import Naive

    module, epochs = problem.module(theta).to(dtype), problem["steps"] if epochs is None else epochs
    optimizer = torch.optim.SGD(module.parameters(), lr=problem["lr"])
    options = {"train_mb_size": batch, "train_epochs": epochs, "evaluator": None}
    strategy = Naive(model=module, optimizer=optimizer, plugins=[own], **options)
    for experience in stream(problem, tasks, dtype):
        strategy.train(experience, shuffle=False)
    return strategy


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


def metric(name):
    def of(R, total):
        from avalanche.evaluation.metrics import forgetting_bwt

        own = getattr(forgetting_bwt, name)()
        for k in range(1, len(R)):
            for j in range(k):
                own.update(j, R[k, j], initial=k == j + 1)
        return np.mean(list(own.result().values()))

    return lambda problem: problem.per_matrix(of)


def forward(problem):
    def of(R, total):
        from avalanche.evaluation.metrics.forward_transfer import ForwardTransfer

        own = ForwardTransfer()
        for j in range(1, R.shape[1]):
            own.update(j, R[0, j], initial=True)
            own.update(j, R[j, j])
        return np.mean(list(own.result().values()))

    return problem.per_matrix(of)


def accuracy(problem):
    def of(R, total):
        from avalanche.evaluation.metrics import Accuracy

        own = Accuracy()
        for value, n in zip(R[-1], total, strict=True):
            own.update(torch.arange(n) >= round(value * n), torch.zeros(n, dtype=torch.int64))
        return own.result()

    return problem.per_matrix(of)


PLUGINS, METRICS = "training/plugins", "evaluation/metrics"
entries = {
    "gem": (gem, "exact", "the released code's programme, 1e-3 on its diagonal", f"{PLUGINS}/gem.py"),
    "agem": (agem, "exact", "the paper's projection", f"{PLUGINS}/agem.py"),
    "replay": (replay, "exact", "equal shares of the experiences", "training/storage_policy.py"),
    "vae_deviation": (deviation, "another quantity", "exp(logvar) / 2", "models/generator.py"),
    "average_accuracy": (accuracy, "another quantity", "on the union of the test sets", f"{METRICS}/accuracy.py"),
    "micro_accuracy": (accuracy, "exact", "", f"{METRICS}/accuracy.py"),
    "bwt": (metric("BWT"), "exact", "the last accuracy minus that just after learning", f"{METRICS}/forgetting_bwt.py"),
    "fwt": (forward, "exact", "against the untrained network", f"{METRICS}/forward_transfer.py"),
    "forgetting": (
        metric("Forgetting"),
        "another quantity",
        "from the accuracy just after learning, not from the best",
        f"{METRICS}/forgetting_bwt.py",
    ),
}

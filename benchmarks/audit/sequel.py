"""SequeL: its algorithms for torch, called in the order of its `fit`."""

from types import SimpleNamespace

import torch

from benchmarks.audit.base.definitions import steps_against
from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import flat, gradient_of, load, set_gradient, value_and_gradient


def algorithm(problem, name, batch=64, lr=0.0, **options):
    from sequel.algos import pytorch
    from sequel.utils.callbacks.metrics.metric_callback import MetricCallback

    def batches(k, *_):
        return [(x, y, torch.full_like(y, k)) for x, y in problem.loader(k - 1, batch)]

    module, loaders = problem.module(), {"train_dataloader": batches, "memory_dataloader": lambda *_: batches(1)}
    benchmark = SimpleNamespace(num_tasks=3, classes_per_task=4, dimensions=[6], **loaders)
    torch.set_default_dtype(torch.float64)  # it counts parameters with an input of the default dtype
    optimizer, counts = torch.optim.SGD(module.parameters(), lr=lr), SimpleNamespace(clone=lambda: None)
    given = {"backbone": module, "benchmark": benchmark, "optimizer": optimizer, "callbacks": [MetricCallback(counts)]}
    own = getattr(pytorch, name)(**given, device="cpu", **options)
    torch.set_default_dtype(torch.float32)
    own.task_counter, own.step_counter, own.callbacks = 1, 0, []
    return own


def keys(own):
    return [name.replace(".", "_") for name, _ in own.backbone.named_parameters()]


def fisher(problem, batch):
    return flat(algorithm(problem, "EWC", batch).calculate_parameter_importance().values())


def penalty(tasks):
    def of(problem, lam):
        own = algorithm(problem, "EWC", ewc_lambda=lam)
        for k in range(tasks):
            load(own.backbone, problem[f"anchor_{k}"])
            given = dict(zip(keys(own), problem.named(problem[f"fisher_{k}"]).values(), strict=True))
            own.calculate_parameter_importance = lambda given=given: given
            own.on_after_training_task()
        load(own.backbone, problem["theta"])
        (x, y), own.task_counter = problem.task(1), tasks + 1
        z = own.backbone(x, None)
        penalty = own.compute_loss(z, y, None) - torch.nn.functional.cross_entropy(z, y)
        return value_and_gradient(penalty, own.backbone)

    return of


def trained(problem, name, lr, batch=64, steps=1, **options):
    own = algorithm(problem, name, batch, lr, **options)
    for key, p in zip(keys(own), own.backbone.parameters(), strict=True):
        setattr(own.backbone, f"{key}_old", p.detach().clone())  # otherwise the first task starts from 0
    own.train_loader = own.benchmark.train_dataloader(1)
    for _ in range(steps):
        for one in own.train_loader:
            own.unpack_batch(one)
            own.on_before_training_step()
            own.training_step()
            own.on_after_training_step()
    return own


def si(problem, path):
    own = trained(problem, "SI", problem["lr"], steps=problem["steps"], xi=problem["xi"])
    w = [getattr(own.backbone, f"{key}_w") for key in keys(own)]
    return flat(w if path else own.calculate_parameter_importance().values())


def mas(problem, batch):
    return flat(trained(problem, "MAS", 0.0, batch).calculate_parameter_importance().values())


def agem(problem):
    found = []
    for g in steps_against(problem):
        own = algorithm(problem, "AGEM", per_task_memory_samples=64, memory_batch_size=64, memory_group_by="task")
        own.update_episodic_memory()
        own.task_counter = 2
        set_gradient(own.backbone, g)
        own.on_before_optimizer_step()
        found.append(gradient_of(own.backbone))
    return torch.cat(found)


def forgetting(problem):
    def of(R, total):
        from sequel.utils.callbacks.metrics.pytorch_metric_callback import ForgettingMetric

        own = [ForgettingMetric() for _ in total]
        for k, row in enumerate(R[1:], start=1):
            for metric, value in zip(own[:k], row, strict=False):
                metric.update(torch.tensor(value))
        return float(sum(metric.compute() for metric in own) / len(own))

    return problem.per_matrix(of)


BASE, METRICS = "algos/pytorch/pytorch_base_algo.py", "utils/callbacks/metrics/pytorch_metric_callback.py"
EWC, SI, MAS, AGEM = (f"algos/pytorch/{name}.py" for name in ("ewc", "si", "mas", "agem"))
LOGS = "comet_ml", "omegaconf", "optax", "beautifultable", "hydra", "sequel.utils.loggers"
JAX = "jax", "flax", "sequel.algos.jax", "sequel.backbones.jax"
CALLBACKS = tuple(f"sequel.utils.callbacks.metrics.jax_metric{end}" for end in ("s", "_callback"))
library = Library("sequel-core", "SequeL (torch)", {
    "fisher": (fisher, "depends on the batch size", "the square of the batches' summed gradient", EWC),
    "ewc_2": (penalty(1), "exact", "lambda / 2", BASE),
    "ewc_3": (penalty(2), "another quantity", "only the last task's term is kept", BASE),
    "si_path": (lambda p: si(p, True), "no effect", "each step multiplies a 0 that nothing adds to", SI),
    "si_importance": (lambda p: si(p, False), "no effect", "0, as its path integral", SI),
    "mas": (mas, "depends on the batch size", "absolute gradients of the mean over batch and outputs", MAS),
    "agem": (agem, "exact", "the paper's projection", AGEM),
    "forgetting": (forgetting, "another quantity", "the last row minus the best of all, over all tasks", METRICS),
}, absent=LOGS + JAX + CALLBACKS)  # fmt: skip

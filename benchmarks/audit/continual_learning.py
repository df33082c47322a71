"""continual-learning: its methods, with the network as their encoder and a solver that passes its outputs on."""

import torch

from benchmarks.audit.base.definitions import steps_against
from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import flat, gradient_of, set_gradient, value_and_gradient

FOLDER = "methods/task_incremental/multi_task/gg"


class Solver(torch.nn.Module):
    def forward(self, z, task):
        return z


class Task(list):
    """Examples (index, x, y) as the package's own task gives them."""

    index = 0

    def train(self):
        pass


def method(module, name, *arguments, **options):
    from importlib import import_module

    return getattr(import_module(f"continual_learning.{FOLDER.replace('/', '.')}.{module}"), name)(
        *arguments, **options
    )


def ewc(lam=1.0):
    return method("ewc", "ElasticWeightConsolidation", penalty_importance=lam)


def fisher(problem, batch):
    own, module = ewc(), problem.module()
    set_gradient(module, problem["theta"])  # it looks at parameters with a gradient alone
    examples = Task((None, x, y) for x, y in zip(*problem.task(0), strict=True))  # one by one, whatever the batch
    own.on_task_ends(examples, encoder=module, solver=Solver())
    return flat(own.memory[0][1].values())


def penalty(tasks):
    def of(problem, lam):
        own, module = ewc(lam), problem.module()
        set_gradient(module, problem["theta"])
        own.memory = [
            (problem.named(problem[f"anchor_{k}"]), problem.named(problem[f"fisher_{k}"])) for k in range(tasks)
        ]
        loss = module(problem.task(1)[0]).sum() * 0.0
        own.before_gradient_calculation(loss, encoder=module)
        return value_and_gradient(loss, module)

    return of


def gem(problem):
    found = []
    for g in steps_against(problem):
        own, module = method("gem", "GradientEpisodicMemory", 64, margin=0.0), problem.module()
        own.task_memory = [(k, *problem.task(k)) for k in range(2)]
        set_gradient(module, g)
        own.after_gradient_calculation(encoder=module, solver=Solver())
        found.append(gradient_of(module))
    return torch.cat(found)


def metric(name):
    def of(R, total):
        from continual_learning.eval.metrics import cl

        return getattr(cl, name)()(R[1:])

    return lambda problem: problem.per_matrix(of)


EWC, GEM = f"{FOLDER}/ewc/EWC.py", f"{FOLDER}/gem/GEM.py"
METRICS = "eval/metrics/cl.py"
library = Library(
    "continual-learning",
    "continual-learning",
    {
        "fisher": (fisher, "another quantity", "the square of one summed gradient, over an image's first side", EWC),
        "ewc_2": (penalty(1), "no effect", "added to the loss from copies, without a gradient", EWC),
        "ewc_3": (penalty(2), "no effect", "added to the loss from copies, without a gradient", EWC),
        "gem": (gem, "no effect", "zero_grad leaves None under torch >= 2: no gradient comes back", GEM),
        "average_accuracy": (metric("FinalAccuracy"), "exact", "", METRICS),
        "bwt": (metric("LastBackwardTransfer"), "exact", "", METRICS),
    },
)  # fmt: skip

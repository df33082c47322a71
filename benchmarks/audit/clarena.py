"""clarena: its algorithms with the whole network as their backbone, and its evaluation of CSV files."""

from types import SimpleNamespace

import torch

from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import Rooted, flat, load, value_and_gradient
from benchmarks.audit.base.quantities import LAM
from benchmarks.audit.parts.clarena import accuracy, bwt


class Heads(torch.nn.Module):
    """One head for all tasks."""

    input_dim = 4

    def __init__(self, head):
        super().__init__()
        self.heads = dict.fromkeys(map(str, range(1, 4)), head)

    def forward(self, feature, task_id):
        return self.heads[str(task_id)](feature)


def algorithm(problem, name, split=3, **options):
    """An algorithm whose backbone has the first `split` layers. Only backbones have importances."""
    from clarena import cl_algorithms
    from clarena.backbones import CLBackbone

    class Backbone(CLBackbone):
        def __init__(self):
            super().__init__(output_dim=4)
            self.net = layers[:split]

        def forward(self, input, stage=None, task_id=None):
            return self.net(input), {}

    layers = problem.module()
    own = getattr(cl_algorithms, name)(Backbone(), Heads(layers[split:]), **options)
    own.optimizers = lambda: SimpleNamespace(zero_grad=lambda: None, step=lambda: None)
    own.manual_backward = lambda loss: None  # training changes nothing
    return own


def ewc(problem, factor):
    options = {"parameter_change_reg_factor": factor, "when_calculate_fisher_information": "train_end"}
    return algorithm(problem, "EWC", **options)


def end_task(problem, own, k, batch=64):
    own.task_id = k + 1
    own._trainer = SimpleNamespace(datamodule=SimpleNamespace(train_dataloader=lambda: problem.loader(k, batch)))
    own.on_train_start()
    for x, y in problem.loader(k, batch):  # one epoch
        own.training_step((x, y))
    own.on_train_end()


def fisher(problem, batch):
    own = ewc(problem, 1.0)
    end_task(problem, own, 0, batch)
    return flat(own.parameter_importance[1].values())


def step(problem):
    own = ewc(problem, LAM)
    load(own.backbone, problem["anchor_0"])
    end_task(problem, own, 0)
    load(own.backbone, problem["theta"])
    own.task_id = 2
    return value_and_gradient(own.training_step(problem.task(1))["loss"], own.backbone)[1:]


def penalty(tasks):
    def of(problem, lam):
        own = ewc(problem, max(lam, 1e-9))  # 0 is no valid factor
        criterion = own.criterion
        for k in range(tasks):
            load(own.backbone, problem[f"anchor_{k}"])
            own.criterion = Rooted(own.backbone, problem[f"fisher_{k}"])
            end_task(problem, own, k)
        load(own.backbone, problem["theta"])
        own.criterion, own.task_id = criterion, tasks + 1
        return value_and_gradient(own.training_step(problem.task(1))["loss_reg"], own.backbone)

    return of


def lwf(problem, lam):
    options = {"distillation_reg_factor": max(lam, 1e-9), "distillation_reg_temperature": problem["T"]}
    own = algorithm(problem, "LwF", split=2, **options)
    whole = torch.nn.ModuleList([own.backbone, own.heads.heads["1"]])
    load(whole, problem["anchor_0"])
    own.task_id = 1
    own.on_train_end()
    load(whole, problem["theta"])
    own.task_id = 2
    return value_and_gradient(own.training_step(problem.task(1))["loss_reg"], whole)[1:]


EWC = "cl_algorithms/ewc.py"
library = Library(
    "clarena",
    "clarena",
    {
        "fisher": (fisher, "depends on the batch size", "squares of batch means, weighted by batch size", EWC),
        "ewc_2": (penalty(1), "exact", "lambda / 2", EWC),
        "ewc_3": (penalty(2), "exact", "a term for each task", EWC),
        "ewc_step": (step, "exact", "our preset clarena", EWC),
        "lwf": (lwf, "no effect", "the student's outputs are taken without a graph", "cl_algorithms/lwf.py"),
        "average_accuracy": (accuracy, "another quantity", "all batches weigh the same", "metrics/cl_acc.py"),
        "bwt": (bwt, "another quantity", "none for two tasks", "pipelines/cl_full_eval.py"),
    },
    absent=("captum", "rarfile", "tinyimagenet", "pyrootutils", "hydra_colorlog"),
)  # fmt: skip

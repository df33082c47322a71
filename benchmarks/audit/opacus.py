"""Opacus: squares of the gradients that it would clip."""

from benchmarks.audit.base.fishers import entries
from benchmarks.audit.base.library import Library
from benchmarks.audit.base.problem import flat


def empirical(case, batch):
    from opacus import GradSampleModule

    module, found = GradSampleModule(case.module.train(), loss_reduction="sum"), 0
    for x, y in case.batches(batch):
        case.loss("sum")(module(x), y).backward()
        found = found + flat(p.grad_sample.square().sum(0) for p in module.parameters())
        module.zero_grad()
    return found


said = {"circular": ("another quantity", "taken for zero padding")}
library = Library("opacus", "Opacus", entries("empirical", empirical, "grad_sample/grad_sample_module.py", said))

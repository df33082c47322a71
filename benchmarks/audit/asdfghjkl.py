"""asdfghjkl, whose module is `asdl`: its Fisher makers, as diagonals."""

import torch

from benchmarks.audit.base.fishers import entries
from benchmarks.audit.base.library import Library


def total(kind):
    def of(case, batch):
        import asdl
        from asdl import matrices

        options = {"fisher_shapes": [matrices.SHAPE_DIAG], "loss_type": asdl.LOSS_CROSS_ENTROPY}
        config = asdl.FisherConfig(kind, data_size=1, ignore_index=case.ignore, **options)
        maker, found = asdl.get_fisher_maker(case.module, config), 0
        for x, y in case.batches(batch):
            outputs = maker.setup_model_call(case.module, x)
            maker.setup_loss_call(case.loss("sum"), outputs, y)
            maker.forward_and_backward()
            found = found + torch.cat([part.flatten() for part in diagonal(case.module)])
        return found

    return of


def diagonal(module):
    """The parts of the diagonal that the modules got, in the order of the parameters."""
    for layer in module.modules():
        own = [name for name, p in layer.named_parameters(recurse=False)]
        yield from (getattr(layer.fisher.diag, name) for name in own)


FILE = "asdl/fisher.py"
said = {
    "shared": ("another quantity", "each use squared by itself"),
    "tokens": ("another quantity", "each position squared by itself"),
    "circular": ("another quantity", "taken for zero padding"),
}
exact = said | {"ignored": ("another quantity", "ignored examples count")}
library = Library(
    "asdfghjkl",
    "asdfghjkl",
    entries("empirical", total("fisher_emp"), FILE, said)
    | entries("exact", total("fisher_exact"), FILE, exact, ("weighted",)),
)

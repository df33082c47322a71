"""curvlinops: the diagonals of two of its matrices, from products with all unit vectors."""

import torch

from benchmarks.audit.base.fishers import entries
from benchmarks.audit.base.library import Library


def total(matrix):
    def of(case, batch):
        import curvlinops

        data = case.loss("sum"), list(case.module.parameters()), case.batches(batch)
        found = getattr(curvlinops, matrix)(case.module, *data, check_deterministic=False)
        return (found @ torch.eye(found.shape[1], dtype=torch.float64)).diagonal()

    return of


library = Library(
    "curvlinops-for-pytorch",
    "curvlinops",
    entries("empirical", total("EFLinearOperator"), "gradient_moments.py", {})
    | entries("exact", total("GGNLinearOperator"), "ggn.py", {}),
)

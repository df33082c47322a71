"""NNGeometry: its closed-form Fisher, as a diagonal."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.audit.base.fishers import entries
from benchmarks.audit.base.library import Library


def exact(case, batch):
    from nngeometry import metrics
    from nngeometry.object import PMatDiag

    torch.set_default_dtype(torch.float64)  # it takes no other network
    loader = DataLoader(TensorDataset(case.x, case.y), batch)
    return metrics.FIM(case.module, loader, PMatDiag).get_diag() * len(case.x)


said = {
    "masked": ("another quantity", "not a number: log of a probability of 0"),
    "shared": ("another quantity", "each use squared by itself"),
    "tokens": ("refused", "no Linear layer on sequences"),
    "circular": ("another quantity", "taken for zero padding"),
}
library = Library("nngeometry", "NNGeometry", entries("exact", exact, "metrics.py", said, ("weighted", "ignored")))

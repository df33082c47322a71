"""CapyMOA's buffer and metrics."""

import torch


def replay(problem):
    from capymoa.ocl.util._replay import ReservoirSampler

    kept = torch.zeros(3)
    for seed in range(problem["draws"]):
        buffer = ReservoirSampler(problem["budget"], 6, torch.Generator().manual_seed(seed))
        for k in range(3):
            x, y = problem.task(k)
            buffer.update(x.float(), torch.full_like(y, k))
        kept += buffer.array()[1].bincount(minlength=3)
    return kept / problem["draws"]


def metric(name):
    def of(R, total):
        from capymoa.ocl.evaluation import _metrics

        return getattr(_metrics, name)(torch.from_numpy(R[1:]))

    return lambda problem: problem.per_matrix(of)

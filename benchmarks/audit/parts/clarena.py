"""clarena's evaluation of accuracies, through its CSV files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch


def table(R, file):
    """The accuracies as its CSV: a row after each task."""
    names = ["after_training_task", *(f"test_on_task_{j}" for j in range(1, len(R)))]
    rows = [[k, *row] for k, row in enumerate(R[1:].tolist(), start=1)]
    file.write_text("\n".join(",".join(map(str, row)) for row in [names, *rows]), encoding="utf-8")
    return str(file)


def bwt(problem):
    def of(R, total):
        import pandas as pd
        from clarena.pipelines.cl_full_eval import CLFullEvaluation

        with TemporaryDirectory() as folder:
            saved = Path(folder) / "bwt.csv"
            main, tasks = table(R, Path(folder) / "acc.csv"), list(range(1, len(R)))
            CLFullEvaluation.evaluate_and_save_bwt_to_csv(None, main, tasks, str(saved))
            return pd.read_csv(saved)["BWT"].iloc[-1] if saved.read_text(encoding="utf-8").strip() else np.nan

    return problem.per_matrix(of)


def accuracy(problem):
    """The last row, from batches of 64 in which the right answers come first."""

    def of(R, total):
        import pandas as pd
        from clarena.metrics.cl_acc import CLAccuracy

        with TemporaryDirectory() as folder:
            own = CLAccuracy(save_dir=folder, test_acc_csv_name="acc.csv")
            ids = list(range(1, len(R)))
            algorithm = SimpleNamespace(task_id=ids[-1], device="cpu", processed_task_ids=ids)
            algorithm.get_test_task_id_from_dataloader_idx = lambda index: ids[index]
            own.on_test_start(None, algorithm)
            for j, (value, n) in enumerate(zip(R[-1], total, strict=True)):
                right = (torch.arange(n) < round(value * n)).double()
                for batch in right.split(64):
                    own.on_test_batch_end(None, algorithm, {"acc": batch.mean()}, (batch, batch), 0, j)
            own.on_test_epoch_end(None, algorithm)
            return pd.read_csv(own.test_acc_csv_path)["average_accuracy"].iloc[-1]

    return problem.per_matrix(of)

"""Elastic Weight Consolidation with one penalty per task, "offline EWC" (Kirkpatrick et al., 2017, eq. 3).

    L = L_k + sum_{l<k} lam / 2 * sum_i F^l_i (theta_i - theta^l_i)^2

theta^l are the parameters after task l. F^l is the Fisher diagonal at theta^l on the data of task l alone. The sum over
tasks is one quadratic and is kept as one (methods/base/quadratic.py). With two tasks this is the paper's EWC.

The paper leaves the estimator open. `exact` is the definition (methods/importance/fisher.py).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from methods.base.method import Method
from methods.base.options import Count, NonNegative
from methods.base.quadratic import Quadratic
from methods.importance.fisher import ESTIMATORS, of_task


@dataclass
class EWC(Method):
    """lam: weight of the penalty. fisher, n_samples, fisher_batch: the estimator, see importance/fisher.py."""

    lam: NonNegative
    fisher: Literal[*ESTIMATORS] = "exact"
    n_samples: Count | None = None
    fisher_batch: Count = 128

    strength: ClassVar[str] = "lam"
    presets: ClassVar[dict[str, dict]] = {
        "vdv": {"fisher": "exact"},  # they divide the sum over N examples by N - 1: lam is N / (N - 1) times theirs
        # The penalties of the others have no 1/2: lam is twice theirs.
        "hsu": {"fisher": "argmax"},
        "avalanche": {"fisher": "batched"},  # fisher_batch is their training batch
        # They take a task's first n_memories examples as one batch. Here they are drawn. Both counts are n_memories.
        "gem": {"fisher": "batched", "n_samples": 1000, "fisher_batch": 1000},
    }

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(self.lam)

    def after_task(self, theta, task):
        self.quadratic.add(of_task(self, theta, task), theta)

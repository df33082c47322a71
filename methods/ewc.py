"""Elastic Weight Consolidation with one penalty per task, "offline EWC" (Kirkpatrick et al., 2017, eq. 3).

    L = L_k + sum_{l<k} lam_l / 2 * sum_i F^l_i (theta_i - theta^l_i)^2

theta^l are the parameters after task l. F^l is the Fisher diagonal at theta^l on the N examples of task l alone:

    F^l_i = 1/N sum_n E_y (d log p(y|x_n) / d theta_i)^2        y ~ p(.|x_n)

The paper has one lam for all tasks. A list gives each task its own: lam_l is how much task l weighs in all that follow
it. The sum over tasks is one quadratic and is kept as one (methods/base/quadratic.py). With two tasks this is the
paper's EWC.

The paper leaves the estimator open. `exact` is this definition. The others are in methods/importance/fisher.py.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from methods.base.errors import UserError
from methods.base.method import Method
from methods.base.options import Count, Need, NonNegative
from methods.base.quadratic import Quadratic
from methods.importance.fisher import BATCHED, ESTIMATORS, of_task


@dataclass
class EWC(Method):
    """lam: weight of the penalty, for all tasks or for each. The last task's own is never used and may be left out.

    fisher, n_samples, fisher_batch: the estimator, see importance/fisher.py.
    """

    lam: NonNegative | tuple[NonNegative, ...]
    fisher: Literal[*ESTIMATORS] = "exact"
    n_samples: Count | None = None
    fisher_batch: Count = 128

    strength: ClassVar[str] = "lam"
    needs: ClassVar[dict[str, Need]] = {"fisher_batch": BATCHED}
    presets: ClassVar[dict[str, dict]] = {
        # The code of 2022 divides the sum over N examples by N - 1: lam is N / (N - 1) times theirs.
        # Their code of 2019 has fisher = "argmax".
        "vdv": {"fisher": "exact"},
        # The penalties of the others have no 1/2: lam is twice theirs.
        "hsu": {"fisher": "argmax"},
        "avalanche": {"fisher": "batched"},  # fisher_batch is their training batch
        "clarena": {"fisher": "batched"},  # as avalanche, but with the 1/2 (lam is theirs); a short batch weighs less
        # They take a task's first n_memories examples as one batch. Here they are drawn. Both counts are n_memories.
        "gem": {"fisher": "batched", "n_samples": 1000, "fisher_batch": 1000},
    }

    def check_stream(self, n_tasks, n_classes):
        if isinstance(self.lam, tuple) and len(self.lam) not in (n_tasks - 1, n_tasks):
            self._refuse_list(n_tasks)

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(1.0 if isinstance(self.lam, tuple) else self.lam)

    def before_task(self, theta, task):
        if isinstance(self.lam, tuple) and len(self.lam) < task.index:  # a loop that knows no number of tasks
            self._refuse_list(task.index + 1)
        return task

    def after_task(self, theta, task):
        if weight := self._weight(task.index):
            self.quadratic.add(weight * of_task(self, theta, task), theta)

    def _weight(self, k: int) -> float:
        """Return what the Fisher of task k, from 0, is multiplied by. The quadratic itself holds the one lam of all."""
        if not isinstance(self.lam, tuple):
            return 1.0
        return self.lam[k] if k < len(self.lam) else 0.0

    def _refuse_list(self, n_tasks: int):
        raise UserError(
            f"ewc: lam = {list(self.lam)} has {len(self.lam)} weights for {n_tasks} tasks: give {n_tasks - 1}, one for "
            "each task but the last, or one number for all"
        )

"""EWC++ (Chaudhry et al., 2018, section 4.1) is EWC with one Fisher diagonal that training keeps up to date.

    F^t = alpha * F_batch + (1 - alpha) * F^(t-1)                every `interval` steps
    F_batch = mean over those steps of mean_n (d log p(y_n|x_n) / d theta)^2     the training batch, its own labels
    L   = L_k + lam / 2 * sum_i F_i (theta_i - star_i)^2         star: parameters after the previous task

alpha weights the new estimate. After u updates an old estimate counts (1 - alpha)^u, so F describes the last task. The
anchor alone holds on to earlier tasks. The squares are those of single examples under the task loss without the
penalty. The backward pass of training gives them (methods/importance/training_pass.py). F is never reset.

Differs from the paper: the paper updates F in every step, which is `interval` 1. The default of 10 is that of the
authors' code. The paper leaves two things open. Here the first estimate is the initial F, and the end of a task closes
an unfinished interval.

The authors' code (`released`) squares the gradient of the batch's mean loss, starts from 0, scales F to [0, 1] over all
parameters, and has no 1/2: lam is twice theirs. It drops an unfinished interval, and it closes each task's first
interval one step early. Neither is done here.
"""

from dataclasses import dataclass
from typing import ClassVar

from methods.base.method import Method
from methods.base.options import Count, NonNegative, Share
from methods.base.quadratic import Quadratic
from methods.importance.running_fisher import RunningFisher, min_max


@dataclass
class EWCPlusPlus(Method):
    """lam: weight of the penalty. alpha: weight of the new estimate, made every `interval` steps.

    per_sample: square each example's gradient, or the batch's. from_zero: the initial F is 0, not the first estimate.
    normalise: scale the importance to [0, 1].
    """

    lam: NonNegative
    alpha: Share = 0.9
    interval: Count = 10
    per_sample: bool = True
    from_zero: bool = False
    normalise: bool = False

    strength: ClassVar[str] = "lam"
    presets: ClassVar[dict[str, dict]] = {"released": {"per_sample": False, "from_zero": True, "normalise": True}}

    @property
    def wants_squares(self):
        return self.per_sample

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.quadratic = Quadratic(self.lam)
        self.running_fisher = RunningFisher(theta, self.alpha, self.from_zero)

    def after_squares(self, add_to):
        self.running_fisher.add(add_to)
        if self.running_fisher.batches == self.interval:
            self.running_fisher.update()

    def after_backward(self, theta, grad):
        if not self.per_sample:
            self.after_squares(lambda total: total.add_(grad.square()))
        return grad

    def after_task(self, theta, task):
        self.running_fisher.update()
        importance = min_max(self.running_fisher.value) if self.normalise else self.running_fisher.value
        self.quadratic.set(importance, theta)

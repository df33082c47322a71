"""Incremental classifier and representation learning (Rebuffi et al., 2017, algorithms 1 to 5).

Training on the classes s..t uses all new examples and the exemplars of the classes before s (algorithm 3):

    loss  = 1/N sum_n sum_{y<=t} BCE(g_y(x_n), target_ny)      BCE(g, q) = - q log g - (1 - q) log(1 - g)
    target_ny = 1{y = y_n}   for the new units y = s..t        g: sigmoid outputs of the network in training
                q_y(x_n)     for the old units y < s           q: those of the network before the update

Every example gives old units these soft targets, also an exemplar of their own class. With t classes seen and room for
K exemplars, each class keeps m = floor(K / t). Old classes keep their first m (algorithm 5). Herding picks m of each
new class, p_j after p_1..p_{j-1} (algorithm 4). phi are the features of the penultimate layer divided by their norm.
The class of x is that of the nearest mean under the features after the last task (algorithm 1):

    p_j = argmin_x || mu - (phi(x) + sum_{i<j} phi(p_i)) / j ||        mu: mean of phi over the class
    y*  = argmin_y || phi(x) - mu_y ||,    mu_y = mean of phi over the exemplars of y, divided by its norm

The paper's ablation `classifier="hybrid1"` takes the largest sigmoid output instead. So does every prediction before a
task has ended: its classes have no exemplars yet, and the means of the old ones belong to other features. Teacher,
herding and means are in evaluation mode. The paper's baseline LwF.MC (`lwf_mc`) is hybrid1 without exemplars.

Differs from the paper: the loss is a mean over examples. The paper divides every average of features by its norm. Here
herding divides the mean that it approaches (`unit_mean`), but not its running average, as algorithm 4 is written.

Differs from the released code (`released`): herding never picks an example twice. A class whose features all
have norm 0 is refused. The loss names its units, so the stream's masks do not enter it.

The code of van de Ven and Tolias (2019, `vdv`) has q = sigmoid(logit / T) with T = 2 against a g without T. It herds
over features in a shuffled order, so it keeps random examples (`selection`). With `per_class` in place of K each class
keeps that many exemplars, from its task on (van de Ven et al., 2022).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base.errors import UserError, check_either
from methods.base.examples import Examples
from methods.base.method import Method
from methods.base.options import CountOrZero, Need, Positive
from methods.memory.class_means import class_mean, directions
from methods.memory.herding import herd
from methods.memory.samplers import exemplars
from methods.memory.teacher import Teacher

EXEMPLARS = Need("exemplars", lambda own: bool(own.K or own.per_class))


@dataclass
class ICaRL(Method):
    """K: exemplars kept, in total; 0 only with hybrid1. Or per_class: of each class.

    share: how K / t is rounded; `ceil` may keep more than K. flips: class means include mirror images.
    classifier: nearest mean of exemplars, or the largest output.
    loss_units: the loss is a sum over the units `seen`, or a mean over `all` units, future ones as negatives.
    unit_mean: whether herding's mean is divided by its norm. selection: of exemplars. T: of the soft targets alone.
    """

    K: CountOrZero | None = None
    per_class: CountOrZero | None = None
    classifier: Literal["nme", "hybrid1"] = "nme"
    loss_units: Literal["seen", "all"] = "seen"
    share: Literal["floor", "ceil"] = "floor"
    flips: bool = False
    unit_mean: bool = True
    selection: Literal["herding", "random"] = "herding"
    T: Positive = 1.0

    needs: ClassVar[dict[str, Need]] = {
        "flips": Need("classifier = 'nme'", lambda own: own.classifier == "nme"),
        "selection": EXEMPLARS,
        "share": Need("K", lambda own: own.K is not None),
        "unit_mean": Need("exemplars by herding", lambda own: own.selection == "herding" and EXEMPLARS.met(own)),
    }
    scenarios: ClassVar[tuple[str, ...]] = ("class",)
    presets: ClassVar[dict[str, dict]] = {
        "paper": {"loss_units": "seen", "share": "floor", "flips": False, "unit_mean": True},
        "released": {"loss_units": "all", "share": "ceil", "flips": True, "unit_mean": False},
        "lwf_mc": {"K": 0, "classifier": "hybrid1"},
        "vdv": {"selection": "random", "T": 2.0},
    }
    stacks: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        check_either(K=self.K, per_class=self.per_class)
        if not (self.K or self.per_class or self.classifier == "hybrid1"):
            name = "per_class" if self.K is None else "K"
            raise UserError(f"{name} = 0 leaves no exemplars for means: give 1 or more, or classifier = 'hybrid1'")

    def check_stream(self, n_tasks, n_classes):
        if self.K and n_classes > self.K:
            raise UserError(f"icarl: K = {self.K} exemplars for {n_classes} classes: give at least one for each")

    def begin(self, net, theta, rng):
        super().begin(net, theta, rng)
        self.exemplars: dict[int, Examples] = {}  # raw inputs of each unit, in the order of selection
        self.means: dict[int, Tensor] = {}  # mu_y [D] of each unit, between tasks
        self.zero_norm, self.teacher = 0, None  # zero_norm: exemplars with features of norm 0, after the last task

    def before_task(self, theta, task):
        new, old = task.train.y.unique().tolist(), list(self.exemplars)
        if repeated := sorted(set(new) & set(old)):
            raise UserError(f"icarl: units {repeated} were learnt in an earlier task: every task needs new classes")
        self.check_stream(task.index + 1, len(new) + len(old))
        if self.classifier == "nme" or self.selection == "herding":
            with torch.no_grad():
                directions(self.net, theta, task.train.select(torch.arange(1)))  # refuses a network without features
        self.old, self.seen, self.means = old, old + new, {}
        if not old:
            return task
        train = task.train + task.remask(Examples.joined(self.exemplars.values()))
        self.teacher = Teacher(self.net, theta, train)
        return replace(task, train=train)

    def before_batch(self, index):
        if self.teacher:
            self.teacher.expect(index)

    def loss(self, theta, x, y, mask):
        logits = self.net(theta, x, train=True)
        target = F.one_hot(y, logits.shape[-1]).to(logits.dtype)
        if self.teacher:
            target[..., self.old] = (self.teacher.outputs(x)[..., self.old] / self.T).sigmoid()
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        by_example = losses.mean(-1) if self.loss_units == "all" else losses[..., self.seen].sum(-1)
        return by_example.mean(-1)

    def after_task(self, theta, task):
        self.teacher = None
        t = len(self.seen)
        m = self.per_class if self.K is None else self.K // t if self.share == "floor" else -(-self.K // t)
        self.exemplars = {unit: kept.select(torch.arange(min(m, len(kept)))) for unit, kept in self.exemplars.items()}
        (draws,) = self.generators("exemplars", theta, task)
        self.exemplars |= exemplars(task.train, lambda own: self._choose(theta, own, m, draws))
        if self.classifier == "nme":
            found = {unit: class_mean(self.net, theta, x, self.flips, unit) for unit, x in self.exemplars.items()}
            self.means = {unit: mean for unit, (mean, _) in found.items()}
            self.zero_norm = sum(n for _, n in found.values())

    def predict(self, theta, x, mask):
        if self.classifier == "hybrid1" or not self.means:
            return super().predict(theta, x, mask)  # the sigmoid keeps the order
        phi = F.normalize(self.net.features(theta, x), dim=-1)
        scores = phi.new_full((*phi.shape[:-1], mask.shape[-1]), -torch.inf)
        scores[..., list(self.means)] = phi @ torch.stack(list(self.means.values())).T  # nearest: all norms are 1
        return (scores + mask).argmax(-1)

    def _choose(self, theta: Tensor, examples: Examples, m: int, draws: torch.Generator) -> Tensor:
        """Return the indices of the m examples of a unit to keep."""
        if self.selection == "random":
            return torch.randperm(len(examples), generator=draws)[:m].to(theta.device)
        phi = directions(self.net, theta, examples)
        return herd(phi, F.normalize(phi.mean(0), dim=0) if self.unit_mean else phi.mean(0), m)

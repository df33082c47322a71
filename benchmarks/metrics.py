"""Every measure of a continual learner is computed from its accuracy array.

R[k, j] is the test accuracy (a fraction) on task j after training on tasks 1..k. Row 0 is before training. R is [T + 1,
T], NaN where not measured or not applicable. Such entries lie above the diagonal of a class-incremental run. In a joint
run, which is trained only once, they are rows 1..T-1. `total` [T] holds the test counts. Formulas number the tasks from
1, columns of the array from 0. A measure that is undefined is NaN with its reason.
"""

import functools
import re
from typing import NamedTuple

import numpy as np

from methods.base.errors import unknown

IN_POINTS = {"intransigence"}  # the measures that are differences of accuracies; the others are percentages
METRICS = {}  # name -> function(accuracy, total) -> Measure: every measure of one run that has no parameter
ONE_TRAINING = "needs the accuracy after every task; a joint run has only the last"
BATCHES = 10  # of `lca_10`
AFTER = "average_accuracy_after_"  # k follows, the number of tasks


class Measure(NamedTuple):
    """Hold a value as a fraction. Where it is undefined, it is NaN with the reason."""

    value: float
    reason: str | None = None

    @property
    def percent(self) -> float:
        """Return the value in percent, or in percentage points."""
        return 100 * self.value


def find(name: str):
    """Return the function `name`: of METRICS, AGAINST_A_REFERENCE, OF_THE_CURVE, or `average_accuracy_after_<k>`."""
    known = METRICS | AGAINST_A_REFERENCE | OF_THE_CURVE
    if name in known:
        return known[name]
    tasks = re.fullmatch(f"{AFTER}([1-9][0-9]{{0,5}})", name)
    if tasks is None:
        raise unknown("metric", name, [*known, f"{AFTER}<k>"])
    return functools.partial(average_accuracy_after, k=int(tasks[1]))


def of(record, name, reference=None):
    """Return the measure `name` of the record of a finished run. `reference` is for those AGAINST_A_REFERENCE."""
    arguments = [record.accuracy, record.total]
    if name in OF_THE_CURVE:
        arguments.append(record.curve and numbers(record.curve) / np.array(record.total)[:, None])
    if name in AGAINST_A_REFERENCE:
        arguments.append(reference)
    return find(name)(*arguments)


def numbers(counts):
    """Return counts as an array, NaN where None."""
    return np.array([[np.nan if count is None else count for count in row] for row in counts])


def check(accuracy, total):
    """Return arrays (accuracy [T + 1, T], total [T]). Raise ValueError for what cannot be the record of a run."""
    accuracy, total = np.asarray(accuracy, dtype=float), np.asarray(total)
    if accuracy.ndim != 2 or accuracy.shape[1] < 1 or accuracy.shape[0] != accuracy.shape[1] + 1:
        raise ValueError(f"accuracy must be [T + 1, T] with T >= 1, got {list(accuracy.shape)}")
    tasks = accuracy.shape[1]
    if total.shape != (tasks,) or not np.issubdtype(total.dtype, np.integer) or (total < 1).any():
        raise ValueError(f"total must be {tasks} test counts >= 1, got {total.tolist()}")
    wrong = accuracy[(accuracy < 0) | (accuracy > 1)]
    if wrong.size:
        raise ValueError(f"accuracies must be fractions in [0, 1], not percentages, got {wrong[0]}")
    needed = np.tri(tasks, dtype=bool)
    if is_joint(accuracy):
        needed[:-1] = False
    gaps = np.argwhere(needed & np.isnan(accuracy[1:]))
    if len(gaps):
        raise ValueError("accuracy on task {1} after task {0} is missing".format(*(gaps[0] + 1)))
    return accuracy, total


def is_joint(accuracy):
    """Say whether only the end of a run on several tasks was measured, as of joint training."""
    return len(accuracy) > 2 and np.isnan(accuracy[1:-1]).all()


def _measure(after_each_task=False, several_tasks=False, points=False):
    """Enter a function of checked arrays into METRICS. It is undefined for the runs that it does not fit.

    points: it is a difference of accuracies.
    """

    def register(function):
        @functools.wraps(function)
        def measure(accuracy, total):
            accuracy, total = check(accuracy, total)
            if several_tasks and len(total) == 1:
                return Measure(np.nan, "needs at least two tasks")
            if after_each_task and is_joint(accuracy):
                return Measure(np.nan, ONE_TRAINING)
            value = function(accuracy, total)
            return value if isinstance(value, Measure) else Measure(float(value))

        METRICS[function.__name__] = measure
        if points:
            IN_POINTS.add(function.__name__)
        return measure

    return register


@_measure()
def average_accuracy(accuracy, total):
    """Return 1/T sum_j R[T, j], the mean over tasks after the last one (Lopez-Paz and Ranzato, 2017)."""
    return accuracy[-1].mean()


def average_accuracy_after(accuracy, total, k):
    """Return 1/k sum_{j<=k} R[k, j], the mean over the first k tasks when they are learnt."""
    accuracy, total = check(accuracy, total)
    if is_joint(accuracy):
        return Measure(np.nan, ONE_TRAINING)
    if len(total) < k:
        return Measure(np.nan, f"needs at least {k} tasks")
    return Measure(float(accuracy[k, :k].mean()))


@_measure()
def micro_accuracy(accuracy, total):
    """Return the accuracy on the union of all test sets after the last task."""
    return np.average(accuracy[-1], weights=total)


@_measure(after_each_task=True, several_tasks=True, points=True)
def backward_transfer(accuracy, total):
    """Return 1/(T-1) sum_{j<T} (R[T, j] - R[j, j]). Below 0 is forgetting (Lopez-Paz and Ranzato, 2017)."""
    return (accuracy[-1] - accuracy[1:].diagonal())[:-1].mean()


@_measure(after_each_task=True, several_tasks=True, points=True)
def backward_transfer_over_all_tasks(accuracy, total):
    """Return 1/T sum_{j<T} (R[T, j] - R[j, j]), as the code of Lopez-Paz and Ranzato (2017), not their equation."""
    return (accuracy[-1] - accuracy[1:].diagonal()).mean()


@_measure(after_each_task=True, several_tasks=True, points=True)
def forward_transfer(accuracy, total):
    """Return 1/(T-1) sum_{j>1} (R[j-1, j] - R[0, j]); row 0 is untrained (Lopez-Paz and Ranzato, 2017)."""
    gain = accuracy.diagonal()[1:] - accuracy[0, 1:]
    if np.isnan(gain).any():
        return Measure(
            np.nan, "needs the accuracy on tasks not yet learnt; the run has none (class-incremental: never)"
        )
    return gain.mean()


def _forgotten(accuracy, since_learnt=False):
    """Return f_j = max_l R[l, j] - R[T, j] for each task j < T, [T - 1], with l from 1, or from j, to T - 1.

    Entries that were not measured are no part of the maximum.
    """
    earlier = np.where(np.isnan(accuracy[1:-1, :-1]), -np.inf, accuracy[1:-1, :-1])
    if since_learnt:
        earlier[~np.tri(len(earlier), dtype=bool)] = -np.inf
    return earlier.max(0) - accuracy[-1, :-1]


@_measure(after_each_task=True, several_tasks=True, points=True)
def forgetting(accuracy, total):
    """Return 1/(T-1) sum_{j<T} f_j with f_j = max_{1 <= l < T} R[l, j] - R[T, j] (Chaudhry et al., 2018).

    The accuracy on a task before it is learnt counts, if it was measured. The last row is no part of the maximum.
    """
    return _forgotten(accuracy).mean()


@_measure(after_each_task=True, several_tasks=True, points=True)
def forgetting_since_learnt(accuracy, total):
    """Return 1/(T-1) sum_{j<T} f_j with f_j = max_{j <= l < T} R[l, j] - R[T, j].

    The code of Chaudhry et al. (2019) computes this. It measures no task before that task is learnt.
    """
    return _forgotten(accuracy, since_learnt=True).mean()


@_measure(after_each_task=True, several_tasks=True, points=True)
def worst_forgetting_since_learnt(accuracy, total):
    """Return max_{j<T} f_j with f_j of `forgetting_since_learnt` (Chaudhry et al., 2019)."""
    return _forgotten(accuracy, since_learnt=True).max()


@_measure(after_each_task=True)
def learning_accuracy(accuracy, total):
    """Return 1/T sum_k R[k, k], each task just after it was learnt (plasticity)."""
    return accuracy[1:].diagonal().mean()


@_measure(after_each_task=True)
def average_incremental_accuracy(accuracy, total):
    """Return 1/T sum_k A_k. A_k: accuracy after task k on the union of test sets 1..k (Rebuffi et al., 2017)."""
    return np.mean([np.average(row[:k], weights=total[:k]) for k, row in enumerate(accuracy[1:], start=1)])


def intransigence(accuracy, total, reference):
    """Return I_T = a*_T - R[T, T] (Chaudhry et al., 2018).

    `reference` [T] holds a*_k, the accuracy on task k of a joint run on tasks 1..k.
    """
    return Measure(float(_intransigence(accuracy, total, reference)[-1]))


def mean_intransigence(accuracy, total, reference):
    """Return 1/T sum_k (a*_k - R[k, k]). `reference` [T] is that of `intransigence`."""
    gaps = _intransigence(accuracy, total, reference)
    if np.isnan(gaps).any():
        return Measure(np.nan, ONE_TRAINING)
    return Measure(float(gaps.mean()))


def _intransigence(accuracy, total, reference):
    accuracy, total = check(accuracy, total)
    reference = np.asarray(reference, dtype=float)
    if reference.shape != total.shape or not ((reference >= 0) & (reference <= 1)).all():
        raise ValueError(f"reference must be {len(total)} fractions in [0, 1], got {reference.tolist()}")
    return reference - accuracy[1:].diagonal()


# name -> function(accuracy, total, reference) -> Measure. One joint run gives all that the measure uses.
AGAINST_A_REFERENCE = {"intransigence": intransigence}


def lca_10(accuracy, total, curve):
    """Return (Z_0 / 2 + Z_1 + ... + Z_9 + Z_10 / 2) / 10, the area under the first batches (Chaudhry et al., 2019).

    Z_b is the mean over tasks k of the accuracy on task k after b batches of it, Z_0 before its first update. `curve`
    [T, b + 1] holds these accuracies. The paper divides a plain sum of Z_0 to Z_10 by 11. Its code takes the area.
    """
    accuracy, _ = check(accuracy, total)
    if is_joint(accuracy):
        return Measure(np.nan, ONE_TRAINING)
    if curve is None or curve.shape[1] <= BATCHES:
        return Measure(np.nan, f"needs the accuracy after the first batches of each task: curve = {BATCHES} in train")
    if np.isnan(curve[:, : BATCHES + 1]).any():
        return Measure(np.nan, f"needs {BATCHES} batches in each task")
    Z = curve[:, : BATCHES + 1].mean(0)
    return Measure(float((Z.sum() - (Z[0] + Z[-1]) / 2) / BATCHES))


# They see the accuracy on tasks not yet learnt, where it was measured.
BEFORE_LEARNT = ("forward_transfer", "forgetting")
# name -> function(accuracy, total, curve) -> Measure.
OF_THE_CURVE = {"lca_10": lca_10}

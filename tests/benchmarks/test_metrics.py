from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import metrics
from benchmarks.metrics import METRICS, Measure, find
from methods.base.errors import UserError

NAN = np.nan


def value(name, accuracy, total=None):
    """The value of a measure that is defined here."""
    accuracy = np.array(accuracy)
    total = np.full(accuracy.shape[1], 100) if total is None else np.array(total)
    measure = find(name)(accuracy, total)
    assert measure.reason is None and np.isfinite(measure.value)
    return measure.value


def assert_undefined(found, reason):
    assert isinstance(found, Measure) and np.isnan(found.value) and reason in found.reason


TWO = [[NAN, 0.1], [0.9, 0.5], [0.6, 0.8]]
THREE = [[NAN] * 3, [0.9, NAN, NAN], [0.95, 0.8, NAN], [0.7, 0.85, 0.9]]
UNDEFINED_FOR_ONE_TASK = ["backward_transfer", "backward_transfer_over_all_tasks", "forward_transfer"]
UNDEFINED_FOR_ONE_TASK += ["forgetting", "forgetting_since_learnt", "worst_forgetting_since_learnt"]
NAMES = [*METRICS, "average_accuracy_after_1", "average_accuracy_after_2"]
JOINT = [[0.5, 0.5, 0.5], [NAN] * 3, [NAN] * 3, [0.9, 0.8, 0.7]]


def random_accuracy(tasks=10, seed=0):
    return np.random.default_rng(seed).uniform(size=(tasks + 1, tasks))


def test_learnt_and_kept():
    accuracy = np.vstack([np.zeros(4), np.tri(4)])
    assert value("average_accuracy", accuracy) == 1.0
    assert value("backward_transfer", accuracy) == 0.0
    assert value("forgetting", accuracy) == 0.0


def test_constant():
    accuracy = np.full((5, 4), 0.375)
    assert value("average_accuracy", accuracy) == 0.375
    for name in UNDEFINED_FOR_ONE_TASK:
        assert value(name, accuracy) == 0.0


def test_percent():
    assert Measure(0.25).percent == 25.0 and np.isnan(Measure(NAN, "why").percent)


@pytest.mark.parametrize("name", ["accuracy", "average_accuracy_after_", "average_accuracy_after_0", ""])
def test_unknown_names(name):
    with pytest.raises(UserError, match=r"unknown metric .*the nearest is '"):
        find(name)


@pytest.mark.parametrize("k", ["01", "-1", "1.5", "x", "9" * 30, "٣"])
def test_tasks_of_a_metric_that_cannot_be(k):
    with pytest.raises(UserError, match=r"unknown metric .*average_accuracy_after_<k>"):
        find(f"average_accuracy_after_{k}")


def test_names_find_their_function():
    assert find("forgetting") is metrics.forgetting and find("intransigence") is metrics.intransigence
    accuracy = random_accuracy(12)
    for k in range(1, 13):
        assert value(f"average_accuracy_after_{k}", accuracy) == accuracy[k, :k].mean()


def test_two_tasks_by_hand():
    expected = {"average_accuracy": 0.7, "backward_transfer": -0.3, "forward_transfer": 0.4, "forgetting": 0.3}
    expected |= {
        "forgetting_since_learnt": 0.3,
        "worst_forgetting_since_learnt": 0.3,
        "learning_accuracy": 0.85,
        "micro_accuracy": 0.7,
    }
    expected |= {"average_incremental_accuracy": 0.8}  # (.9 + .7) / 2
    expected |= {"backward_transfer_over_all_tasks": -0.15}
    expected |= {"average_accuracy_after_1": 0.9, "average_accuracy_after_2": 0.7}
    assert set(expected) == set(NAMES)
    for k in (3, 10, 100):
        measure = find(f"average_accuracy_after_{k}")(np.array(TWO), np.full(2, 100))
        assert_undefined(measure, f"needs at least {k} tasks")
    for name, number in expected.items():
        assert_allclose(value(name, TWO), number, rtol=1e-14, err_msg=name)


def test_three_tasks_by_hand():
    assert_allclose(value("average_accuracy", THREE), 2.45 / 3, rtol=1e-14)
    assert_allclose(value("backward_transfer", THREE), -0.075, rtol=1e-12)  # not -.05, which divides by T
    assert_allclose(value("backward_transfer_over_all_tasks", THREE), -0.05, rtol=1e-12)
    for k, number in enumerate((0.9, 0.875, 2.45 / 3), start=1):
        assert_allclose(value(f"average_accuracy_after_{k}", THREE), number, rtol=1e-14)
    for name in ("forgetting", "forgetting_since_learnt"):
        assert_allclose(value(name, THREE), 0.10, rtol=1e-12)  # not .125 (last row in the maximum), nor .075
    assert_allclose(value("worst_forgetting_since_learnt", THREE), 0.25, rtol=1e-12)
    assert_allclose(value("learning_accuracy", THREE), 2.6 / 3, rtol=1e-14)


def test_accuracy_before_a_task_is_learnt_counts_in_the_papers_forgetting_alone():
    # After task 1 the accuracy on task 2 is .9, more than all that follows; that before any training never counts.
    accuracy = [[1.0] * 3, [0.9, 0.9, 1.0], [0.9, 0.6, 1.0], [0.9, 0.5, 0.9]]
    assert_allclose(value("forgetting", accuracy), (0.0 + 0.4) / 2, rtol=1e-12)
    assert_allclose(value("forgetting_since_learnt", accuracy), (0.0 + 0.1) / 2, rtol=1e-12)
    assert_allclose(value("worst_forgetting_since_learnt", accuracy), 0.1, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_forgetting_is_the_equation_term_by_term(seed):
    """Also where entries above the diagonal were not measured, some of them or all."""
    accuracy, T = random_accuracy(6, seed), 6
    hidden = np.triu(np.random.default_rng(seed).uniform(size=(T, T)) < seed / 4, 1)  # none to all
    accuracy[1:][hidden] = NAN
    R = {(k, j): accuracy[k, j - 1] for k in range(1, T + 1) for j in range(1, T + 1) if not hidden[k - 1, j - 1]}
    all_rows = [max(R[k, j] for k in range(1, T) if (k, j) in R) - R[T, j] for j in range(1, T)]
    since = [max(R[k, j] for k in range(j, T)) - R[T, j] for j in range(1, T)]
    assert_allclose(value("forgetting", accuracy), sum(all_rows) / (T - 1), rtol=1e-12)
    assert_allclose(value("forgetting_since_learnt", accuracy), sum(since) / (T - 1), rtol=1e-12)
    assert_allclose(value("worst_forgetting_since_learnt", accuracy), max(since), rtol=1e-12)


def test_micro_weighs_by_test_size():
    total = [300, 100]
    assert_allclose(value("micro_accuracy", TWO, total), (0.6 * 3 + 0.8) / 4, rtol=1e-14)
    assert_allclose(value("average_incremental_accuracy", TWO, total), (0.9 + 0.65) / 2, rtol=1e-14)
    assert_allclose(value("average_accuracy", TWO, total), 0.7, rtol=1e-14)
    accuracy = random_accuracy()
    assert_allclose(value("micro_accuracy", accuracy), value("average_accuracy", accuracy), rtol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_relations(seed):
    accuracy, tasks = random_accuracy(seed=seed), 10
    plasticity = value("average_accuracy", accuracy) - value("learning_accuracy", accuracy)
    assert_allclose(plasticity, value("backward_transfer", accuracy) * (tasks - 1) / tasks, rtol=1e-12)
    since_learnt = value("forgetting_since_learnt", accuracy)
    assert since_learnt >= -value("backward_transfer", accuracy)
    assert value("worst_forgetting_since_learnt", accuracy) >= since_learnt
    assert value("forgetting", accuracy) >= since_learnt
    assert value("average_accuracy_after_10", accuracy) == value("average_accuracy", accuracy)
    assert_allclose(value("average_accuracy", accuracy[:, ::-1]), value("average_accuracy", accuracy), rtol=1e-14)
    shifted = accuracy.copy()
    shifted[0] = accuracy[0] / 2
    for name in NAMES:
        assert (value(name, shifted) == value(name, accuracy)) == (name != "forward_transfer"), name


def test_measures_in_points_are_those_that_both_signs_can_have():
    """Runs that learn and runs that unlearn: a percentage stays within 0 to 100, a difference does not."""
    runs = [random_accuracy(4, seed) for seed in range(20)]
    runs += [np.sort(run, 0) for run in runs] + [np.sort(run, 0)[::-1] for run in runs]
    for name, measure in METRICS.items():
        values = [measure(run, np.full(4, 100)).value for run in runs]
        assert (min(values) < 0 < max(values)) == (name in metrics.IN_POINTS), name
    assert set(metrics.AGAINST_A_REFERENCE) <= metrics.IN_POINTS <= set(METRICS) | set(metrics.AGAINST_A_REFERENCE)


def test_single_task():
    accuracy, total = np.array([[0.5], [0.9]]), np.array([10])
    for name in ("average_accuracy", "micro_accuracy", "learning_accuracy", "average_incremental_accuracy"):
        assert value(name, accuracy, total) == 0.9
    for name in UNDEFINED_FOR_ONE_TASK:
        assert_undefined(find(name)(accuracy, total), "two tasks")


def test_joint_run_has_final_accuracies_only():
    total = np.array([100, 200, 100])
    assert_allclose(value("average_accuracy", JOINT, total), 0.8, rtol=1e-14)
    assert_allclose(value("micro_accuracy", JOINT, total), 0.8, rtol=1e-14)
    for name in set(NAMES) - {"average_accuracy", "micro_accuracy"}:
        assert_undefined(find(name)(np.array(JOINT), total), "joint")


def test_forward_transfer_needs_unlearnt_tasks_and_the_row_before_training():
    total = np.full(3, 100)
    assert_undefined(metrics.forward_transfer(THREE, total), "class-incremental")
    full = random_accuracy(3)
    full[0, 0] = NAN  # task 1 has no part in it
    assert np.isfinite(value("forward_transfer", full))
    full[0, 1] = NAN
    assert_undefined(metrics.forward_transfer(full, total), "not yet learnt")


def test_intransigence():
    total, reference = np.full(3, 100), [0.9, 0.85, 0.8]
    assert_allclose(metrics.intransigence(THREE, total, reference).value, -0.1, rtol=1e-12)
    assert_allclose(metrics.mean_intransigence(THREE, total, reference).value, -0.05 / 3, rtol=1e-12)
    own = np.array(THREE)[1:].diagonal()
    assert metrics.mean_intransigence(THREE, total, own) == Measure(0.0)
    assert_undefined(metrics.mean_intransigence(JOINT, total, reference), "joint")
    for wrong in ([0.9, 0.8], [90.0, 85.0, 80.0], [0.9, NAN, 0.8]):
        with pytest.raises(ValueError, match="reference"):
            metrics.intransigence(THREE, total, wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a * 100, "percentages"),
        (lambda a: np.where(a == 0.5, np.inf, a), "fractions"),
        (lambda a: np.where(a == 0.5, -0.1, a), "fractions"),
        (lambda a: a[1:], r"\[T \+ 1, T\]"),
        (lambda a: a[:, :0], r"\[T \+ 1, T\]"),
        (lambda a: a.ravel(), r"\[T \+ 1, T\]"),
        (lambda a: np.where(a == 0.6, NAN, a), "accuracy on task 1 after task 2 is missing"),
        (lambda a: np.where(a == 0.8, NAN, a), "accuracy on task 2 after task 2 is missing"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_refused_arrays(name, change, message):
    with pytest.raises(ValueError, match=message):
        find(name)(change(np.array(TWO)), np.full(2, 100))


def test_a_gap_before_the_last_row_is_refused():
    accuracy = np.array(THREE)
    accuracy[1, 0] = NAN
    with pytest.raises(ValueError, match="accuracy on task 1 after task 1 is missing"):
        metrics.average_accuracy(accuracy, np.full(3, 100))


@pytest.mark.parametrize("total", [[100], [100, 0], [100.0, 100.0], [[100, 100]]])
def test_refused_totals(total):
    with pytest.raises(ValueError, match="test counts"):
        metrics.average_accuracy(np.array(TWO), np.array(total))


def test_inputs_are_left_alone():
    accuracy, total = np.array(TWO), np.array([300, 100])
    for name in NAMES:
        find(name)(accuracy, total)
    assert_array_equal(accuracy, np.array(TWO))
    assert_array_equal(total, [300, 100])


CURVE = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.5], [0.3] * 11])


def test_learning_curve_area():
    """Z = 0.2, 0.25, ..., 0.65, 0.4: the trapezoids of ten batches by hand."""
    total = np.full(2, 10)
    Z = [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.4]
    expected = sum((a + b) / 2 for a, b in pairwise(Z)) / 10
    assert_allclose(metrics.lca_10(np.array(TWO), total, CURVE).value, expected, rtol=1e-12)
    longer = np.concatenate([CURVE, np.ones((2, 3))], axis=1)
    assert_allclose(metrics.lca_10(np.array(TWO), total, longer).value, expected, rtol=1e-12)
    assert find("lca_10") is metrics.lca_10


def test_learning_curve_that_was_not_measured():
    total, gap = np.full(2, 10), CURVE.copy()
    gap[1, 10] = np.nan
    for curve, reason in ((None, "curve = 10"), (CURVE[:, :10], "curve = 10"), (gap, "10 batches in each task")):
        assert_undefined(metrics.lca_10(np.array(TWO), total, curve), reason)
    assert_undefined(metrics.lca_10(JOINT, np.full(3, 10), np.zeros((3, 11))), "joint")

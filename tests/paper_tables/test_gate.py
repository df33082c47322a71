"""The rules of the gate: it fails when something moved or is gone, and passes what rounding does."""

from dataclasses import replace

import numpy as np
import pytest

from paper_tables import gate
from paper_tables.gate import Outcome, compare

ROWS, SCENARIOS, SEEDS = [f"row {n}" for n in range(20)], ("task", "domain", "class"), (1, 2)
KEYS = [(row, scenario, seed) for row in ROWS for scenario in SCENARIOS for seed in SEEDS]


def outcome(value, mark=0):
    """A run with this value; another mark has other counts."""
    return Outcome("average_accuracy", value, ((value, mark),))


def table(values=80.0):
    return {key: outcome(values) for key in KEYS}


def changed(known, shift=0.0, rows=(), scenarios=SCENARIOS):
    """The outcomes, with other counts and shifted values in some rows."""

    def touched(key):
        return key[0] in rows and key[1] in scenarios

    return {key: outcome(o.value + shift, mark=1) if touched(key) else o for key, o in known.items()}


def failing(cells):
    return {(cell.row, cell.scenario) for cell in cells if not cell.passes}


def test_equal_counts_pass_in_both_tiers():
    for exact in (True, False):
        cells = compare([table()], table(), exact)
        assert len(cells) == 60 and {cell.state for cell in cells} == {"same"}


def test_on_the_machine_of_the_reference_every_count_must_be_equal():
    cells = compare([table()], changed(table(), 0.0, ROWS[:1], ["task"]), exact=True)
    assert failing(cells) == {("row 0", "task")}


@pytest.mark.parametrize("exact", [True, False])
def test_a_value_that_moved_over_equal_counts_fails(exact):
    """A metric that was changed, or that is of counts within a task, which the references do not hold."""
    fresh = {key: replace(o, value=o.value - 20) if key[0] == "row 3" else o for key, o in table().items()}
    assert failing(compare([table()], fresh, exact)) == {("row 3", scenario) for scenario in SCENARIOS}
    rounded = {key: replace(o, value=o.value + 1e-12) for key, o in table().items()}
    assert {cell.state for cell in compare([table()], rounded, exact)} == {"same"}


@pytest.mark.parametrize("shift", [0.9, 1.1, -0.9, -1.1])
def test_elsewhere_a_mean_may_move_by_the_tolerance_either_way_where_many_rows_move(shift):
    """All rows differ: the machine rounds otherwise, and only the size of the shift tells."""
    fresh = changed(changed(table(), 0.0, ROWS), shift, ["row 3"], ["class"])
    cells = compare([table()], fresh, exact=False)
    assert failing(cells) == ({("row 3", "class")} if abs(shift) > 1 else set())


@pytest.mark.parametrize("touched", [1, 5, 9])
def test_a_row_whose_runs_all_differ_while_the_others_are_equal_fails_at_any_shift(touched):
    rows = ROWS[:touched]
    cells = compare([table()], changed(table(), 0.0, rows), exact=False)
    assert {row for row, _ in failing(cells)} == set(rows)
    assert all("where 2 % are expected" in cell.why for cell in cells if not cell.passes)


def test_one_run_that_differs_by_rounding_is_no_alarm():
    fresh = table() | {("row 0", "task", 1): outcome(80.1, mark=1)}
    assert failing(compare([table()], fresh, exact=False)) == set()


def test_a_row_that_rounding_is_known_to_move_may_move():
    """Between the machines of its references the row differs in every run."""
    known = [table(), changed(table(), 0.1, ["row 0"])]
    fresh = changed(table(), 0.05, ["row 0"])
    fresh = {key: replace(o, correct=("third",)) if key[0] == "row 0" else o for key, o in fresh.items()}
    assert failing(compare(known, fresh, exact=False)) == set()
    assert failing(compare(known[:1], fresh, exact=False))


def test_equal_to_any_kind_of_machine_is_the_same():
    known = [table(), changed(table(), 5.0, ROWS)]
    assert {cell.state for cell in compare(known, known[1], exact=False)} == {"same"}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_not_a_number_has_not_passed(exact, value):
    """On either side, also where nothing else differs but the value."""
    odd = table() | {("row 0", "task", 1): Outcome("average_accuracy", value, None, "diverged")}
    assert failing(compare([table()], odd, exact)) == {("row 0", "task")}
    assert failing(compare([odd], table(), exact)) == {("row 0", "task")}
    assert failing(compare([odd], odd, exact)) == set()  # a run that fails as its reference did is the same


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("gone", "cells"),
    [
        (lambda key: key[0] == "row 2", {("row 2", scenario) for scenario in SCENARIOS}),
        (lambda key: key[1] == "class", {(row, "class") for row in ROWS}),
        (lambda key: key == ("row 2", "task", 2), {("row 2", "task")}),
        (lambda key: True, {key[:2] for key in KEYS}),
    ],
    ids=["row", "scenario", "seed", "everything"],
)
def test_what_is_gone_fails_and_so_does_what_is_new(exact, gone, cells):
    some = {key: o for key, o in table().items() if not gone(key)}
    missing, new = compare([table()], some, exact), compare([some], table(), exact)
    assert failing(missing) == failing(new) == cells
    assert {cell.state for cell in missing if not cell.passes} == {"missing"}
    assert {cell.state for cell in new if not cell.passes} == {"no reference"}


def test_a_row_and_the_same_row_on_mnist_count_as_one():
    """Row 0 has one scenario. One of its two runs on the digits differs, and that on MNIST: neither is enough alone."""
    keys = [*KEYS, *((row + gate.ON_MNIST, scenario, 1) for row in ROWS for scenario in SCENARIOS)]
    known = {key: outcome(80.0) for key in keys if key[1] == "task" or key[0] not in ("row 0", "row 0" + gate.ON_MNIST)}
    digits, mnist = ("row 0", "task", 2), ("row 0" + gate.ON_MNIST, "task", 1)
    for moved in ([digits], [mnist]):
        assert not failing(compare([known], known | dict.fromkeys(moved, outcome(80.0, 1)), exact=False))
    both = compare([known], known | dict.fromkeys([digits, mnist], outcome(80.0, 1)), exact=False)
    assert failing(both) == {digits[:2], mnist[:2]}


def test_machines_whose_references_share_no_run():
    """They say nothing of how often rounding differs. New rows have no reference yet, and so the gate says."""
    first, second = ({key: o for key, o in table().items() if (key[0] == "row 0") == own} for own in (True, False))
    assert compare([first, second], table(), exact=False)[0].state == "same" and gate.between([first, second]) == {}


def test_a_row_that_measures_something_else_fails():
    fresh = {key: replace(o, metric="forgetting") if key[0] == "row 0" else o for key, o in table().items()}
    assert {row for row, _ in failing(compare([table()], fresh, exact=False))} == {"row 0"}


def kinds(rate, spread=0.3, seed=0):
    """References of three kinds of machines; a run differs between them with this chance."""
    rng = np.random.default_rng(seed)

    def other(known):
        moved = {key: outcome(o.value + spread * rng.standard_normal(), 1) for key, o in known.items()}
        return {key: moved[key] if rng.random() < rate else o for key, o in known.items()}

    return [table(), other(table()), other(table())]


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.3])
def test_the_stated_rates_hold_on_machines_that_were_not_looked_at(rate):
    """Fresh tables of a fourth kind, drawn here and not by the code that states the rates."""
    known = kinds(rate)
    alarms, shift = gate.rates(known, draws=400)
    rng, found = np.random.default_rng(5), []
    for _ in range(300):
        fresh = {
            key: outcome(o.value + 0.3 * rng.standard_normal(), 2) if rng.random() < rate else o
            for key, o in known[0].items()
        }
        found.append(bool(failing(compare(known, fresh, exact=False))))
    assert alarms <= 0.05 and np.mean(found) <= 0.05
    assert 0 < shift <= 1.6
    fresh = changed(known[0], shift + 0.4, ["row 7"])
    assert {row for row, _ in failing(compare(known, fresh, exact=False))} == {"row 7"}


def test_runs_without_a_value_are_left_out_of_the_stated_rates():
    known = kinds(0.03)
    nothing = Outcome("average_accuracy", None, ((None, 1),), "undefined")
    undefined = {key: nothing if key[0] == "row 3" else o for key, o in known[1].items()}
    alarms, shift = gate.rates([known[0], undefined, known[2]], draws=50)
    assert 0 <= alarms <= 0.1 and 0 < shift <= 1.6


def test_a_rows_share_is_drawn_to_that_of_all_rows():
    """Row 0 differs in 3 of 6 runs, 19 rows in none: (3 + 2 q) / (6 + 2) and 2 q / (6 + 2), q = (3 + 1) / (120 + 2)."""
    first = table()
    second = first | {key: outcome(80.0, 1) for key in KEYS[:3]}
    q, found = 4 / 122, gate.between([first, second])
    assert gate.WEIGHT == 2 and len(KEYS) == 120
    assert found["row 0"] == pytest.approx((3 + 2 * q) / 8) and found["row 7"] == pytest.approx(2 * q / 8)


def test_a_row_alone_is_compared_with_the_quieter_half_of_the_others():
    """The quieter of two others has one run, and it is equal: (0 + 1) / (1 + 2)."""
    keys = [("row 0", scenario, seed) for scenario in SCENARIOS for seed in range(1, 5)]
    known = {key: outcome(80.0) for key in [*keys, ("row 1", "task", 1), ("row 2", "task", 1)]}
    fresh = known | {key: outcome(80.0, 1) for key in [*keys, ("row 2", "task", 1)]}
    (why,) = {cell.why for cell in compare([known], fresh, exact=False) if not cell.passes}
    assert why == "12 of this row's 12 runs differ, where 33 % are expected: chance 2e-06"

"""The class of a cell, on answers that are made up from the definition."""

import numpy as np
import pytest

from benchmarks.audit.base.classify import KINDS, Cell, classify, holds

D = np.array([1.0, -2.0, 0.5, 3.0])


def kind(quantity, *answers, definitions=None):
    return classify(quantity, dict(enumerate(map(listed, answers))), definitions or {"": D})


def listed(answer):
    return answer if isinstance(answer, str) else [float(value) for value in answer]


def test_exact_to_rounding_and_not_beyond():
    assert kind("gem", D * (1 + 1e-7)).kind == "exact"
    assert kind("gem", D + np.array([0, 0, 0, 1e-4])).kind == "another quantity"
    assert kind("gem", D * (1 + 3e-5)).kind == "times a constant"


def test_a_factor_is_a_constant_only_if_all_components_have_it():
    found = kind("gem", 2 * D)
    assert (found.kind, found.factor, found.error) == ("times a constant", 2.0, 1.0)
    assert kind("gem", D * [2, 2, 2, 2.1]).kind == "another quantity"
    assert kind("gem", -0.5 * D).factor == -0.5
    # Two numbers that are not 0 always have one factor, if they are answered by two: it says nothing.
    assert kind("gem", [2.0, 4.0], definitions={"": [1.0, 2.0]}).kind == "another quantity"


def test_the_batch_size():
    assert kind("mas", D, D, D * (1 + 1e-7)).kind == "exact"
    assert kind("mas", D, D, D * (1 + 3e-5)).kind == "depends on the batch size"
    found = kind("mas", 2 * D, D, D / 4)
    assert found.kind == "depends on the batch size" and found.by_batch == (2.0, 1.0, 0.25)
    assert kind("mas", 2 * D, 2 * D, 2 * D).kind == "times a constant"


def test_no_effect_at_any_strength():
    assert kind("lwf", D, 0 * D, 1e6 * D).kind == "exact"
    assert kind("lwf", 3 * D, 3 * D, 3 * D).kind == "no effect"
    assert kind("gem", 0 * D).kind == "no effect"
    cut = kind("lwf", 2 * D, 0 * D, 0 * D)  # cut off at a huge strength, yet with an effect at a moderate one
    assert (cut.kind, cut.text) == ("times a constant", "at strength 1e6 as at 0")


def test_a_penalty_that_moves_no_weight_has_no_effect_whatever_its_value():
    value = [[lam * 7.0, 0, 0, 0] for lam in (5.0, 0.0, 1e6)]
    assert kind("ewc_2", *value).kind == "no effect"
    assert kind("ewc_2", D, 0 * D, 1e6 * D).kind == "exact"


def test_the_nearest_reading_is_named_and_a_constant_of_another_one_is_found():
    readings = {"near": D + 0.1, "far": 10 * D}
    assert kind("gem", D + 0.1, definitions=readings).of == "near"
    found = kind("gem", D, definitions=readings)
    assert (found.kind, found.of, found.factor) == ("times a constant", "far", 0.1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("ValueError: no", Cell("refused", text="ValueError: no")),
        ("ModuleNotFoundError: No module named 'x'", Cell("not run", text="ModuleNotFoundError: No module named 'x'")),
        ([1.0, np.nan, 0.5, np.inf], Cell("another quantity", text="2 of 4 are no numbers")),
        ([1.0, -2.0], Cell("another quantity", text="2 numbers in place of 4")),
        ([], Cell("another quantity", text="0 numbers in place of 4")),
    ],
)
def test_errors_and_what_is_no_answer(answer, expected):
    assert str(kind("gem", answer)) == str(expected)


def test_a_case_without_an_answer_is_not_run():
    assert kind("mas", D).kind == "not run"
    assert classify("gem", {}, {"": D}).kind == "not run"
    assert kind("mas", D, "RuntimeError", D).kind == "refused"


def test_a_claim_is_a_kind_or_a_factor():
    constant = Cell("times a constant", factor=2.2222)
    assert holds("times 2.222", constant) and not holds("times 2", constant) and not holds("exact", constant)
    for name in KINDS:
        assert not holds("times 2", Cell(name, factor=1.0))
        assert name == "times a constant" or holds(name, Cell(name))

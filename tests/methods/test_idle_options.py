"""An option that does nothing beside the others is refused, so that nobody believes a number to be another one."""

import pytest
import torch

import methods
from methods.base.errors import UserError
from tests.support import toy

ALONE = {  # an option of a method, with a value; and what gives it an effect
    ("dgr", "KD"): ("sum", {"distill": True}),
    ("dgr", "T"): (3.0, {"distill": True}),
    ("ewc", "fisher_batch"): (4, {"fisher": "batched_rescaled"}),
    ("gem", "eps_relative"): (True, {"eps": 0.3, "margin": 0.0, "per_task": 8}),
    ("gem", "margin_mode"): ("shift", {"margin": 0.5, "per_task": 8}),
    ("icarl", "flips"): (True, {"classifier": "nme"}),
    ("icarl", "selection"): ("random", {"K": 13}),
    ("icarl", "share"): ("ceil", {"K": 13}),
    ("icarl", "unit_mean"): (False, {"selection": "herding"}),
    ("mas", "batch"): (4, {"per_sample": False}),
    ("mas", "by_class"): (True, {"per_sample": False}),
    ("mas", "from_zero"): (True, {"ema": 0.5}),
    ("online_ewc", "fisher_batch"): (4, {"fisher": "batched"}),
    ("rwalk", "per_class"): (3, {"sampler": "uniform"}),
    ("scp", "from_zero"): (True, {"ema": 0.5}),
}
WITHOUT = {
    "eps_relative": {"eps": 0.0},
    "margin_mode": {"margin": 0.0},
    "flips": {"classifier": "hybrid1"},
    "selection": {"K": 0, "classifier": "hybrid1"},
    "share": {"per_class": 2},
    "unit_mean": {"selection": "random"},
    "from_zero": {"ema": None},
}


def test_the_cases_are_all_that_methods_declare():
    assert set(ALONE) == {(name, option) for name, cls in toy.CLASSES.items() for option in cls.needs}


@pytest.mark.parametrize(("name", "option"), ALONE)
def test_an_option_without_effect_is_refused(name, option):
    value, wanted = ALONE[name, option]
    others = WITHOUT.get(option, {})
    toy.make(name, **others)
    with pytest.raises(UserError, match=f"^{option} = {value!r} has no effect without ") as error:
        toy.make(name, **others, **{option: value})
    assert "\n" not in str(error.value)
    assert getattr(toy.make(name, **wanted, **{option: value}), option) == value


@pytest.mark.parametrize(("name", "option"), ALONE)
def test_what_is_refused_changes_nothing_to_the_bit_and_has_an_effect_with_what_it_needs(name, option):
    value, wanted = ALONE[name, option]
    scenario = toy.CLASSES[name].scenarios[-1]
    stream = toy.stream(scenario)

    def trained(others, given):
        made = toy.make(name, **others)
        vars(made).update(given)  # past the refusal
        counts, theta = toy.run(made, stream)
        return theta, counts

    def same(others):
        (theta, counts), (other_theta, other_counts) = (trained(others, given) for given in ({}, {option: value}))
        return torch.equal(theta, other_theta) and counts == other_counts

    assert same(WITHOUT.get(option, {}))
    assert not same(wanted)


def test_a_preset_may_give_what_its_other_options_do_not_use():
    """The authors' code has a mean over units. Without distillation it says nothing, and nobody gave it."""
    assert methods.make("dgr", preset="vdv2018").KD == "mean_T2"
    assert methods.make("dgr", preset="vdv2018", KD="mean_T2").KD == "mean_T2"
    assert methods.make("mas", preset="official", per_sample=True, lam=1.0).batch == 200
    with pytest.raises(UserError, match="KD = 'sum' has no effect"):
        methods.make("dgr", preset="vdv2018", KD="sum")


def test_herding_has_nothing_to_choose_without_exemplars():
    with pytest.raises(UserError, match="unit_mean = False has no effect without exemplars by herding"):
        toy.make("icarl", K=0, classifier="hybrid1", unit_mean=False)

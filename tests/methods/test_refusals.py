"""Options that make no sense: one line that says what is wrong."""

import math
from dataclasses import asdict

import pytest

import methods
from methods.base.errors import UserError
from tests.support import toy

STRENGTHS = {name: methods.find(name).strength for name in methods.names() if methods.find(name).strength}
TAKES_A_LIST = ("ewc",)  # a strength for each task


def refused(match, name, **options):
    with pytest.raises(UserError, match=match) as error:
        methods.make(name, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bad", [-1, -1e-9, math.nan, math.inf, -math.inf, True, "1", None, [1.0]])
@pytest.mark.parametrize("name", STRENGTHS)
def test_strength(name, bad):
    bad = [1.0, bad[0], -1.0] if isinstance(bad, list) and name in TAKES_A_LIST else bad
    with pytest.raises(UserError, match=f"{STRENGTHS[name]} must be a finite number >= 0") as error:
        toy.make(name, **{STRENGTHS[name]: bad})
    assert str(error.value).endswith(f"got {bad!r}")


@pytest.mark.parametrize("name", STRENGTHS)
def test_strength_may_be_an_integer_or_zero(name):
    for value in (0, 3, 0.5):
        assert getattr(toy.make(name, **{STRENGTHS[name]: value}), STRENGTHS[name]) == value


@pytest.mark.parametrize("name", methods.names())
def test_unknown_names_are_answered_with_the_nearest(name):
    refused(f"unknown method '{name}x'; the nearest is '{name}'", f"{name}x")
    refused(f"unknown option of {name} 'nonsense'", name, nonsense=1)
    refused(f"unknown preset of {name} 'nonsense'", name, preset="nonsense")
    for preset in methods.find(name).presets:
        refused(f"the nearest is '{preset}'", name, preset=f"{preset}x")
        assert asdict(toy.make(name, preset=preset)).items() >= methods.find(name).presets[preset].items()


@pytest.mark.parametrize("name", [name for name in methods.names() if toy.required(methods.find(name))])
def test_missing_options_are_named(name):
    refused(f"{name}: missing .*{toy.required(methods.find(name))[0]}", name)


def test_nearest_option_and_the_word_of_options_before_presets():
    refused("unknown option of ewc 'lamb'; the nearest is 'lam'", "ewc", lamb=1.0)
    refused("unknown option of si 'clamps'; the nearest is 'clamp'", "si", c=1.0, clamps="none")
    assert methods.make("si", "hsu", c=1.0, clamp="increment").clamp == "increment"
    assert methods.make("si", "hsu", c=1.0).clamp == "none"


WHOLE = [0, -1, 1.5, "8", True, math.nan]


@pytest.mark.parametrize(
    ("name", "option", "bad"),
    [
        *[(name, "fisher", bad) for name in ("ewc", "online_ewc") for bad in ("exakt", None, 3)],
        *[(name, "n_samples", bad) for name in ("ewc", "online_ewc") for bad in WHOLE],
        *[(name, "fisher_batch", bad) for name in ("ewc", "online_ewc") for bad in [*WHOLE, None]],
        *[("mas", "batch", bad) for bad in [*WHOLE, None]],
        *[("rehearsal", "budget", bad) for bad in [*WHOLE, None]],
        *[("replay", option, bad) for option in ("memory", "batch_memory") for bad in [*WHOLE, None]],
        *[("replay", option, bad) for option in ("buffer", "weighting") for bad in ("resevoir", None, 1)],
        *[("replay", "replay_current", bad) for bad in (None, 1, "true")],
        *[("online_ewc", "gamma", bad) for bad in (-0.1, 1.1, math.nan, math.inf, "1", None, True)],
        *[("si", "xi", bad) for bad in (0, -1.0, math.nan, math.inf, "1", None, True)],
        *[("si", "clamp", bad) for bad in ("sum", None, 0)],
    ],
)
def test_other_options(name, option, bad):
    with pytest.raises(UserError, match=rf"^(unknown )?{option}\b") as error:
        toy.make(name, **{option: bad})
    assert repr(bad) in str(error.value)

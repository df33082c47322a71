"""The regularisation methods as other code computes them: whole runs in float64 against the second implementation."""

from dataclasses import asdict, replace

import pytest
import torch

import methods
from tests.support import slow_methods, slow_penalties, toy

SLOW = vars(slow_methods) | vars(slow_penalties)
NAMES = ("ewc", "ewcpp", "l2", "mas", "online_ewc", "rwalk", "scp", "si")
PRESETS = {  # what each is, for the second implementation; its name, where that is another
    ("ewc", "avalanche"): {"fisher_estimator": "batched"},
    ("ewc", "clarena"): {"fisher_estimator": "batched"},
    ("ewc", "gem"): {"fisher_estimator": "batched"},
    ("ewc", "hsu"): {"fisher_estimator": "argmax"},
    ("ewc", "vdv"): {},
    ("ewcpp", "released"): {"released": True},
    ("l2", "hsu"): {},
    ("mas", "agem"): {"per_sample": False, "ema": 0.0},
    ("mas", "avalanche"): {"per_sample": False, "ema": 0.5},
    ("mas", "facil"): {"per_sample": False, "norm": "l2", "ema": 0.5, "from_zero": True},
    ("mas", "hsu"): {"per_sample": False, "unit_mean": True},
    ("mas", "official"): {"per_sample": False},
    ("online_ewc", "facil"): {"slow": "facil_ewc"},
    ("online_ewc", "hsu"): {"fisher_estimator": "argmax"},
    ("online_ewc", "mammoth"): {"fisher_estimator": "p_weighted"},
    ("rwalk", "released"): {"slow": "released_rwalk"},
    ("scp", "author"): {"from_zero": True},
    ("si", "agem"): {"xi": 1e-3, "clamp": "increment"},
    ("si", "capymoa"): {"xi": 0.1, "clamp": "increment"},
    ("si", "hsu"): {"xi": 0.1, "clamp": "none"},
    ("si", "maltoni"): {"xi": 1e-7, "clamp": "none", "grad": "total", "upper_clip": 1e-3},
    ("si", "pathint"): {"xi": 0.1, "from_zero": True},
    ("si", "vdv"): {"xi": 0.1, "clamp": "none", "grad": "total"},
}
GIVEN = {  # what both are given: sizes and strengths that suit the toy stream
    ("ewc", "avalanche"): {"fisher_batch": 4},
    ("ewc", "clarena"): {"fisher_batch": 4},
    ("ewc", "gem"): {"n_samples": 6, "fisher_batch": 6},
    ("ewcpp", "released"): {"interval": 4},
    ("mas", "agem"): {"batch": 4},
    ("mas", "avalanche"): {"batch": 4},
    ("mas", "facil"): {"batch": 4},
    ("mas", "hsu"): {"batch": 4},
    ("mas", "official"): {"batch": 5},
    ("online_ewc", "facil"): {"lam": 30.0, "fisher_batch": 4},
    ("rwalk", "released"): {"interval": 4},
    ("scp", "author"): {"slices": 3},
    ("si", "maltoni"): {"c": 0.003, "upper_clip": 20.0},
}
OPTIONS = [
    ("mas", {"norm": "l2"}),
    ("mas", {"norm": "l2", "unit_mean": True}),
    ("mas", {"ema": 0.3}),
    ("mas", {"ema": 0.3, "from_zero": True}),
    ("scp", {"ema": 0.3, "from_zero": True}),
    ("si", {"grad": "total"}),
    ("si", {"xi": 0.01, "upper_clip": 0.05}),
    ("si", {"from_zero": True}),
]
TRAIN = {
    "sgd": replace(toy.TRAIN, batch=5),
    "adam": replace(toy.TRAIN, batch=5, optimizer="adam", lr=0.03),  # its path integrals are below zero here and there
}


def check(scenario, train, name, preset, given, theirs, slow):
    """A whole run is the second implementation's, and is not fine-tuning."""
    stream = toy.stream(scenario, sizes=toy.SMALL)
    given = {methods.find(name).strength: 2.0} | given
    expected = SLOW[slow](toy.module(stream), stream, TRAIN[train], 1, **theirs | given)
    _, theta = toy.run(toy.make(name, preset=preset, **given), stream, train=TRAIN[train])
    torch.testing.assert_close(theta, expected, rtol=1e-9, atol=1e-12)
    _, naive = toy.fine_tuned(scenario, torch.float64, toy.SMALL, TRAIN[train])
    assert float((theta - naive).abs().max()) > 1e-5


def test_every_preset_is_here():
    assert set(PRESETS) == {(name, preset) for name in NAMES for preset in methods.find(name).presets}


@pytest.mark.parametrize(("scenario", "train"), [("task", "sgd"), ("domain", "sgd"), ("class", "adam")])
@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_preset(name, preset, scenario, train):
    theirs = {"slow": name} | PRESETS[name, preset]
    check(scenario, train, name, preset, GIVEN.get((name, preset), {}), theirs, theirs.pop("slow"))


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_option(name, options):
    check("class", "sgd", name, None, options, {}, name)


@pytest.mark.parametrize("options", [{"interval": 1, "alpha": 0.4}, {"interval": 3, "eps": 0.01}])
def test_released_rwalk(options):
    """With several intervals in a task, and with one for each step."""
    check("class", "sgd", "rwalk", "released", options, {}, "released_rwalk")


@pytest.mark.parametrize(
    ("name", "preset", "theirs"),
    [
        ("ewc", "gem", {"n_samples": 1000, "fisher_batch": 1000}),
        ("mas", "agem", {"batch": 10}),
        ("mas", "official", {"batch": 200}),
        ("si", "hsu", {"clamp": "none"}),
        ("si", "maltoni", {"upper_clip": 1e-3}),
        ("si", "vdv", {"clamp": "none"}),
    ],
)
def test_values_that_small_runs_do_not_show(name, preset, theirs):
    """They are given otherwise there, or no sum of path integrals is below zero."""
    assert asdict(toy.make(name, preset=preset)).items() >= theirs.items()


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_strength_zero_and_the_first_task_are_naive_to_the_bit(name, preset, build=toy.noisy):
    stream = toy.stream("class", torch.float32)
    off = {methods.find(name).strength: 0.0}
    _, naive = toy.fine_tuned("class", build=build)
    assert torch.equal(toy.run(toy.make(name, preset=preset, **off), stream, build=build)[1], naive)
    first = replace(stream, tasks=stream.tasks[:1])
    _, alone = toy.fine_tuned("class", build=build, n_tasks=1)
    assert torch.equal(toy.run(toy.make(name, preset=preset), first, build=build)[1], alone)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_one_network_is_its_slice_of_several(name, preset):
    stream = toy.stream("class", sizes=toy.SMALL)
    given = GIVEN.get((name, preset), {})
    _, thetas = toy.run(toy.make(name, preset=preset, **given), stream, (1, 2))
    for r, seed in enumerate((1, 2)):
        _, alone = toy.run(toy.make(name, preset=preset, **given), stream, (seed,))
        torch.testing.assert_close(thetas[r], alone, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("name", "preset"), [*((name, None) for name in NAMES), *PRESETS])
def test_state_between_tasks_is_plain(name, preset):
    method = toy.make(name, preset=preset)
    toy.run(method, toy.stream("class", sizes=toy.SMALL))
    assert [attribute for attribute, value in method.state().items() if not toy.plain(value)] == []

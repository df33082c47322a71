"""Whole runs in float64 against the second implementation."""

from dataclasses import replace

import pytest
import torch

from tests.support import slow_methods, slow_penalties, toy

CASES = {
    "naive": {},
    "l2": {"lam": 0.7},
    "l2 per_task": {"lam": 0.7, "per_task": True},
    "ewc": {"lam": 3.0},
    "ewc empirical": {"lam": 3.0, "fisher": "empirical"},
    "ewc argmax": {"lam": 3.0, "fisher": "argmax"},
    "ewc batched": {"lam": 3.0, "fisher": "batched", "fisher_batch": 4},
    "online_ewc": {"lam": 3.0},
    "online_ewc gamma": {"lam": 3.0, "gamma": 0.6},
    "mas": {"lam": 0.3},
    "mas unit_mean": {"lam": 0.3, "unit_mean": True},
    "mas batches": {"lam": 0.3, "per_sample": False, "unit_mean": True, "batch": 4},
    "si": {"c": 2.0},
    "si increment": {"c": 2.0, "xi": 0.01, "clamp": "increment"},
    "si none": {"c": 2.0, "xi": 0.01, "clamp": "none"},
    "ewcpp": {"lam": 3.0, "interval": 4},
    "ewcpp short": {"lam": 3.0, "alpha": 0.3, "interval": 3},
    "ewcpp released": {"lam": 1.0, "alpha": 0.9, "interval": 4, "preset": "released"},
    "rwalk": {"lam": 0.5, "interval": 4},
    "rwalk short": {"lam": 0.5, "alpha": 0.4, "interval": 3, "eps": 0.01},
    "rwalk mof": {"lam": 0.5, "interval": 4, "sampler": "mof", "per_class": 3},
    "scp": {"lam": 1.0},
    "scp ema": {"lam": 1.0, "ema": 0.2},
    "scp sum": {"lam": 1.0, "ema": None},
    "gem": {"per_task": 8},
    "gem paper": {"per_task": 8, "margin_mode": "shift"},
    "gem pure": {"per_task": 40, "margin": 0.0, "eps": 0.0},
    "gem relative": {"per_task": 8, "margin": 0.1, "eps": 0.3, "eps_relative": True},
    "gem random": {"per_task": 6, "memory": "random"},
    "gem rehearse": {"per_task": 3, "memory": "random", "rehearse": True},
    "gem hsu": {"budget": 5, "preset": "hsu"},
    "gem hsu large": {"budget": 40, "preset": "hsu"},
    "agem": {"per_class": 3},
    "agem batch": {"per_class": 6, "batch_memory": 4},
    "agem eps": {"per_class": 3, "eps": 0.1},
    "agem vdv": {"per_class": 3, "preset": "vdv"},
    "agem mammoth": {"preset": "mammoth"},
    "lwf": {},
    "lwf warm": {"lam": 2.5, "T": 4.0},
    "lwf vdv": {"preset": "vdv"},
    "lwf vdv warm": {"lam": 2.5, "T": 4.0, "preset": "vdv"},
    "lwf vdv2022 warm": {"lam": 2.5, "T": 4.0, "preset": "vdv2022"},
    "lwf unit_mean": {"unit_mean": True},
    "lwf vdv unit_mean": {"preset": "vdv", "unit_mean": True},
    "rehearsal": {"budget": 5},
    "rehearsal large": {"budget": 40},
}
SLOW = vars(slow_methods) | vars(slow_penalties)
SGD = replace(toy.TRAIN, batch=5)
ADAM = replace(SGD, optimizer="adam", lr=0.02)


def check(case, scenario, train, active_units="seen"):
    name, _, _ = case.partition(" ")
    stream = toy.stream(scenario, sizes=toy.SMALL, active_units=active_units)
    theirs = {"fisher_estimator" if option == "fisher" else option: value for option, value in CASES[case].items()}
    if "preset" in theirs:
        theirs[theirs.pop("preset")] = True
    expected = SLOW[name](toy.module(stream), stream, train, 1, **theirs)
    _, theta = toy.run(toy.make(name, **CASES[case]), stream, train=train)
    torch.testing.assert_close(theta, expected, rtol=1e-9, atol=1e-12)


SCENARIOS = ("task", "domain", "class")
# What an option changes is the same in all scenarios, but for the units of LwF.
WHOLE = [(case, s) for case in CASES for s in SCENARIOS if " " not in case or case.startswith("lwf") or s == "class"]


@pytest.mark.parametrize(("case", "scenario"), WHOLE)
def test_whole_run(case, scenario):
    check(case, scenario, SGD)


@pytest.mark.parametrize("active_units", ["all", "current"])
@pytest.mark.parametrize("case", ["lwf vdv", "lwf vdv2022 warm", "lwf vdv unit_mean"])
def test_whole_run_with_other_units_in_training(case, active_units):
    check(case, "class", SGD, active_units)


@pytest.mark.parametrize("case", ["naive", "ewc", "si", "ewcpp", "rwalk", "scp", "gem", "agem", "lwf"])
def test_whole_run_with_adam(case):
    check(case, "class", ADAM)

"""State that goes from one object to another, parts and all, without its generators."""

from dataclasses import asdict

import pytest
import torch

import methods
from methods.base.state import Stateful
from tests.support import toy


class Part(Stateful):
    def __init__(self):
        self.values, self.count = torch.zeros(3), 0


class Whole(Stateful):
    def __init__(self):
        self.part, self.draws, self.kept = Part(), torch.Generator(), None


def test_parts_are_restored_in_place_and_generators_are_left_out():
    one, other = Whole(), Whole()
    one.part.values, one.part.count, one.kept = torch.ones(3), 4, [1, 2]
    state = one.state()
    assert set(state) == {"part", "kept"} and set(state["part"]) == {"values", "count"}
    part, draws = other.part, other.draws
    other.restore(state)
    assert other.part is part and other.draws is draws
    assert torch.equal(part.values, torch.ones(3)) and part.count == 4 and other.kept == [1, 2]


@pytest.mark.parametrize("name", methods.names())
def test_a_method_restores_what_it_gave_and_no_option(name):
    stream = toy.stream("class", sizes=toy.SMALL)
    trained, fresh = toy.make(name), toy.make(name)
    toy.run(trained, stream)
    toy.begin(fresh, stream)
    state = trained.state()
    assert not state.keys() & asdict(trained).keys() and not state.keys() & {"net", "rng"}
    fresh.restore(state)
    assert fresh == trained and fresh.state().keys() == state.keys()

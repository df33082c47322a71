"""Options as their types declare them: what is taken, how it is stored, and what is refused."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pytest
import torch

import methods
from benchmarks.learner import Train
from methods.base.errors import UserError
from methods.base.options import Count, CountOrZero, Positive, check_options, checked


@dataclass(frozen=True)
class Options:
    size: Count
    rate: Positive | None = None
    kind: Literal["a", "b"] = "a"
    flag: bool = False
    any: float = 0.0
    sizes: Count | tuple[Count, ...] = ()
    seed: Literal["seeded"] | CountOrZero = 0

    def __post_init__(self):
        check_options(self)


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3), np.arange(4)[3], np.array(3), torch.tensor(3), 3])
def test_whole_scalars_of_any_kind_are_stored_as_int(number):
    assert type(Options(number).size) is int and Options(number) == Options(3)
    assert json.dumps(asdict(methods.make("icarl", K=number))) == json.dumps(asdict(methods.make("icarl", K=3)))
    assert Train("mlp-8", "sgd", 0.1, "keep", number, epochs=1) == Train("mlp-8", "sgd", 0.1, "keep", 3, epochs=1)


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), 0.5])
def test_other_scalars_are_stored_as_float(number):
    for stored in (Options(1, rate=number).rate, methods.make("ewc", lam=number).lam):
        assert type(stored) is float and stored == 0.5
    assert type(Options(1, rate=2).rate) is float


def test_a_flag_or_a_word_of_numpys_is_stored_as_a_plain_one():
    found = Options(1, kind=np.str_("b"), flag=np.bool_(True))
    assert (type(found.kind), type(found.flag)) == (str, bool) and found == Options(1, kind="b", flag=True)


@pytest.mark.parametrize(
    ("option", "bad", "words"),
    [
        *[("size", bad, "size must be a whole number >= 1, got ") for bad in (0, 1.0, True, np.bool_(True), "1", None)],
        *[("size", bad, "size must be a whole number >= 1, got ") for bad in (np.array([1]), torch.ones(1), [1])],
        *[("rate", bad, "rate must be a finite number > 0, or None, got ") for bad in (0, True, 10**400, float("nan"))],
        *[
            ("kind", bad, "unknown kind .*; the nearest is '[ab]'")
            for bad in ("c", None, 0, ["a"], np.array(["a"] * 2))
        ],
        *[("flag", bad, "flag must be true or false, got ") for bad in (0, 1, None, "true")],
        ("any", -float("inf"), "any must be a finite number, got -inf"),
        *[
            ("sizes", bad, "sizes must be a whole number >= 1, or a list, each item a whole number >= 1, got ")
            for bad in (0, [1, 0], [1.0], [True], ["1"], "12", [[1]], None)
        ],
        *[
            ("seed", bad, "seed must be 'seeded', or a whole number >= 0, got ")
            for bad in ("sedded", -1, 1.5, None, False, ["seeded"])
        ],
    ],
)
def test_what_the_type_does_not_allow_is_refused(option, bad, words):
    with pytest.raises(UserError, match=f"^{words}"):
        Options(**{"size": 1, option: bad})


def test_a_list_is_stored_as_a_tuple_of_plain_numbers():
    for given in ([2, np.int64(3)], (2, 3), [torch.tensor(2), 3]):
        found = Options(1, sizes=given).sizes
        assert found == (2, 3) and [type(item) for item in found] == [int, int]
    assert (Options(1, sizes=4).sizes, Options(1, seed="seeded").seed, Options(1, seed=0).seed) == (4, "seeded", 0)


@pytest.mark.parametrize(
    ("value", "fits"),
    [({}, True), ({"a": [1, None], "b": []}, True), ({"a": [1.5]}, False), ({"a": 1}, False), ([[1]], False)],
)
def test_each_value_of_a_table_is_checked(value, fits):
    kind = dict[str, list[CountOrZero | None]]
    if fits:
        assert checked("found", value, kind) == value
        return
    words = "found must be a table, each value a list, each item a whole number >= 0, or None, got "
    with pytest.raises(UserError, match=f"^{words}"):
        checked("found", value, kind)


def test_a_type_that_no_option_can_have_is_named():
    @dataclass
    class Wrong:
        sizes: list = None

        __post_init__ = check_options

    with pytest.raises(TypeError, match="option sizes is declared as <class 'list'>"):
        Wrong()


HEAD = (
    "from dataclasses import asdict, dataclass\nfrom methods.base.method import Method\nfrom methods.ewc import EWC\n"
)
FILES = {
    "variant": HEAD + "@dataclass\nclass Mine(EWC):\n    twist: float = 1.0\n",
    "pair": HEAD + "@dataclass\nclass A(Method):\n    a: int = 1\n@dataclass\nclass B(A):\n    b: int = 2\n",
    "helped": HEAD + "class Helper:\n    pass\n@dataclass\nclass Helped(Method):\n    pass\n",
    "plain": HEAD + "class Plain(Method):\n    lam: float = 1.0\n",
    "late": HEAD + "class Late(EWC):\n    twist: float = 1.0\n",
    "two": HEAD + "@dataclass\nclass A(Method):\n    pass\n@dataclass\nclass B(Method):\n    pass\n",
    "nothing": HEAD,
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """`methods.make` of a file that lies among the methods for as long as the test."""

    def make(name, **options):
        (tmp_path / f"{name}.py").write_text(FILES[name], encoding="utf-8")
        monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
        monkeypatch.delitem(sys.modules, f"methods.{name}", raising=False)
        return methods.make(name, **options)

    yield make
    for name in FILES:
        sys.modules.pop(f"methods.{name}", None)


def test_a_method_may_derive_from_another_and_have_helpers_beside_it(made):
    assert asdict(made("variant", lam=2.0))["twist"] == 1.0
    assert asdict(made("pair")) == {"a": 1, "b": 2}
    assert type(made("helped")).__name__ == "Helped"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("plain", {"lam": 2.0}, "methods/plain.py: write @dataclass above class Plain"),
        ("late", {"lam": 2.0}, "methods/late.py: write @dataclass above class Late"),
        ("two", {}, "methods/two.py needs one class of its own that derives from Method, found A and B"),
        ("nothing", {}, "methods/nothing.py needs one class of its own that derives from Method, found none"),
    ],
)
def test_a_file_that_is_no_method_is_named(made, name, options, words):
    with pytest.raises(UserError, match=f"^{words}"):
        made(name, **options)

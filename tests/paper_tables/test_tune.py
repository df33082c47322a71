"""Searched options: tried on held-out training data with seeds of their own, every trial in the ledger."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.files import REFERENCE
from methods.base.errors import UserError
from paper_tables import caption, declaration, ledger, render, tune
from paper_tables.__main__ import main
from paper_tables.declaration import load
from paper_tables.references import recorded_seeds
from paper_tables.runs import runs_of
from tests.support.sweeps import Inline

TABLE = """
title     = "Searched"
source    = "none"
metric    = "average_accuracy"
margin    = 1.0
scenarios = ["task", "class"]
seeds     = 2
stream    = { name = "splitdigits", tasks = 2 }
train     = { net = "mlp-4", optimizer = "sgd", lr = 1e-1, optimizer_state = "keep", batch = 64, epochs = 1 }

[[row]]
label    = "L2"
method   = { name = "l2", lam = "searched" }
search   = { lam = [1, 10, 1e30] }
strength = "searched"

[[row]]
label  = "Adam"
method = { name = "naive" }
"""


@pytest.fixture
def declare(tmp_path):
    """A function: replacements in the table's text -> the loaded table."""
    folder = tmp_path / "paper_tables"
    (folder / "published").mkdir(parents=True)

    def declare(*changes):
        text = TABLE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "searched.toml").write_text(text, encoding="utf-8")
        return load("searched", folder)

    declare.folder = folder / "searches"
    return declare


def trials(scores, scenarios=("task", "class")):
    """A ledger: scores by value, one for each seed."""
    return [
        dict(zip(ledger.COLUMNS, ("L2", scenario, "lam", value, seed, score, "", "", ""), strict=True))
        for scenario in scenarios
        for value, by_seed in scores.items()
        for seed, score in zip(ledger.SEEDS, by_seed, strict=True)
    ]


def test_trials_are_every_value_seed_and_scenario_on_held_out_data(declare):
    found = tune.trials_of(declare())
    assert len(found) == 2 * 3 * 3
    assert {(t["scenario"], t["value"], t["seed"]) for t, _ in found} == {
        (s, v, seed) for s in ("task", "class") for v in (1.0, 10.0, 1e30) for seed in (101, 102, 103)
    }
    for trial, run in found:
        assert run.stream.options["evaluate"] == "held-out"
        assert (run.scenario, run.method.options["lam"], run.seed) == (
            trial["scenario"],
            trial["value"],
            trial["seed"],
        )
        assert (trial["row"], trial["option"], run.method.name) == ("L2", "lam", "l2")


def test_equal_numbers_are_one_value(declare):
    row = declare(("[1, 10, 1e30]", "[1, 10, 1.0, 1e1]")).rows[0]
    assert row.search == {"lam": (1.0, 10.0)}


def test_the_values_of_the_table_are_those_of_rows_that_search_and_name_none(declare):
    for_all = ("seeds ", "search = { lam = [2, 20] }\nseeds ")
    searched, other = declare(for_all, ("search   = { lam = [1, 10, 1e30] }\n", "")).rows
    assert (searched.search, other.search) == ({"lam": (2.0, 20.0)}, {})
    assert declare(for_all).rows[0].search == {"lam": (1.0, 10.0, 1e30)}


def test_a_row_against_another_is_searched_around(declare, tmp_path, monkeypatch):
    """Only the searched rows are scored; an intransigence, which one run alone does not have, is in no one's way."""
    row = '[[row]]\nlabel = "Joint"\nmethod = { name = "joint" }\n\n'
    against = 'method = { name = "naive" }\nmetric = "intransigence"\nreference = "Joint"'
    declared = declare(
        ('[[row]]\nlabel  = "Adam"', row + '[[row]]\nlabel  = "Adam"'), ('method = { name = "naive" }', against)
    )
    monkeypatch.setattr(tune, "sweep", lambda *_: None)
    made_by = {"commit": "c", "data": "d", "digest": "e"}
    found = SimpleNamespace(reason=None, accuracy=np.full((3, 2), 0.5), total=np.full(2, 100), **made_by)
    monkeypatch.setattr(tune, "survey", lambda runs, *_: SimpleNamespace(records=[found] * len(runs)))
    monkeypatch.setattr(ledger, "write", lambda name, trials: trials)
    done = tune.tune(declared, tmp_path, tmp_path, 1, "cpu")
    assert {(trial["row"], trial["score"]) for trial in done} == {("L2", 50)}
    assert all(trial.items() >= made_by.items() for trial in done)


def test_the_best_mean_is_taken_and_the_smallest_among_equals(declare):
    ledger.write("searched", trials({1.0: (76, 60, 70), 10.0: (80, 66, 60), 1e30: (None, 99, 99)}), declare.folder)
    row = declare().rows[0]
    assert row.run("task", 1).method.options["lam"] == 1.0
    ledger.write("searched", trials({1.0: (76, 60, 70), 10.0: (80, 67, 60), 1e30: (None, 99, 99)}), declare.folder)
    row = declare().rows[0]
    assert row.run("class", 1).method.options["lam"] == 10.0
    assert row.run("class", 1).stream.options["evaluate"] == "test"


def test_scenarios_are_searched_apart(declare):
    both = trials({1.0: (1, 1, 1), 10.0: (2, 2, 2), 1e30: (0, 0, 0)}, ["task"])
    both += trials({1.0: (2, 2, 2), 10.0: (1, 1, 1), 1e30: (0, 0, 0)}, ["class"])
    ledger.write("searched", both, declare.folder)
    row = declare().rows[0]
    assert [row.run(scenario, 1).method.options["lam"] for scenario in ("task", "class")] == [10.0, 1.0]


def test_a_search_that_is_not_done_or_not_complete_is_refused_with_the_command(declare):
    with pytest.raises(ledger.NotSearched, match=r"lam of L2, task-incremental.*3 of 3 trials.*make tune-searched"):
        runs_of(declare(), (1,))
    assert recorded_seeds(declare(), REFERENCE) == ()  # it is shown as not run
    some = trials({1.0: (1, 1, 1), 10.0: (2, 2, 2), 1e30: (0, 0, 0)})
    ledger.write("searched", [trial for trial in some if trial["seed"] != 102 or trial["value"] != 10], declare.folder)
    with pytest.raises(ledger.NotSearched, match=r"1 of 9 trials are missing"):
        runs_of(declare(), (1,))
    ledger.write("searched", some, declare.folder)
    with pytest.raises(ledger.NotSearched, match=r"1 of 10 trials are missing"):
        runs_of(declare(("[1, 10, 1e30]", "[1, 10, 1e30, 5]")), (1,))


def test_a_search_in_which_everything_failed(declare):
    for scores in ((None, 1, 1), (1, 1, None)):
        ledger.write("searched", trials(dict.fromkeys((1.0, 10.0, 1e30), scores)), declare.folder)
        with pytest.raises(ledger.NotSearched, match="every run of the search failed: try other values"):
            runs_of(declare(), (1,))


def test_what_is_far_behind_on_the_first_seed_is_not_tried_on_the_others(declare):
    assert ledger.contenders({1.0: 90, 10.0: 85.0, 100.0: 84.99, 1e30: None}) == [1.0, 10.0]
    assert ledger.contenders({1.0: float("nan"), 10.0: 20}) == [10.0] and ledger.contenders({1.0: None}) == []
    some = trials({1.0: (90, 90, 90), 10.0: (85, 97, 97), 1e30: (84.9, None, None)})
    some = [trial for trial in some if trial["score"] is not None]
    ledger.write("searched", some, declare.folder)
    assert declare().rows[0].run("task", 1).method.options["lam"] == 10.0
    ledger.write("searched", [trial for trial in some if trial["value"] != 10 or trial["seed"] != 103], declare.folder)
    with pytest.raises(ledger.NotSearched, match="1 of 7 trials are missing"):
        runs_of(declare(), (1,))


def test_seeds_of_the_search_are_not_reported(declare):
    ledger.write("searched", trials({1.0: (3, 3, 3), 10.0: (2, 2, 2), 1e30: (0, 0, 0)}), declare.folder)
    with pytest.raises(UserError, match="seed 102 was searched with"):
        runs_of(declare(), (1, 102))
    other = declare().rows[1].run("task", 102)  # a row that searches nothing
    place = declare.folder / "results" / other.place
    place.parent.mkdir(parents=True)
    for seed in (2, 102):
        (place.parent / place.name.replace("seed102", f"seed{seed}")).write_text("{}", encoding="utf-8")
    assert recorded_seeds(declare(), declare.folder / "results") == (2,)


@pytest.mark.parametrize(
    "changes",
    [
        (('lam = "searched"', "lam = 1.0"), 'write lam = "searched" in method'),
        (("search   = { lam = [1, 10, 1e30] }\n", ""), 'write lam = "searched" in method'),
        (('strength = "searched"', 'strength = "paper"'), "need one another"),
        (("[1, 10, 1e30]", "[1]"), "must list two different numbers or more"),
        (("[1, 10, 1e30]", '["a", "b"]'), "must list two different numbers or more"),
        (("[1, 10, 1e30]", "[1, 1.0]"), "must list two different numbers or more"),
        (("[1, 10, 1e30]", "[1, inf]"), "must list two different numbers or more"),
        (("[1, 10, 1e30]", "[1, true]"), "must list two different numbers or more"),
        (("[1, 10, 1e30]", f"[1, 1{'0' * 400}]"), "must list two different numbers or more"),
        (("[1, 10, 1e30]", "3"), "must list two different numbers or more"),
        (
            ('lam = "searched"', 'lam = "searched", n_samples = "searched"'),
            ("lam = [1, 10, 1e30]", "lam = [1, 10, 1e30], n_samples = [10, 20]"),
            "search one option at a time: give lam or n_samples a value",
        ),
    ],
)
def test_mistakes_in_the_declaration(declare, changes):
    *replaced, message = changes
    with pytest.raises(UserError, match=message):
        declare(*replaced)


def test_a_file_that_is_no_ledger(declare):
    declare.folder.mkdir()
    (declare.folder / "searched.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"searched.csv is not a ledger .*: remove it, then make tune-searched"):
        declare()
    header = ",".join(ledger.COLUMNS)
    for text in ("", header + "\nL2,task,lam,x,101,3\n", header + "\nL2,task,lam,1,101,3,4,5\n", header + '\n"'):
        (declare.folder / "searched.csv").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="is not a ledger"):
            declare()
    (declare.folder / "searched.csv").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not text in UTF-8"):
        declare()


def test_a_row_may_be_called_like_a_missing_value(tmp_path):
    ledger.write("x", [{**trial, "row": "None"} for trial in trials({1.0: (1, None, 2.5)}, ["task"])], tmp_path)
    assert ledger.read("x", tmp_path).row.tolist() == ["None"] * 3


def test_the_command_trains_scores_and_writes_the_ledger(declare, tmp_path, monkeypatch):
    declare()
    monkeypatch.setattr(declaration, "FOLDER", declare.folder.parent)
    monkeypatch.setattr(declaration.load, "__defaults__", (declare.folder.parent,))
    monkeypatch.setattr(ledger.write, "__defaults__", (declare.folder,))
    monkeypatch.setattr("benchmarks.files.LOCAL", tmp_path / "local")
    monkeypatch.setattr("benchmarks.sweep.Processes", Inline)
    assert main(["tune", "searched", "--jobs", "1"]) == 0
    found = ledger.read("searched", declare.folder)
    first = found[found.seed == 101]
    assert len(first) == 6
    for scenario in ("task", "class"):
        scores = first[first.scenario == scenario].set_index("value").score.to_dict()
        others = found[(found.scenario == scenario) & (found.seed != 101)]
        assert sorted(others.value) == sorted(2 * ledger.contenders(scores))
    failed = found[found.value == 1e30]
    assert failed.score.isna().all()  # they diverged
    assert found[found.value < 1e30].score.between(0, 100).all()
    lam = declare().rows[0].run("task", 1).method.options["lam"]
    means = found[found.scenario == "task"].groupby("value").score.mean()
    assert means[lam] == means.max()


def test_a_table_that_searches_nothing(capsys):
    assert main(["tune", "splitmnist"]) == 2
    assert "searches nothing" in capsys.readouterr().err


def test_the_caption_says_what_was_searched_and_where(declare):
    ledger.write("searched", trials({1.0: (78, 60, 60), 10.0: (80, 61, 60), 1e30: (0, 0, 0)}), declare.folder)
    searched = declare()
    lines = caption.caption(searched, render.frame(searched, {}), (1, 2))
    (line,) = [line for line in lines if line.startswith("Searched")]
    for said in (
        "a tenth of the training data",
        "5 points behind",
        "101 to 103",
        "lam of L2 = 10 (task), 10 (class)",
        "3 values from 1",
    ):
        assert said in line
    assert "paper_tables/searches/searched.csv" in line


def test_the_ledger_comes_back(tmp_path):
    ledger.write("x", trials({1.0: (1, None, 2.5)}), tmp_path)
    found = ledger.read("x", tmp_path)
    assert list(found.columns) == ledger.COLUMNS
    assert found.score.tolist()[0] == 1 and pd.isna(found.score[1]) and found.score[2] == 2.5
    assert ledger.read("other", tmp_path).empty

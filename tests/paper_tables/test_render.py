"""What is rendered of synthetic runs."""

import io
import re
from dataclasses import replace

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from paper_tables import caption, declaration, plot, render
from paper_tables.verdict import verdict
from tests.support.toy_table import RESULTS, SEEDS, failed, run, toy_loader


@pytest.fixture
def toy(tmp_path):
    return toy_loader(tmp_path)


def markdown_rows(text):
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {line[0].strip(): [entry.strip() for entry in line[1:]] for line in lines}


def test_frame_by_hand(toy):
    cells = render.frame(toy(), RESULTS).set_index(["row", "scenario"])
    assert list(cells.index) == [
        ("Adam", "task"),
        ("Adam", "class"),
        ("EWC", "task"),
        ("EWC", "class"),
        ("LwF", "task"),
        ("LwF", "class"),
        ("Offline", "class"),
    ]
    adam = cells.loc["Adam", "task"]
    assert (adam.ours_mean, adam.ours_std, adam.ours_n) == (pytest.approx(90), pytest.approx(1), 3)
    assert (adam.paper_mean, adam.paper_std, adam.paper_n, adam.failed) == (90.0, 1.0, 10, 0)
    expected = verdict([89.0, 90.0, 91.0], toy().rows[0].paper["task"], 1.0)
    assert (adam.verdict, adam.low, adam.high) == (
        expected.word,
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )
    assert cells.loc[("Adam", "class"), "dagger"] and not adam.dagger
    ewc = cells.loc["EWC", "task"]
    assert (ewc.ours_mean, ewc.ours_n, ewc.failed, ewc.verdict) == (pytest.approx(81), 2, 1, "unconfirmed")
    assert ewc.failure == "the loss is NaN at step 7"
    assert cells.loc[("Offline", "class"), "ours_mean"] == pytest.approx(35)
    lwf = cells.loc["LwF", "class"]
    assert lwf.paper_std == pytest.approx(0.33 * 20**0.5) and lwf.verdict == "" and lwf.note == "quoted from elsewhere"


def test_a_failed_run_takes_the_agreement_from_its_cell(toy):
    key = "Adam", "class"
    results = {**RESULTS, key: [*RESULTS[key], failed(4)]}
    before, after = (render.frame(toy(), each).set_index(["row", "scenario"]).loc[key] for each in (RESULTS, results))
    assert (before.verdict, after.verdict, after.failed) == ("reproduced", "inconclusive", 1)
    assert after.note.startswith("a run of ours failed")


def test_markdown_by_hand(toy):
    text = render.markdown(toy(), render.frame(toy(), RESULTS), SEEDS, stale=2)
    rows = markdown_rows(text)
    assert rows[""] == ["task: ours", "paper", "verdict", "class: ours", "paper", "verdict"]
    assert rows["Adam"] == ["90.00±1.00", "90.00±1.00", "+0.00 ?", "20.00±0.25", "20.0", "+0.00 ✓†"]
    assert rows["EWC"] == ["81.00±1.41 (2), failed 1 of 3", "95.00 (n?)", "*", "61.00 (1 of 3 runs)", "–", "–"]
    assert rows["LwF"] == ["–", "99.60±0.13 (20)", "–", "–", "24.17±1.48 (20)", "–"]
    assert rows["Offline"] == ["–", "–", "–", "35.00±0.00", "–", "–"]
    flat = " ".join(text.split())
    for part in (
        "# A toy table A protocol of 100 % & more.",
        "Average accuracy (Offline: micro accuracy) in percent, mean ± sample standard deviation over seeds 1 to 3",
        "the paper's 10 runs",
        "n?: the paper does not say",
        "SEEDS=10 takes as many seeds as the paper",
        "✓ reproduced: the 90 % Welch interval",
        "* unconfirmed: we saw the published number nowhere",
        "† No spread of the paper's is known",
        "Margin: 1 point, fixed before the runs.",
        "2 comparisons: 1 reproduced, 1 inconclusive. At an error rate of 5 %, at most 0.1 false verdicts",
        "Failed runs are in no mean",
        "Failed, EWC task: the loss is NaN at step 7.",
        "Warning, EWC task: too steep.",
        "Inconclusive, Adam task: 6 seeds would settle it.",
        "No verdict, LwF: quoted from elsewhere.",
        "EWC: A note on EWC.",
        "strengths come from: paper (EWC).",
        "Published numbers alone: LwF.",
        "No published value is cited here: EWC class, Offline.",
        "2 stale records",
    ):
        assert part in flat, part
    assert "✗" not in text  # only the marks in use are explained


def test_remarks_are_appended(toy):
    (toy.folder / "toy.md").write_text("## Remarks\n\nWhy a cell differs.\n", encoding="utf-8")
    text = render.markdown(toy(), render.frame(toy(), RESULTS), SEEDS)
    assert text.endswith("\n\n## Remarks\n\nWhy a cell differs.\n")


def test_nothing_run_yet(toy):
    rows = markdown_rows(render.markdown(toy(), render.frame(toy(), {}), SEEDS))
    assert rows["Adam"] == ["0 of 3 runs", "90.00±1.00", "–", "0 of 3 runs", "20.0", "–"]
    assert rows["LwF"][0] == "–"


def test_all_runs_failed(toy):
    results = {("Adam", "task"): [failed(1), failed(2), failed(3)]}
    rows = markdown_rows(render.markdown(toy(), render.frame(toy(), results), SEEDS))
    assert rows["Adam"][:3] == ["failed 3 of 3", "90.00±1.00", "–"]


def test_one_seed(toy):
    results = {("Adam", "task"): [run(3, 88, 90)]}
    text = render.markdown(toy(), render.frame(toy(), results), (3,))
    assert markdown_rows(text)["Adam"][:3] == ["89.00", "90.00±1.00", "-1.00 ?"]
    assert "over seed 3 " in text


def test_a_paper_with_a_single_run(toy):
    single = toy().select("adam")
    cells = render.frame(single, {("Adam", "task"): [run(1, 88, 90)]})
    cells["paper_n"] = 1
    assert " and the paper's single run, where no other number" in " ".join(
        render.markdown(single, cells, (1,)).split()
    )


@pytest.mark.parametrize(("quoted", "said"), [((), None), (("task",), "Adam task"), (("task", "class"), "Adam")])
def test_second_hand_numbers_are_named(toy, quoted, said):
    adam, *others = toy().rows
    paper = {
        s: replace(cell, source="secondary: a copy" if s in quoted else "primary: it") for s, cell in adam.paper.items()
    }
    table = replace(toy(), rows=(replace(adam, paper=paper), *others))
    lines = caption.secondhand(render.frame(table, RESULTS))
    expected = f"Second-hand published numbers, from a text or a rerun that is not the authors': {said}."
    assert lines == ([expected] if said else [])
    alone = replace(table, rows=table.rows[:1])
    (line,) = caption.secondhand(render.frame(alone, RESULTS)) or [""]
    assert line.endswith(": all.") == (len(quoted) == 2)


def test_an_undefined_measure_says_why(toy):
    joint = run(1, 20, 40)
    joint.accuracy[1] = np.nan
    one = toy(('"micro_accuracy"', '"backward_transfer"')).select("offline")
    text = render.markdown(one, render.frame(one, {("Offline", "class"): [joint]}), (1,))
    assert markdown_rows(text)["Offline"] == ["–", "undefined"]
    assert "Undefined, Offline: needs the accuracy after every task" in " ".join(text.split())


def test_intransigence_is_against_the_joint_run_of_the_same_seed(toy):
    """a*_T - R[T, T]: 70 - 62 and 50 - 60; the joint run of seed 3 failed, that of seed 4 was not done."""
    declared = toy(
        ('paper    = { task = "toy/ewc/task" }', 'metric = "intransigence"\nreference = "Offline"'),
        ('scenarios = ["class"]', 'scenarios = ["task", "class"]'),
    )
    assert [row.label for row in declared.select("ewc").rows] == ["EWC", "Offline"]
    assert [row.label for row in declared.select("adam,offline").rows] == ["Adam", "Offline"]
    ours = [run(1, 90, 62), run(2, 90, 60), run(3, 90, 61), run(4, 90, 61)]
    joint = [failed(3), run(2, 20, 50), run(1, 20, 70)]
    cells = render.frame(declared, {("EWC", "class"): ours, ("Offline", "class"): joint, ("EWC", "task"): ours})
    cells = cells.set_index(["row", "scenario"])
    found = cells.loc["EWC", "class"]
    assert (found.ours_mean, found.ours_n) == (pytest.approx(-1), 2)
    assert cells.loc[("EWC", "task"), "ours_n"] == 0
    reason = "needs the run of the row 'Offline' with the same seed"
    assert found.undefined == cells.loc[("EWC", "task"), "undefined"] == reason


def test_without_published_numbers_there_is_one_column_a_scenario(toy):
    one = toy().select("offline")
    text = render.markdown(one, render.frame(one, RESULTS), SEEDS)
    rows = markdown_rows(text)
    assert rows[""] == ["task: ours", "class: ours"] and rows["Offline"] == ["–", "35.00±0.00"]
    assert "No published value is cited here." in text and "Verdict" not in text


def test_looks_share_the_error_rate(toy):
    shared = toy(("margin      = 1.0", "margin = 1.0\nlooks = 3"))
    results = {("Adam", "class"): [run(seed, 40 + seed / 100, 0) for seed in SEEDS]}
    text = " ".join(render.markdown(shared, render.frame(shared, results), SEEDS).split())
    assert "the 96.7 % Welch interval" in text and "5 %, shared by 3 looks" in text


def test_times_are_given_where_the_table_asks_for_them(toy):
    timed = toy(("margin      = 1.0", "margin      = 1.0\ntimes       = true"))
    text = render.markdown(timed, render.frame(timed, RESULTS), SEEDS)
    (line,) = re.findall(r"- Seconds of a run.*?\.$", text, flags=re.S | re.M)
    # 10, 20 and 30 seconds of training and 1 of importances; EWC has one run in class-IL.
    assert "median: Adam task 20 + 1.0; Adam class 20 + 1.0; EWC task 20 + 1.0; EWC class 10 + 1.0; " in line.replace(
        "\n  ", " "
    )
    assert "Seconds" not in render.markdown(toy(), render.frame(toy(), RESULTS), SEEDS)
    assert "Seconds" not in render.markdown(timed, render.frame(timed, {}), SEEDS)


def test_units_that_were_added_are_in_the_caption(toy):
    table = toy()
    assert "added" not in render.frame(table, RESULTS)
    first, second = run(1, 90, 90), run(2, 90, 90)
    first.added, second.added = [3, 0], [4, 1]
    text = render.markdown(table, render.frame(table, RESULTS | {("Adam", "task"): [first, second]}), SEEDS)
    assert "- Units added to each hidden layer, mean over runs: Adam task 3.5 + 0.5.\n" in text


@pytest.mark.parametrize(
    ("one", "other", "mixed"),
    [
        ({}, {}, False),
        ({"digest": "a"}, {"digest": "b"}, True),
        ({"versions": {"torch": "1"}}, {"versions": {"torch": "2"}}, True),
        ({"versions": {"torch": "1"}}, {"versions": {"torch": "1", "scipy": "1"}}, False),  # was not recorded once
        ({"versions": {"python": "3.11"}}, {"versions": {"python": "3.13"}}, False),
        ({"machine": {"device": "cpu"}}, {"machine": {"device": "a chip"}}, True),
    ],
)
def test_cells_of_several_versions_or_devices_are_named(toy, one, other, mixed):
    table, made = toy(), [run(1, 90, 90), run(2, 90, 90)]
    for record, changes in zip(made, (one, other), strict=True):
        vars(record).update(changes)
    cells = render.frame(table, RESULTS | {("Adam", "task"): made})
    assert ("mixed" in cells) == mixed
    text = " ".join(render.markdown(table, cells, SEEDS).split())
    assert ("several kinds of device, made the runs of: Adam task." in text) == mixed


def test_a_wide_margin_is_printed():
    mnist = declaration.load("splitmnist").select("mas")
    results = {("MAS", scenario): [run(seed, 60 + seed, 60) for seed in SEEDS] for scenario in mnist.scenarios}
    text = " ".join(render.markdown(mnist, render.frame(mnist, results), SEEDS).split())
    assert "more (at most 3), plus the reading error of a figure: MAS domain 3.00." in text


def full_results(each, seeds, spread=1.0):
    generator = np.random.default_rng(0)
    return {
        (row.label, scenario): [run(seed, *generator.normal(75, spread, 2)) for seed in seeds]
        for row in each.rows
        if row.method
        for scenario in row.scenarios
    }


def test_split_mnist_fits_a_terminal():
    mnist, seeds = declaration.load("splitmnist"), tuple(range(1, 11))
    text = render.markdown(mnist, render.frame(mnist, full_results(mnist, seeds)), seeds)
    assert max(map(len, text.splitlines())) <= 150


def test_the_four_files_agree(toy, tmp_path):
    text = render.write(toy(), render.frame(toy(), RESULTS), SEEDS, tmp_path / "out")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["toy.csv", "toy.md", "toy.png", "toy.tex"]
    assert (out / "toy.md").read_text(encoding="utf-8") == text
    tex = (out / "toy.tex").read_text(encoding="utf-8")
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"100 \% \& more", r"\label{tab:toy}", r"\end{table}"):
        assert part in tex
    rows = {line.split("&")[0].strip(): line for line in tex.splitlines() if line.endswith(r"\\")}
    rows = {label: [entry.strip() for entry in line[:-2].split("&")[1:]] for label, line in rows.items()}
    shown = markdown_rows(text)
    words = {"?": "inconclusive", "✓": "reproduced", "*": "unconfirmed"}
    for label in ("Adam", "EWC", "LwF", "Offline"):
        expected = ["".join(words.get(c, c) if i % 3 == 2 else c for c in t) for i, t in enumerate(shown[label])]
        assert rows[label] == expected
    cells = pd.read_csv(out / "toy.csv", keep_default_na=False)
    for cell in cells.itertuples():
        ours, paper, _ = shown[cell.row][3 * ("task", "class").index(cell.scenario) :][:3]
        if cell.ours_n:
            assert ours.startswith(f"{float(cell.ours_mean):.2f}")
        if cell.paper_mean:
            assert paper.startswith(f"{float(cell.paper_mean):.{cell.paper_decimals}f}")
    pd.testing.assert_frame_equal(
        pd.read_csv(io.StringIO((out / "toy.csv").read_text(encoding="utf-8")), keep_default_na=False)[
            ["row", "scenario", "verdict"]
        ],
        render.frame(toy(), RESULTS)[["row", "scenario", "verdict"]],
        check_dtype=False,
    )


def test_labels_are_escaped(toy):
    odd = toy(('label  = "Adam"', r'label = "A|d_a%m"')).select("naive")
    results = {("A|d_a%m", "task"): RESULTS["Adam", "task"]}
    cells = render.frame(odd, results)
    assert r"| A\|d_a%m |" in render.markdown(odd, cells, SEEDS)
    assert r"A|d\_a\%m &" in render.latex(odd, cells, SEEDS)


@pytest.mark.parametrize("rows", [None, "offline", "lwf"])
def test_figure(toy, tmp_path, rows):
    chosen = toy().select(rows)
    render.write(chosen, render.frame(chosen, RESULTS), SEEDS, tmp_path / "out")
    image = matplotlib.image.imread(tmp_path / "out" / "toy.png")
    assert image.shape[1] > 800 and image[..., :3].std() > 0.02  # something is drawn


def test_a_picture_of_the_same_numbers_stays(toy, tmp_path, monkeypatch):
    """It is drawn again for other numbers, where it is gone, and where what draws it is newer."""
    drawn = []
    monkeypatch.setattr(plot, "figure", lambda table, cells: drawn.append(1) or b"picture")

    def write(results=RESULTS, **options):
        render.write(toy(), render.frame(toy(), results), SEEDS, tmp_path, **options)
        return len(drawn)

    assert [write(), write(), write(stale=1), write(stale=1)] == [1, 1, 2, 2]
    (tmp_path / "toy.png").unlink()
    assert [write(stale=1), write(stale=1)] == [3, 3]
    (tmp_path / "toy.csv").write_text("cut", encoding="utf-8")
    assert [write(stale=1), write(stale=1)] == [4, 4]
    source = tmp_path / "plot.py"
    source.touch()
    monkeypatch.setattr(render, "DRAWN_BY", (source,))
    assert [write(stale=1), write(stale=1)] == [5, 5]

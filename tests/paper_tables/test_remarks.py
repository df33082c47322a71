"""What the remarks of a table say of our own runs is what the committed records give."""

import numpy as np
import pytest

from paper_tables import declaration, render
from paper_tables.references import references
from paper_tables.runs import finished_of
from paper_tables.verdict import welch


def records(table, label, scenario="task"):
    """The committed records of a row, by seed."""
    found = references(declaration.load(table)).results[label, scenario]
    return sorted(found, key=lambda record: record.run.seed)


@pytest.mark.parametrize(
    ("label", "line"),
    [("Fine-tuning after 1 task", "ours"), ("Fine-tuning with reset after 2 tasks", "ours with reset")],
)
def test_fine_tuning_of_zenke_et_al_beside_the_authors_program(label, line):
    """Accuracy after 2 to 5 tasks, and that of task 2 after 4, in percent."""
    (cells,) = (
        [cell.strip() for cell in text.split("|")[2:-1]]
        for text in declaration.load("si-splitmnist").remarks.splitlines()
        if text.startswith(f"| {line} ") and text.split("|")[1].strip() == line
    )
    accuracies = [100 * record.accuracy for record in finished_of(records("si-splitmnist", label))]
    assert len(accuracies) == 10
    measured = [[R[k, :k].mean() for R in accuracies] for k in (2, 3, 4, 5)] + [[R[4, 1] for R in accuracies]]
    for cell, values, digits in zip(cells, measured, (1, 1, 1, 1, 0), strict=True):
        mean = sum(values) / 10
        deviation = (sum((value - mean) ** 2 for value in values) / 9) ** 0.5
        assert cell == f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def test_fine_tuning_on_the_class_orders_of_chaudhry_et_al():
    """Runs 1 to 5 and 6 to 10 have the same five orders. Pairs on one order lie as far apart as others."""
    found = records("agem-splitcifar-orders", "VAN")
    ends = {record.run.seed: 100 * record.accuracy[-1].mean() for record in found}
    pairs = [(ends[seed], ends[seed + 5]) for seed in range(1, 6)]
    said = " ".join(declaration.load("agem-splitcifar-orders").remarks.split())
    assert ", ".join(f"{one:.1f} and {other:.1f}" for one, other in pairs) in said
    across = [abs(ends[a] - ends[b]) for a in ends for b in ends if (a - b) % 5]
    assert np.mean([abs(one - other) for one, other in pairs]) == pytest.approx(np.mean(across), rel=0.2)
    ours, paper = list(ends.values()), declaration.load("agem-splitcifar-orders").rows[0].paper["task"]
    difference, spread = np.mean(ours) - paper.mean, np.std(ours, ddof=1)
    low, high = welch(difference, spread, len(ours), paper.std, paper.n, rate=0.025)
    assert low < 0 < high and f"would be d ± {(high - low) / 2:.1f} and hold 0" in said
    assert f"Ours end at {pairs[0][0]:.1f} and {pairs[0][1]:.1f} %" in " ".join(
        declaration.load("agem-splitcifar").remarks.split()
    )


def test_on_the_class_orders_of_van_de_ven_et_al_the_differences_go_away():
    """Means of forty runs on their twenty orders, and of ten runs on ours, beside the four numbers of the figure."""
    theirs, ours = (
        render.frame(table, references(table).results).set_index(["row", "scenario"])
        for table in map(declaration.load, ("vandeven2022-splitmnist-orders", "vandeven2022-splitmnist"))
    )
    apart = {"there": [], "here": []}
    for row in ("None", "EWC", "SI", "LwF"):
        cell = theirs.loc[row, "domain"]
        assert cell.ours_n == 40
        apart["here"].append(abs(cell.ours_mean - cell.paper_mean))
        apart["there"].append(ours.loc[row, "domain"].ours_mean - cell.paper_mean)
    assert max(apart["here"]) < 1
    said = " ".join(declaration.load("vandeven2022-splitmnist-orders").remarks.split())
    assert f"{min(apart['there']):.1f} to {max(apart['there']):.1f} points above the figure" in said


def test_progressive_networks_until_they_diverge():
    first = records("agem-permutedmnist", "PROG-NN")[0]
    assert first.run.seed == 1 and "task 17" in first.reason
    said = " ".join(declaration.load("agem-permutedmnist").remarks.split())
    learnt = 100 * sum(first.correct[16][:16]) / sum(first.total[:16])
    assert f"the first sixteen tasks have {learnt:.1f} % on average" in said
    others = [100 * record.accuracy[-1].mean() for record in records("agem-permutedmnist", "PROG-NN")[1:]]
    assert len(others) == 4 and f"all seventeen are learnt, to {np.mean(others):.2f} % on average" in said


def test_batches_of_one_class_forget_as_little_as_the_notebook_of_aljundi_et_al():
    table = declaration.load("mas-splitmnist")
    cells = render.frame(table, references(table).results).set_index("row")
    drawn, by_class = (cells.ours_mean[f"MAS {how} forgetting"] for how in ("accumulated", "by class"))
    assert by_class == pytest.approx(cells.paper_mean["MAS accumulated forgetting"], abs=0.05)
    assert by_class == pytest.approx(drawn / 3, rel=0.1)


@pytest.mark.parametrize("label", ["VAN", "MAS", "RWalk"])
def test_looks_change_no_training(label):
    plain, looked = (records("agem-permutedmnist", row, "domain")[:3] for row in (label, f"{label} LCA"))
    assert plain[0].run.train.curve is None and looked[0].run.train.curve == 10
    for one, other in zip(plain, looked, strict=True):
        assert one.run.seed == other.run.seed and one.correct == other.correct

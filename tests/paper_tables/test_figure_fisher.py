"""The figure of the estimators: its numbers are those of the diagonals, and it can be drawn."""

import io
from pathlib import Path

import pytest
import torch
from matplotlib import image

from benchmarks import streams
from benchmarks.learner import Train
from paper_tables import figure_fisher

TRAIN = Train(net="mlp-16-8", optimizer="adam", lr=1e-2, optimizer_state="keep", batch=32, epochs=1)


@pytest.fixture(scope="module")
def fitted():
    stream = streams.build(streams.resolve({"name": "splitdigits"}), "class", 1, Path("none"))
    net, theta, examples = figure_fisher.trained(stream, TRAIN)
    return net, figure_fisher.diagonals(net, theta, examples), (theta, examples)


def test_it_is_trained_on_all_digits(fitted):
    net, _, (theta, examples) = fitted
    x, y, mask = examples.take(torch.arange(len(examples)))
    assert set(y.tolist()) == set(range(10)) and not mask.any()
    assert ((net(theta, x) + mask).argmax(-1) == y).float().mean() > 0.5


def test_the_numbers_by_hand(fitted):
    net, found, _ = fitted
    table = figure_fisher.numbers(net, found)
    assert list(table.index) == list(figure_fisher.ESTIMATORS)
    assert table.loc["exact", "sum / exact"] == 1 and table.loc["exact", "distance"] == 0
    F, exact = found["empirical"].double(), found["exact"].double()
    row = table.loc["empirical"]
    assert row["sum / exact"] == pytest.approx(float(F.sum() / exact.sum()))
    assert row["distance"] == pytest.approx(float(((F - exact) ** 2).sum().sqrt() / (exact**2).sum().sqrt()))
    first, second = 64 * 16 + 16, 16 * 8 + 8
    shares = row.iloc[2:].tolist()
    wanted = [F[:first].sum(), F[first : first + second].sum(), F[first + second :].sum()]
    assert shares == pytest.approx([float(part / F.sum()) for part in wanted])
    assert table.iloc[:, 2:].sum(axis=1).tolist() == pytest.approx([1.0] * len(table))
    assert table.loc["argmax", "sum / exact"] < 1  # biased down


def test_the_page_and_the_picture(fitted):
    net, found, _ = fitted
    page = figure_fisher.markdown(figure_fisher.numbers(net, found))
    for name in figure_fisher.ESTIMATORS:
        assert f"| {name} " in page
    height, width, _ = image.imread(io.BytesIO(figure_fisher.figure(net, found))).shape
    assert height > 500 and width > 500

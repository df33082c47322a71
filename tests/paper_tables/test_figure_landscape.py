"""The figure of error surfaces: the plane, projections and losses by hand, and a small picture."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from matplotlib import image

from benchmarks import streams
from benchmarks.learner import Train, network
from paper_tables import drawing
from paper_tables import figure_landscape as scape

TRAIN = Train(net="mlp-8", optimizer="adam", lr=1e-2, optimizer_state="keep", batch=64, epochs=2)
OPTIONS = {"naive": {}, "l2": {"lam": 0.1}, "ewc": {"lam": 10.0}, "gem": {"per_task": 5}}


def digits():
    return scape.first_two(streams.build(streams.resolve({"name": "splitdigits"}), "domain", 1, Path("none")))


@pytest.fixture(scope="module")
def found():
    return scape.landscape(OPTIONS, TRAIN, digits(), 5)


@pytest.fixture
def plane():
    draws = torch.Generator().manual_seed(0)
    points = torch.randn(3, 20, dtype=torch.float64, generator=draws)
    return scape.Plane.through(*points), points, torch.randn(4, 20, dtype=torch.float64, generator=draws)


def test_the_plane_goes_through_the_solutions(plane):
    plane, points, _ = plane
    places = plane.project(points)
    torch.testing.assert_close(plane.at(places), points)
    torch.testing.assert_close(places[:2, 1], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert places[0].abs().max() < 1e-12 and places[1, 0] > 0 and places[2, 1] > 0
    assert float(places[1, 0]) == pytest.approx(float((points[1] - points[0]).norm()))
    assert plane.off(points).abs().max() < 1e-7


def test_the_distance_from_the_plane_is_that_of_the_nearest_point(plane):
    plane, points, others = plane
    spanned = torch.stack([points[1] - points[0], points[2] - points[0]], 1)
    away = (others - points[0]).T
    nearest = spanned @ torch.linalg.lstsq(spanned, away).solution
    torch.testing.assert_close(plane.off(others), (away - nearest).norm(dim=0) / away.norm(dim=0))


def test_the_surfaces_are_the_losses_on_the_plane(found):
    stream = digits()
    net = network(TRAIN.net, stream, scape.SEED)
    table = scape.surface(found)
    assert len(table) == 25
    for line in (0, 7, 24):
        theta = found.plane.at(torch.tensor([[table.a[line], table.b[line]]]))[0]
        for k, task in enumerate(stream.tasks):
            x, y, mask = task.train.take(torch.arange(len(task.train)))
            expected = float(F.cross_entropy(net(theta, x) + mask, y))
            assert table[f"loss_task_{k + 1}"][line] == pytest.approx(expected, rel=1e-4)
            row, column = divmod(line, 5)
            assert float(found.losses[k, row, column]) == pytest.approx(expected, rel=1e-4)


def test_paths_begin_at_the_first_solution_and_fine_tuning_ends_on_the_plane(found):
    table = scape.paths(found)
    steps = TRAIN.epochs * -(-len(digits().tasks[1].train) // TRAIN.batch)
    for name, own in table.groupby("method"):
        assert len(own) == steps + 1 and torch.equal(found.paths[name][0], found.plane.origin)
        assert own.a.abs().iloc[0] < 1e-6 and own.off_plane.iloc[0] == 0
    ends = table.groupby("method").last()
    assert ends.off_plane["naive"] < 1e-3 and (ends.off_plane[["l2", "ewc", "gem"]] > 0.01).all()
    assert ends.a["naive"] == pytest.approx(float(found.solutions[1, 0]))


def test_it_gives_the_same_numbers_again(found):
    again = scape.landscape(OPTIONS, TRAIN, digits(), 5)
    for table in (scape.paths, scape.surface):
        assert table(again).to_csv(float_format=drawing.DIGITS) == table(found).to_csv(float_format=drawing.DIGITS)


def test_strength_zero_walks_as_fine_tuning_and_a_huge_one_stays(found):
    options = {"naive": {}, "l2": {"lam": 0.0}, "ewc": {"lam": 1e9}}
    other = scape.landscape(options, TRAIN, digits(), 2)
    assert torch.equal(other.paths["l2"], other.paths["naive"])
    assert (other.paths["ewc"][-1] - other.plane.origin).norm() < (other.paths["naive"][-1] - other.plane.origin).norm()


def test_the_page_and_the_picture(found):
    page = scape.page(found, OPTIONS)
    assert "| GEM " in page and "per_task = 5" in page
    height, width, _ = image.imread(io.BytesIO(scape.figure(found))).shape
    assert height > 400 and width > 1000


def test_the_committed_numbers_are_what_the_page_says_of_the_paths():
    ends = pd.read_csv(drawing.FOLDER / "landscape.csv").groupby("method").last()
    way, angle = np.hypot(ends.a, ends.b), np.arctan2(ends.b, ends.a)
    assert way.l2 == way.min()  # drawn back to the start
    assert angle.naive < angle.l2 < angle.ewc  # EWC ends nearer to the diamond's direction
    assert ends.loss_task_1.gem < ends.loss_task_1.drop("gem").min()  # GEM leaves the high ground aside
    assert ends.off_plane.naive < 1e-3

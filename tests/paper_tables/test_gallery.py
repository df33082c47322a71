"""The gallery: its page is that of the committed records, and its pictures are there and small."""

import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from paper_tables import drawing, gallery

MOST = 60_000  # bytes of a picture


@pytest.fixture(scope="module")
def drawn():
    return gallery.pictures()


def test_the_committed_page_is_that_of_the_committed_records(drawn):
    committed = gallery.PAGE.read_text(encoding="utf-8")
    assert gallery.page(drawn) == committed, "make tables writes it"
    linked = re.findall(r"\]\(([^)]+)\)", committed)
    assert len(linked) == len(gallery.SHOWN) + 4
    assert all((gallery.PAGE.parent / file).resolve().is_file() for file in linked)


def test_the_pictures_are_small_and_no_other_is_there():
    files = {file.name: file for file in gallery.PICTURES.iterdir()}
    assert set(files) == {f"{name}-{figure}.png" for name, figure, _ in gallery.SHOWN}
    for file in files.values():
        height, width, *_ = imread(file).shape
        assert file.stat().st_size < MOST and 400 < width < 1100 and height > 150, file.name


def test_a_small_picture_keeps_the_colours(drawn):
    _, png = drawn["splitmnist", "ranks-domain"]
    full = png()
    small = drawing.small(full)
    assert len(small) < len(full) / 2
    before, after = (imread(io.BytesIO(picture))[..., :3] for picture in (full, small))
    assert abs(before - after).max() < 0.1
    white, grey = before.min(-1) == 1, np.ptp(before, axis=-1) == 0
    assert white.mean() > 0.5 and after[white].min() == 1 and np.ptp(after, axis=-1)[grey].max() < 0.02

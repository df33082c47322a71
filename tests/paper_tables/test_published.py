"""Published numbers as they are read, and every malformed row."""

import math
import re

import pytest

from methods.base.errors import UserError
from paper_tables import published

HEADER = ",".join(published.COLUMNS) + "\n"
GOOD = "a/b,paper,table,bench,task,EWC,avg_acc_final,97.7,0.8,std_pop,10,,yes,primary: x,\n"


def read(tmp_path, text):
    (tmp_path / "paper.csv").write_text(text, encoding="utf-8")
    return published.load(tmp_path)


def test_published_row(tmp_path):
    placeholder = GOOD.replace("a/b", "a/c").replace("97.7,0.8,std_pop", ",,none")
    read_off = GOOD.replace("a/b", "a/d").replace(",,yes", ",0.3,yes")
    span = GOOD.replace("a/b", "a/e").replace("97.7,0.8,std_pop", "1e5-1e6,,none")
    cells = read(tmp_path, HEADER + GOOD + placeholder + read_off + span)
    found = cells["a/b"]
    assert (found.mean, found.spread, found.n, found.verified, found.resolution) == (97.7, 0.8, 10, True, 0.1)
    assert found.reading_error == 0.0 and cells["a/d"].reading_error == 0.3
    assert cells["a/c"].mean is None and cells["a/c"].spread is None and cells["a/e"].mean is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("97.7", "97,7", "16 fields"),
        ("97.7", "about 97", "mean 'about 97'"),
        ("97.7", "nan", "mean 'nan'"),
        (",0.8,", ",,", "spread ''"),
        (",0.8,", ",-0.8,", "spread '-0.8'"),
        ("std_pop", "sd", "spread_kind 'sd'"),
        ("std_pop", "none", "spread '0.8'"),
        (",10,", ",ten,", "n_seeds"),
        (",10,", ",0,", "n_seeds"),
        (",10,", f",1{'0' * 30},", "n_seeds must be 1 to 1000000 or blank"),
        (",10,", ",1000001,", "n_seeds must be 1 to 1000000 or blank"),
        (",,yes", ",-0.5,yes", "reading_error must be points"),
        (",,yes", ",about 0.5,yes", "reading_error 'about 0.5'"),
        ("97.7", "0.977", "mean 0.977 of avg_acc_final looks like a fraction: write 97.7 percent"),
        ("97.7", "1", "mean 1 of avg_acc_final looks like a fraction"),
        ("97.7", "977", "mean 977 of avg_acc_final must be 0 to 100 percent"),
        ("97.7", "-97.7", "must be 0 to 100 percent"),
        ("97.7", "97." + "0" * 400, "mean '97.000"),
        ("97.7", "9_7", "mean '9_7'"),
        ("97.7", "1" + "0" * 400, "mean '1000"),
        (",yes", ",y\0s", "verified must be yes or no"),
        (",yes,", ",maybe,", "verified"),
        ("a/b,", ",", "no name"),
    ],
)
def test_malformed_published_row_names_file_and_line(tmp_path, old, new, message):
    with pytest.raises(UserError, match=r"paper.csv, line 3: .*" + message):
        read(tmp_path, HEADER + GOOD.replace("a/b", "a/a") + GOOD.replace(old, new))


def test_repeated_cell_and_wrong_columns(tmp_path):
    with pytest.raises(UserError, match=r"paper\.csv, line 3: repeats the cell 'a/b'"):
        read(tmp_path, HEADER + GOOD + GOOD)
    with pytest.raises(UserError, match=r"paper\.csv, line 1: the columns must be"):
        read(tmp_path, HEADER.replace("mean", "average") + GOOD)
    with pytest.raises(UserError, match="the columns must be"):
        read(tmp_path, "")


def test_committed_numbers():
    cells = published.load()
    ewc = cells["hsu2018/table-2/split-mnist/ewc/task"]
    assert (ewc.mean, ewc.spread, ewc.spread_kind, ewc.n, ewc.resolution) == (97.70, 0.81, "std_pop", 10, 0.01)
    assert ewc.std == pytest.approx(0.8538, abs=1e-4)
    assert len(cells) == 730
    with pytest.raises(UserError, match="the nearest is 'hsu2018/table-2/split-mnist/ewc/task'") as error:
        published.find(cells, "hsu2018/table-2/split-mnist/ewcc/task")
    assert len(str(error.value)) < 400


def std(spread, kind, n):
    return published.Published("cell", "task", "avg_acc_final", 90.0, spread, kind, n, True, "", "", 0.01).std


def test_spreads_become_sample_standard_deviations():
    assert std(0.5, "std", 10) == std(0.5, "std", None) == 0.5
    assert std(0.5, "sem", 16) == 2.0
    assert std(0.6, "std_pop", 10) == pytest.approx(0.6 * math.sqrt(10 / 9), rel=1e-14)
    # half a 95 % interval of 5 runs: t = 2.7764 (table)
    assert std(2.7764, "ci95", 5) == pytest.approx(math.sqrt(5), rel=1e-4)
    assert std(None, "none", 10) is None
    for kind in ("sem", "std_pop", "ci95"):
        assert std(1.0, kind, None) is None


def test_points_may_be_small_and_negative(tmp_path):
    """A difference of half a point, or below zero, is no fraction."""
    bwt = GOOD.replace("avg_acc_final,97.7", "bwt_points,{}")
    cells = read(tmp_path, HEADER + bwt.format("-0.5") + bwt.replace("a/b", "a/c").format("0.53"))
    assert [cell.mean for cell in cells.values()] == [-0.5, 0.53]


def test_a_published_file_that_cannot_be_read(tmp_path):
    (tmp_path / "paper.csv").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*paper\.csv: Is a directory"):
        published.load(tmp_path)
    (tmp_path / "paper.csv").rmdir()
    (tmp_path / "paper.csv").write_bytes(HEADER.encode() + b"\xff\xfe")
    with pytest.raises(UserError, match=r"paper\.csv: it is not text in UTF-8"):
        published.load(tmp_path)


def test_reading_errors_are_those_that_the_notes_give():
    """The column holds what the person who measured the figure wrote into the notes."""
    for cell in published.load().values():
        noted = re.search(r"error about ([\d.]+) points", cell.notes)
        assert cell.reading_error == (float(noted[1]) if noted else 0.0)

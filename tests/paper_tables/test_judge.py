"""Anybody's runs, judged from a CSV: as the tables judge the same runs, and each mistake in one line."""

import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from benchmarks.files import ROOT
from methods.base.errors import UserError
from paper_tables import declaration, judge, published, render
from paper_tables.__main__ import main
from paper_tables.references import references
from paper_tables.verdict import verdict
from tests.support.toy_table import toy_loader

KNOWN = published.load()
ADAM = "hsu2018/table-2/split-mnist/adam/task"
LWF = "hsu2018/table-2/split-mnist/lwf/task"
TASK_1 = next(cell for cell in KNOWN.values() if cell.metric == "task_1_acc" and cell.mean is not None)
UNVERIFIED = "chaudhry2018/table-1-multi-head/incremental-mnist/vanilla/task"
TRANSFER = "zenke2017/figure-4-data/permuted-mnist/fine-tuning-c-0/domain/bwt-points"
SECONDS = "vandeven2025fisher/results-table/split-mnist/ewc-fisher-exact/task/train-time-s-gpu"
EMPTY = next(cell.cell for cell in KNOWN.values() if cell.mean is None)


def written(tmp_path, *lines, header="cell, seed, value", encoding="utf-8"):
    file = tmp_path / "mine.csv"
    file.write_text("\n".join([header, *lines]) + "\n", encoding=encoding)
    return file


def judged(tmp_path, *lines, **options):
    """The rows of the page, by cell."""
    page = judge.judge(written(tmp_path, *lines, **options))
    rows = [[text.strip() for text in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    assert rows[0] == judge.HEADER
    return {cell: dict(zip(judge.HEADER[1:], texts, strict=True)) for cell, *texts in rows[2:]}


@pytest.mark.parametrize("name", ["splitmnist", "si-splitmnist", "rwalk-splitmnist", "gem-mnist-rotations", "fisher"])
def test_a_file_of_the_reference_runs_gets_the_verdicts_of_the_table(tmp_path, name):
    table = declaration.load(name)
    results = references(table).results
    expected = render.frame(table, results)
    expected = expected[(expected.cell != "") & (expected.ours_n > 0)].set_index("cell")
    lines = []
    for row in table.rows:
        for scenario, paper in row.paper.items():
            records = results.get((row.label, scenario), [])
            joint = results.get((row.reference, scenario), [])
            for kept, measure in zip(records, render.measures(row.metric, records, joint, row.reference), strict=True):
                lines.append(f"{paper.cell}, {kept.seed}, {measure.percent!r}")
    runs = judge.read(written(tmp_path, *lines), KNOWN)
    cells = judge.frame(runs, KNOWN, judge.citations([declaration.load(n) for n in declaration.names()]))
    cells = cells.set_index("cell")
    assert len(cells) == len(expected) > 5 and set(cells.index) == set(expected.index)
    for cell, line in cells.iterrows():
        other = expected.loc[cell]
        assert (line.verdict, line.dagger, line.table) == (other.verdict, other.dagger, name)
        for column in ("difference", "low", "high", "margin"):
            assert line[column] == pytest.approx(other[column], rel=0, abs=0, nan_ok=True)
        notes = [note for note in line.note.split("; ") if note not in ("", judge.SECONDHAND, judge.FRACTIONS)]
        assert "; ".join(notes) == other.note and (judge.SECONDHAND in line.note) == other.get("secondhand", False)


def test_the_page_by_hand(tmp_path):
    rows = judged(
        tmp_path,
        f"{ADAM}, 1, 93.1",
        f'"{ADAM}", "2", 94.1',
        f"{LWF}, 7, 99",
        f"{ADAM},3,92.9",
        f"{UNVERIFIED}, 0, 90",
        f"{TASK_1.cell}, 1, {TASK_1.mean}",
    )
    paper = KNOWN[ADAM]
    expected = verdict([93.1, 94.1, 92.9], paper, 1.0)
    assert expected.word == "inconclusive"
    assert rows[ADAM] == {
        "ours": "93.37±0.64 (3)",
        "paper": f"93.46±{paper.std:.2f} (10)",
        "difference": "-0.09",
        "interval": f"[{expected.low:+.2f}, {expected.high:+.2f}]",
        "margin": f"{expected.margin:.2f} (splitmnist)",
        "verdict": "? inconclusive",
        "note": expected.note,
    }
    assert rows[LWF]["verdict"] == rows[LWF]["interval"] == rows[LWF]["margin"] == "–"
    assert rows[LWF]["note"].startswith("quoted by the paper")
    assert (rows[UNVERIFIED]["verdict"], rows[UNVERIFIED]["difference"]) == ("* unconfirmed", "–")
    assert rows[TASK_1.cell]["margin"].endswith("(no table)")


def test_the_page_says_what_the_words_mean(tmp_path):
    page = " ".join(judge.judge(written(tmp_path, f"{ADAM}, 1, 80", f"{ADAM}, 2, 80.5")).split())
    assert "✗ differs" in page and "Ours: the runs of mine.csv" in page
    assert "lies wholly outside the margin" in page and "1 comparison: 1 differs" in page
    assert "1 point where no table cites the cell" in page


def test_the_smallest_margin_of_the_tables_that_cite_a_cell(tmp_path):
    toy = toy_loader(tmp_path)()
    wide, narrow = replace(toy, name="wide", margin=2.0), replace(toy, name="narrow", margin=0.5)
    for tables in ([wide, toy, narrow], [narrow, toy, wide]):
        assert judge.citations(tables)["toy/adam/task"][0].name == "narrow"
    known = published.load(tmp_path / "paper_tables" / "published")
    (line,) = judge.frame({"toy/adam/class": [20.0, 20.1]}, known, judge.citations([narrow])).itertuples()
    assert (line.margin, line.table, line.dagger) == (0.5, "narrow", True)
    (line,) = judge.frame({"toy/adam/class": [20.0, 20.1]}, known, {}).itertuples()
    assert (line.margin, line.table) == (judge.MARGIN, "no table")


def test_points_that_may_be_fractions_are_judged_and_doubted(tmp_path):
    rows = judged(tmp_path, f"{TRANSFER},1,-0.45", f"{TRANSFER},2,-0.46")
    assert (rows[TRANSFER]["verdict"], rows[TRANSFER]["note"]) == ("✗ differs", judge.FRACTIONS)
    assert judged(tmp_path, f"{TRANSFER},1,-45", f"{TRANSFER},2,-46")[TRANSFER]["note"] == ""


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ([f"{ADAM}x,1,90"], 2, f"unknown published cell '{ADAM}x'; the nearest is '{ADAM}' (known: "),
        (["adam,1,90"], 2, "unknown published cell 'adam'; the nearest is "),
        ([f"{ADAM},1,90", f"{ADAM}, 01, 91"], 3, f"repeats seed 1 of {ADAM}: give each run once"),
        ([f"{ADAM},1,nan"], 2, "value 'nan' is not a finite number such as 97.71: leave out a run that failed"),
        ([f"{ADAM},1,-inf"], 2, "value '-inf' is not a finite number"),
        ([f"{ADAM},1,1e999"], 2, "value '1e999' is not a finite number"),
        ([f"{ADAM},1,"], 2, "value '' is not a finite number"),
        ([f"{ADAM},1,93.1%"], 2, "value '93.1%' is not a finite number"),
        ([f"{ADAM},1,93,1"], 2, "4 fields, expected 3: cell,seed,value"),
        ([f"{ADAM},1,90", f"{ADAM},2,0.931"], 3, "value 0.931 of avg_acc_final looks like a fraction: write 93.1"),
        ([f"{ADAM},1,1.0"], 2, "value 1.0 of avg_acc_final looks like a fraction: write 100"),
        ([f"{ADAM},1,100.1"], 2, "value 100.1 of avg_acc_final must be 0 to 100 percent"),
        ([f"{ADAM},1,-3"], 2, "value -3 of avg_acc_final must be 0 to 100 percent"),
        ([f"{TRANSFER},1,-101"], 2, "value -101 of bwt_points must be -100 to 100 points"),
        ([f"{SECONDS},1,30"], 2, f"'{SECONDS}' is train_time_s_gpu, which is not in percent and gets no verdict"),
        ([f"{EMPTY},1,30"], 2, f"the published cell '{EMPTY}' holds no number: leave it out"),
        ([f"{ADAM},one,90"], 2, "seed 'one' must be a whole number >= 0"),
        ([f"{ADAM},-1,90"], 2, "seed '-1' must be a whole number >= 0"),
        ([f"{ADAM},1"], 2, "2 fields, expected 3"),
        (["", f"{ADAM},1,x"], 3, "value 'x' is not a finite number"),
        ([f'"{ADAM},1,90'], 2, "unexpected end of data"),
        ([f'"{ADAM}"x,1,90'], 2, "',' expected after '\"'"),
        ([f'"{ADAM}\nb",1,90'], 3, "unknown published cell "),
        ([], 1, "no run follows the header: add a line for each, cell, seed, value"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_line(tmp_path, capsys, lines, line, message):
    file = written(tmp_path, *lines)
    assert main(["judge", str(file)]) == 2
    shown = capsys.readouterr()
    (error,) = shown.err.splitlines()
    assert shown.out == "" and error.startswith(f"error: {file}, line {line}: {message}")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("cell,value", "got 'cell,value', without seed"),
        ("cell;seed;value", "got 'cell;seed;value', without cell and seed and value"),
        (",cell,seed,value", "got ',cell,seed,value'$"),
        (f"{ADAM},1,90", f"got '{ADAM},1,90', without cell and seed and value"),
    ],
)
def test_a_wrong_header(tmp_path, header, message):
    with pytest.raises(UserError, match=f"mine.csv, line 1: the first line must be cell,seed,value, {message}"):
        judge.read(written(tmp_path, f"{ADAM},1,90", header=header), KNOWN)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file(tmp_path, content):
    file = tmp_path / "mine.csv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.csv, line [12]: the file is empty: its first line must be cell,seed"):
        judge.read(file, KNOWN)


def test_a_file_of_a_spreadsheet(tmp_path):
    lines = [f'"{ADAM}","{seed}","{value}"\r' for seed, value in ((1, 93.0), (2, 94.0))]
    file = written(tmp_path, *lines, header='"cell","seed","value"\r', encoding="utf-8-sig")
    assert judge.read(file, KNOWN) == {ADAM: [93.0, 94.0]}
    file = written(tmp_path, f"{ADAM}, 1, 93.0", ",,", " , ,", "")
    assert judge.read(file, KNOWN) == {ADAM: [93.0]}


def test_a_file_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "latin.csv").write_bytes("cell,seed,value\né".encode("latin-1"))
    for name, said in (("none.csv", "No such file"), (".", "Is a directory"), ("latin.csv", "not text in UTF-8")):
        assert main(["judge", str(tmp_path / name)]) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert error.startswith(f"error: cannot read {tmp_path / name}") and said in error
    assert main(["judge"]) == 2
    assert capsys.readouterr().err.startswith("error: judge needs a file: make judge FILE=mine.csv")


def test_make_hands_over_the_names_as_they_are(tmp_path):
    """The variables reach the command as one argument each, and no value is run by the shell."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tools / "python").write_text('#!/bin/sh\nfor a in "$@"; do echo "<$a>"; done\n', encoding="utf-8")
    (tools / "python").chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    name = "-a b'; touch ran; $(touch ran) \"`touch ran`.csv"

    def asked(*arguments):
        # Under `make test` the outer make's variables would make the inner one talk of its folder.
        left_out = ("FILE", "ROWS", "BESIDE", "DATA", "SEEDS", "JOBS", "DEVICE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
        environment = {key: value for key, value in os.environ.items() if key not in left_out}
        command = ["make", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, encoding="utf-8")
        return done.stdout.splitlines()

    escaped = name.replace("$", "$$")
    assert asked("judge", f"FILE={escaped}") == ["<-m>", "<paper_tables>", "<judge>", "<-->", f"<{name}>"]
    assert asked("judge") == ["<-m>", "<paper_tables>", "<judge>"]
    rows = asked("table-x", "ROWS=my row", f"BESIDE={escaped}")
    assert rows == ["<-m>", "<paper_tables>", "<table>", "<x>", "<--rows>", "<my row>", "<--beside>", f"<{name}>"]
    assert not (tmp_path / "ran").exists()

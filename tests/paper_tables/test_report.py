"""The report: all published cells are on it, nothing is loaded or run from it, and it works in a browser."""

import base64
import hashlib
import re
import shlex
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmarks import files
from benchmarks.standard_sets import DEFAULT_ROOT
from benchmarks.sweep import survey
from paper_tables import declaration, render, scoreboard
from paper_tables.__main__ import main
from paper_tables.references import references
from paper_tables.report import content, drawings, page
from paper_tables.runs import runs_of
from paper_tables.seeds import parse_seeds
from tests.support import browser
from tests.support.records import kept
from tests.support.toy_table import toy_loader

MEGABYTES = 5
DRAWN = "fisher"  # the table whose figures are drawn below it here
VOID = {"meta", "br", "hr", "img", "input", "link", "source"}  # elements without an end
BAD = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"


class Element(SimpleNamespace):
    """An element: tag, attrs, the elements that it is in, and the pieces of its text."""

    @property
    def text(self):
        return "".join(self.pieces)


class Page(HTMLParser):
    """The elements of a page in their order, each with its attributes and its text, checked to be nested."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.inside = [], []
        self.feed(text)
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        element = Element(tag=tag, attrs=dict(attrs), pieces=[], within=list(self.inside))
        self.elements.append(element)
        if tag not in VOID:
            self.inside.append(element)

    def handle_endtag(self, tag):
        assert tag in VOID or (self.inside and self.inside.pop().tag == tag), tag

    def handle_data(self, data):
        for element in self.inside:
            element.pieces.append(data)

    def all(self, tag, **attrs):
        wanted = {name.replace("_", "-"): value for name, value in attrs.items()}
        return [e for e in self.elements if e.tag == tag and wanted.items() <= e.attrs.items()]

    def rows(self):
        """(table, method, scenario, published cell or None, state) of each line of the tables."""
        for row in self.all("tr"):
            if "data-method" in row.attrs:
                table = next(e.attrs["id"] for e in row.within if e.attrs.get("class") == "table")
                data = [row.attrs.get(f"data-{name}") for name in ("method", "scenario", "cell", "state")]
                yield table, *data


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The report on the committed records: its file, and what is on it."""
    file, whole = tmp_path_factory.mktemp("report") / "report.html", page.pictures
    with pytest.MonkeyPatch.context() as patch:
        fisher = [DRAWN]  # all figures of all tables take a minute
        patch.setattr(page, "pictures", lambda pages, room: whole([p for p in pages if p.table.name in fisher], room))
        assert main(["report", "--file", str(file)]) == 0
    return SimpleNamespace(file=file, page=Page(file.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def frames():
    """The frame of each table from its committed records, as `make tables` has it."""
    found = {}
    for table in map(declaration.load, declaration.names()):
        results = references(table).results
        found[table.name] = table, render.frame(table, results), bool(results)
    return found


@pytest.fixture
def toy(tmp_path):
    """The toy table with three seeds of Adam in both scenarios, and their folder."""
    table, folder = toy_loader(tmp_path)(), tmp_path / "mine"
    for (label, _, seed), run in runs_of(table, (1, 2, 3)).items():
        if label == "Adam":
            kept(run, folder, (88 + seed, 264 + 3 * seed))
    return table, folder


# ---- what is on it


def test_a_strength_for_each_task_is_shown(tmp_path):
    adam = 'label  = "Adam"\nmethod = { name = "naive" }'
    table = toy_loader(tmp_path)((adam, 'label  = "Adam"\nstrength = "none"\nmethod = { name = "ewc", lam = [2.5] }'))
    cells = [cell for cell in content.of(table, tmp_path / "mine").cells if cell.row.label == "Adam"]
    assert cells and all(cell.strength.startswith("lam = [2.5], ") for cell in cells)
    assert all("lam = [2.5]" in cell.options["method"] for cell in cells)


def test_every_published_cell_is_on_it_once_with_its_verdict(committed, frames):
    expected = Counter()
    for table, cells, _ in frames.values():
        for cell in cells[cells.cell != ""].itertuples():
            expected[table.name, cell.row, cell.scenario, cell.cell, cell.verdict] += 1
    assert len(expected) > 300 and set(expected.values()) == {1}
    found = Counter()
    for table, method, scenario, cell, state in committed.page.rows():
        if cell is not None:
            found[table, method, scenario, cell, state if state in drawings.MARKS else ""] += 1
    assert found == expected
    assert sum(1 for _ in committed.page.rows()) == sum(len(cells) for _, cells, _ in frames.values())


def test_the_states_add_up_to_the_scoreboard(committed, frames):
    counts = scoreboard.counts([(table, cells if run else None, 0.0) for table, cells, run in frames.values()])
    states = Counter((table, state) for table, _, _, cell, state in committed.page.rows() if cell is not None)
    for name, line in counts.drop(index="all").iterrows():
        for word in (*drawings.MARKS, "no verdict"):
            assert states[name, word] == line[word], (name, word)
        assert states[name, content.ALONE] == line.published - line.runnable
        assert states[name, content.WAITING] + states[name, content.FAILED] == line.runnable - line.run
    titles = [e.text for e in committed.page.all("title") if e.within[-1].tag == "g"]
    assert sum(int(title.split(": ")[1].split()[0]) for title in titles) == counts.published["all"]


def test_the_figures_of_a_table_are_below_it(committed):
    images = [e for e in committed.page.all("img") if any(w.attrs.get("id") == DRAWN for w in e.within)]
    shown = content.of(declaration.load(DRAWN), files.REFERENCE)
    sees = [found.see for draw in page.draw_figures(shown.table, shown.courses).values() if (found := draw())]
    assert len(sees) == 5 and [e.attrs["alt"] for e in images[1:]] == sees  # the first is the table's own
    captions = [e.text.strip() for e in committed.page.all("figcaption")]
    assert set(sees) <= set(captions)
    assert all(len(base64.b64decode(e.attrs["src"].partition(",")[2])) > 2000 for e in images)


def test_a_page_never_grows_beyond_its_limit(toy, tmp_path, monkeypatch):
    table, folder = toy
    shown = [content.of(table, folder)]
    alone = len(page.html(shown, folder, audited=page.audit_of(page.drawing.FOLDER)).encode())
    (first, *more) = page.pictures(shown, 10**9)[table.name]
    assert len(more) >= 2 and page.pictures(shown, 0) == {}
    room = len(first.data) + 3 * len(first.see) + page.MARKUP
    assert page.pictures(shown, room) == {table.name: [first]}
    monkeypatch.setattr(page, "MOST", alone + room)
    assert alone < page.write(folder, DEFAULT_ROOT, tmp_path / "report.html", [table]) <= alone + room


def test_each_cell_opens_its_own_provenance(committed, frames):
    openers = [e for e in committed.page.all("button") if e.attrs.get("class") == "open"]
    dialogs = {e.attrs["id"]: e for e in committed.page.all("dialog")}
    assert sorted(e.attrs["data-dialog"] for e in openers) == sorted(dialogs)
    table, cells, _ = frames["splitmnist"]
    for opener in openers:
        row = next(e for e in reversed(opener.within) if e.tag == "tr")
        text = dialogs[opener.attrs["data-dialog"]].text
        assert row.attrs["data-method"] in text and f"{row.attrs['data-scenario']}-incremental" in text
        assert row.attrs.get("data-cell", "") in text
    (ewc,) = cells[(cells.row == "EWC") & (cells.scenario == "task")].itertuples()
    text = next(e.text for e in dialogs.values() if "splitmnist/ewc/task" in e.text or ewc.cell in e.text)
    for part in (
        *("Hsu, Liu, Ramasamy", "Table 2", table.source, f"{ewc.ours_mean:.2f}±{ewc.ours_std:.2f}", "n = 10"),
        *(render.interval(ewc.low, ewc.high), f"±{ewc.margin:.2f} (shaded)", "lam = 200, from official code"),
        *("make table-splitmnist ROWS=EWC SEEDS=1-10", "splitmnist/task/ewc-", "1 thread", "mlp-400-400"),
    ):
        assert part in text, part


def test_structure(committed):
    found = committed.page
    for tag in ("header", "nav", "main", "footer", "h1", "title"):
        assert len([e for e in found.all(tag) if all(w.tag not in ("svg", "dialog") for w in e.within)]) == 1, tag
    ids = [e.attrs["id"] for e in found.elements if "id" in e.attrs]
    assert len(ids) == len(set(ids))
    for e in found.elements:
        for name in ("aria-labelledby", "data-dialog"):
            assert e.attrs.get(name, ids[0]) in ids
        if e.tag == "a":
            assert e.attrs["href"].removeprefix("#") in ids
    levels = [int(e.tag[1]) for e in found.elements if re.fullmatch("h[1-6]", e.tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert all(e.attrs.get("alt") for e in found.all("img"))


def test_nothing_is_loaded_and_it_is_small(committed):
    text = committed.file.read_text(encoding="utf-8")
    assert len(text.encode()) < MEGABYTES * 1e6
    for e in committed.page.elements:
        assert e.tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "poster", "xlink:href"):
            assert e.attrs.get(name, "#").startswith(("#", "data:image/png;base64,")), (e.tag, e.attrs[name])
        assert not [name for name in e.attrs if name.startswith("on")]
    (style,) = committed.page.all("style")
    assert "url(" not in style.text and "@import" not in style.text
    (script,) = committed.page.all("script")
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    (policy,) = [e for e in committed.page.all("meta") if e.attrs.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy.attrs["content"] and f"'sha256-{digest}'" in policy.attrs["content"]


def test_the_same_records_give_the_same_page(toy):
    table, folder = toy
    once = page.html([content.of(table, folder)], folder)
    page._drawn.cache_clear()
    assert page.html([content.of(table, folder)], folder) == once


def test_a_figure_is_drawn_again_only_when_its_numbers_change(toy, monkeypatch):
    table, folder = toy
    drawn = []
    monkeypatch.setattr(page.plot, "figure", lambda table, cells, dpi: drawn.append(dpi) or b"png")
    monkeypatch.setattr(page.drawing, "small", lambda png: png)
    page._drawn.cache_clear()
    for _ in range(2):
        page.html([content.of(table, folder)], folder)
    assert len(drawn) == 1
    kept(runs_of(table, (4,))["Adam", "task", 4], folder)
    page.html([content.of(table, folder)], folder)
    assert len(drawn) == 2
    page._drawn.cache_clear()


# ---- texts of others


def test_every_text_is_escaped(toy):
    table, folder = toy
    runs = runs_of(table, (1, 2, 3))
    hostile = {"machine": {"cpu": BAD, "device": BAD, "threads": 2}, "commit": BAD, "warnings": [BAD]}
    kept(runs["Adam", "task", 1], folder, **hostile)
    kept(runs["EWC", "task", 1], folder, reason=BAD, correct=None)
    rows = []
    for row in table.rows:
        paper = {s: replace(p, paper=BAD, table=BAD, method=BAD, source=BAD, notes=BAD) for s, p in row.paper.items()}
        rows.append(replace(row, label=row.label + BAD, note=BAD, paper=paper, no_verdict=row.no_verdict and BAD))
    remarks = f"## Remarks {BAD}\n\n{BAD}\n\n[a](javascript:alert(3)) ![b](http://127.0.0.1/x.png) <http://127.0.0.1/>"
    bad = replace(table, title=BAD, source=BAD, rows=tuple(rows), remarks=remarks)
    text = page.html([content.of(bad, folder)], folder)
    found = Page(text)
    assert len(found.all("script")) == 1 and "alert" not in found.all("script")[0].text
    assert [e for e in found.all("img") if not e.attrs["src"].startswith("data:")] == []
    assert all(e.attrs["href"].startswith("#") for e in found.all("a"))
    assert all(not name.startswith("on") for e in found.elements for name in e.attrs)
    shown = found.all("body")[0].text
    for place in (f"Adam{BAD}", f"EWC{BAD}", f"make table-toy {shlex.quote('ROWS=Adam' + BAD)}", f"{BAD}, 2 threads"):
        assert place in shown, place
    assert shown.count(BAD) > 30


def test_remarks_are_markdown(toy):
    table, folder = toy
    text = "## Remarks\n\n### More\n\nA *word* and `code`:\n\n- one\n- two\n\n| a | b |\n| - | - |\n| 1 | 2 |\n"
    found = Page(page.html([content.of(replace(table, remarks=text), folder)], folder))
    (remarks,) = [e for e in found.all("details") if e.text.startswith("Remarks")]
    inside = [e.tag for e in found.elements if remarks in e.within]
    for tag in ("em", "code", "li", "table", "h5"):
        assert tag in inside
    assert inside.count("summary") == 1 and remarks.text.count("Remarks") == 1 and "h2" not in inside


# ---- a user's own runs


def test_a_users_own_runs(toy, tmp_path):
    table, folder = toy
    runs = runs_of(table, (1, 2, 3))
    stale = kept(runs["Adam", "task", 2], folder, digest="0" * 16)
    damaged = folder / runs["Adam", "task", 3].place
    damaged.write_text("{", encoding="utf-8")
    (damaged.parent / damaged.name.replace("seed3", "seedling")).write_text("mine", encoding="utf-8")
    before = sorted(folder.rglob("*"))
    shown = content.of(table, folder)
    assert sorted(folder.rglob("*")) == before
    (adam,) = [cell for cell in shown.cells if (cell.line.row, cell.line.scenario) == ("Adam", "task")]
    assert [ran.record.seed for ran in adam.runs] == [1] and adam.ours == "89.00 (1 of 3 runs)"
    assert any("1 stale records of other source code" in note for note in shown.caption)
    (fault,) = shown.faults
    assert damaged.name in fault and "is not a record" in fault
    assert stale.is_file() and fault in Page(page.html([shown], folder)).all("main")[0].text


def test_a_record_of_another_run_is_named(toy):
    table, folder = toy
    first, second = (folder / runs_of(table, (1, 2))["Adam", "task", seed].place for seed in (1, 2))
    first.write_bytes(second.read_bytes())
    (fault,) = content.of(table, folder).faults
    assert first.name in fault and "is the record of another run (naive task seed 2)" in fault


def test_a_record_of_other_data_is_stale_as_it_is_in_the_table(toy, tmp_path):
    table, folder = toy
    runs = list(runs_of(table, (1, 2, 3)).values())
    kept(runs[0], folder, data="0" * 16)
    shown = content.of(table, folder, tmp_path)
    recorded = [ran.record for cell in shown.cells for ran in cell.runs]
    assert recorded == [found for found in survey(runs, folder, tmp_path).records if found]
    assert runs[0] not in [found.run for found in recorded] and any("1 stale record" in note for note in shown.caption)


def test_where_the_data_are_not_there_their_identity_is_not_asked_for(toy, tmp_path):
    table, folder = toy
    mine = replace(table, rows=(replace(table.rows[0], stream={"name": "arrays", "data": "mine", "tasks": 2}),))
    for seed in (1, 2):
        kept(runs_of(mine, (seed,))["Adam", "task", seed], folder, data="known where they are")
    assert {ran.record.seed for cell in content.of(mine, folder, tmp_path).cells for ran in cell.runs} == {1, 2}


def test_a_committed_record_counts_whatever_its_digest_and_data(toy, monkeypatch):
    table, folder = toy
    for run in runs_of(table, (1,)).values():
        kept(run, folder, digest="0" * 16, data="0" * 16)
    monkeypatch.setattr(files, "REFERENCE", folder)
    assert all(cell.runs for cell in content.of(table, folder).cells if cell.row.method)


def test_a_table_without_a_record(toy, tmp_path):
    table, _ = toy
    shown = content.of(table, tmp_path / "empty")
    assert shown.frame is None and {cell.state for cell in shown.cells} == {content.WAITING, content.ALONE}
    assert "No run of this table is recorded" in page.html([shown], tmp_path)


def test_the_values_are_those_of_the_runs(toy):
    table, folder = toy
    cells = {(cell.line.row, cell.line.scenario): cell for cell in content.of(table, folder).cells}
    adam = cells["Adam", "task"]
    assert [ran.value for ran in adam.runs] == pytest.approx([89, 90, 91])
    assert adam.runs[0].machine == "a chip, cpu, 1 thread" and adam.command == "make table-toy ROWS=Adam SEEDS=1-3"
    assert (
        cells["EWC", "class"].strength == "lam = 4, from paper"
        and "lr = 0.01" in cells["EWC", "class"].options["training"]
    )
    assert cells["LwF", "task"].command == "" and cells["LwF", "task"].options == {}


@pytest.mark.parametrize("seeds", [[1], [7], [1, 2, 3], [2, 3], [1, 3], [9, 4, 5, 1], [5, 5]])
def test_seeds_as_the_command_line_takes_them(seeds):
    assert sorted(parse_seeds(content._span(seeds))) == sorted(set(seeds))


def test_the_command_survives_the_shell_and_make(toy, tmp_path):
    table, _ = toy
    label = 'it\'s $HOME `id`, #1 \\ % "x" $(shell id)'
    command = content._command(table, replace(table.rows[0], label=label), [1, 2])
    (tmp_path / "Makefile").write_text('table-toy:\n\t@printf \'%s|%s\' "$$ROWS" "$$SEEDS"\n', encoding="utf-8")
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == f"{label}|1-2"


# ---- written again and again


def test_live_is_written_again_until_ctrl_c(toy, tmp_path, monkeypatch):
    table, folder = toy
    monkeypatch.setattr(declaration, "names", lambda: ["toy"])
    monkeypatch.setattr(declaration, "load", lambda name: table)
    file, seen = tmp_path / "out" / "report.html", []

    def sleep(seconds):
        seen.append((file.stat().st_ino, Page(file.read_text(encoding="utf-8"))))
        if len(seen) == 3:
            raise KeyboardInterrupt
        if len(seen) == 1:
            kept(runs_of(table, (4,))["Adam", "task", 4], folder)

    monkeypatch.setattr(page.time, "sleep", sleep)
    assert main(["report", "--live", "--results", str(folder), "--file", str(file)]) == 0
    first, second, third = (inode for inode, _ in seen)
    assert first != second == third  # another file in its place, and only after another record
    assert all(float(found.all("body")[0].attrs["data-live"]) > 0 for _, found in seen)
    texts = [found.all("main")[0].text for _, found in seen]
    assert "SEEDS=1-4" not in texts[0] and "SEEDS=1-4" in texts[1]
    last = Page(file.read_text(encoding="utf-8"))
    assert "data-live" not in last.all("body")[0].attrs and list(file.parent.iterdir()) == [file]


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert main(["report", "--results", str(tmp_path / "nowhere"), "--file", str(tmp_path / "r.html")]) == 2
    error = capsys.readouterr().err
    assert f"RESULTS={tmp_path / 'nowhere'}: there is no such folder" in error and not (tmp_path / "r.html").exists()


# ---- drawings


def line(**fields):
    known = {"verdict": "differs", "difference": -4.0, "low": -6.0, "high": -2.0, "margin": 1.0}
    return next(pd.DataFrame([known | fields]).itertuples())


def test_an_interval_beside_its_margin():
    drawn = drawings.Interval.of(line())
    scale = 50 / (6 * drawings.EDGE)
    assert (drawn.low, drawn.difference, drawn.high) == pytest.approx(
        (50 - 6 * scale, 50 - 4 * scale, 50 - 2 * scale), abs=0.01
    )
    assert drawn.margin == pytest.approx((50 - scale, 50 + scale), abs=0.01)
    alone = drawings.Interval.of(line(verdict="inconclusive", low=float("nan"), high=float("nan")))
    assert (
        alone.low is None
        and alone.high is None
        and alone.difference == pytest.approx(50 - 50 / drawings.EDGE, abs=0.01)
    )
    assert drawings.Interval.of(line(difference=0.0, low=0.0, high=0.0, margin=0.0)).difference == 50
    assert drawings.Interval.of(line(verdict="unconfirmed")) is None and drawings.Interval.of(line(verdict="")) is None


def test_a_strip_of_runs():
    paper = SimpleNamespace(mean=92.0, std=2.0)
    drawn = drawings.Strip.of([88.0, 90.0], paper)
    left, right = drawn.ends
    assert left < 88 and right > 94 and drawn.mean == pytest.approx((drawn.runs[0] + drawn.runs[1]) / 2, abs=0.02)
    assert drawn.spread == pytest.approx([100 * (v - left) / (right - left) for v in (90, 94)], abs=0.01)
    assert drawn.runs[1] == drawn.spread[0]
    assert drawings.Strip.of([], paper) is None and drawings.Strip.of([1.0], None).paper is None


def test_the_bars_of_the_scoreboard():
    columns = {name: [0, 0, 0] for name in scoreboard.COLUMNS}
    columns |= {
        "published": [10, 5, 15],
        "runnable": [8, 5, 13],
        "run": [6, 0, 6],
        "reproduced": [5, 0, 5],
        "differs": [1, 0, 1],
    }
    drawn = drawings.bars(pd.DataFrame(columns, index=["a", "b", "all"]))
    assert [(s.state, s.count, s.left, s.width) for s in drawn["a"]] == [
        *[("reproduced", 5, 0, 50), ("differs", 1, 50, 10), ("not run yet", 2, 60, 20), ("not run here", 2, 80, 20)]
    ]
    assert [(s.state, s.width) for s in drawn["b"]] == [("not run yet", 50)] and drawn["a"][0].text == "5 ✓"


def test_text_on_a_colour_can_be_read():
    def luminance(colour):
        values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for colour, ink in drawings.colours().values():
        light, dark = sorted((luminance(colour), luminance(f"#{ink[1:] * 2}")), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


# ---- in a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    opened = browser.Browser(browser.find(), tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def shown(chromium, committed):
    """The committed report in a fresh tab's state; nothing may complain or be asked for."""
    chromium.messages.clear()
    chromium.requests.clear()
    chromium.size(1400)
    chromium.scheme("light")
    chromium.visit(committed.file.as_uri())
    yield chromium
    assert chromium.messages == []
    assert {url.partition(":")[0] for url in chromium.requests} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in chromium.requests) == 1


ROWS = "[...document.querySelectorAll('#splitmnist .cells tbody tr')].filter(r => !r.hidden)"


def test_sorting(shown):
    values = f"{ROWS}.map(r => r.cells[3].dataset.value).filter(v => v !== undefined).map(Number)"
    bare = f"{ROWS}.map(r => r.cells[3].dataset.value === undefined)"
    before = shown.js(values)
    shown.click("#splitmnist thead th:nth-child(4) button")
    assert shown.js(values) == sorted(before) != before
    shown.press("Enter")  # the heading has the focus
    assert shown.js(values) == sorted(before, reverse=True)
    assert shown.js(bare) == sorted(shown.js(bare)) and any(shown.js(bare))  # those without a value are last
    assert shown.js("document.querySelector('#splitmnist [aria-sort]').ariaSort") == "descending"
    shown.click("#splitmnist thead th:nth-child(1) button")
    names = shown.js(f"{ROWS}.map(r => r.dataset.method)")
    assert names == sorted(names, key=str.lower)
    assert shown.js("document.querySelectorAll('#splitmnist [aria-sort]').length") == 1


def test_filtering(shown, committed):
    rows = list(committed.page.rows())
    visible = "[...document.querySelectorAll('.cells tbody tr')].filter(r => r.checkVisibility()).length"
    assert shown.js(visible) == len(rows)
    shown.click("#by-method")
    shown.write("SI")
    assert 0 < shown.js(visible) < len(rows)
    assert shown.js("document.getElementById('found').value") == f"{shown.js(visible)} of {len(rows)} rows"
    shown.click("#filter button")
    assert shown.js(visible) == len(rows)
    for name, value in (("scenario", "domain"), ("state", "differs")):
        shown.js(f"document.getElementById('by-{name}').value = '{value}'")
        shown.js(f"document.getElementById('by-{name}').dispatchEvent(new Event('input', {{bubbles: true}}))")
    assert shown.js(visible) == sum((row[2], row[4]) == ("domain", "differs") for row in rows) > 0
    hidden = "[...document.querySelectorAll('section.table')].filter(t => !t.hidden).map(t => t.id)"
    assert set(shown.js(hidden)) == {row[0] for row in rows if (row[2], row[4]) == ("domain", "differs")}


def test_a_cell_opens_by_mouse_and_by_key(shown):
    opened = "[...document.querySelectorAll('dialog[open]')].map(d => d.id)"
    shown.click("#splitmnist tbody tr:nth-child(2) td:nth-child(5)")
    (first,) = shown.js(opened)
    assert "domain-incremental" in shown.js(f"document.getElementById('{first}').innerText")
    shown.click(f"#{first} .close")
    assert shown.js(opened) == []
    assert shown.js("document.activeElement.dataset.dialog") == first
    for key in ("Enter", " "):
        shown.js("document.querySelector('#splitmnist tbody tr:nth-child(3) .open').focus()")
        shown.press(key)
        (second,) = shown.js(opened)
        assert second != first
        shown.press("Escape")
        assert shown.js(opened) == []
        assert shown.js("document.activeElement.dataset.dialog") == second  # where one was before


def test_the_focus_is_seen(shown):
    shown.press("Tab")
    assert shown.js("document.activeElement.className") == "skip"
    shown.press("Tab")
    assert shown.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_dark_and_light(shown):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = shown.js(ground)
    shown.scheme("dark")
    assert light == "rgb(255, 255, 255)" and max(map(int, re.findall(r"\d+", shown.js(ground)))) < 60


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_does_not_scroll_sideways(shown, width):
    shown.size(width)
    shown.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert shown.js("document.documentElement.scrollWidth") == width
    # A picture is wide only once it is loaded, and that is when it comes into view.
    assert shown.js("[...document.images].every(i => getComputedStyle(i).maxWidth !== 'none')")
    for name in ("splitmnist", "rotatedmnist", "agem-permutedmnist"):
        shown.click(f"#{name} tbody tr .open")
        assert shown.js("(d => d.scrollWidth <= d.clientWidth)(document.querySelector('dialog[open]'))")
        assert shown.js("document.documentElement.scrollWidth") == width
        shown.press("Escape")


SCENARIO = "document.getElementById('by-scenario')"


def wait_until(chromium, condition):
    """Wait until a condition holds in a page that reloads itself."""
    for _ in range(400):
        with suppress(AssertionError):  # asked while it reloads
            if chromium.js(condition):
                return
        time.sleep(0.05)
    raise AssertionError(condition)


def test_a_live_page_reloads_and_keeps_the_filter(chromium, toy, tmp_path):
    table, folder = toy
    file = tmp_path / "live.html"
    page.write(folder, DEFAULT_ROOT, file, [table], live=0.5)
    chromium.messages.clear()
    chromium.visit(file.as_uri())
    chromium.js(f"{SCENARIO}.value = 'class'; filter()")
    chromium.click("#toy thead th:nth-child(1) button")
    kept(runs_of(table, (4,))["Adam", "class", 4], folder)
    page.write(folder, DEFAULT_ROOT, file, [table])
    wait_until(chromium, "document.readyState === 'complete' && !document.body.dataset.live")
    assert chromium.js(f"[{SCENARIO}.value, document.querySelectorAll('#toy [aria-sort]').length]") == ["class", 1]
    assert chromium.js("[...document.querySelectorAll('#toy tbody tr')].filter(r => !r.hidden).length") == 4
    assert "SEEDS=1-4" in chromium.js("document.querySelector('main').textContent")
    assert chromium.messages == []

"""Table files: the committed ones, and every mistake in one."""

import re
import tomllib
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest

import methods
from benchmarks.learner import Train
from benchmarks.machine import ROOT
from methods.base.errors import UserError
from methods.base.examples import SCENARIOS
from paper_tables import declaration, published, verdict
from paper_tables.seeds import parse_seeds
from tests.support import own
from tests.support.toy_table import TABLE, toy_loader


@pytest.fixture
def toy(tmp_path):
    return toy_loader(tmp_path)


def test_every_table_file_loads_and_every_cited_cell_exists():
    cells = published.load()
    found = {name: declaration.load(name) for name in declaration.names()}
    assert {"splitmnist", "splitdigits"} <= set(found)
    for each in found.values():
        assert all(cell == cells[cell.cell] for row in each.rows for cell in row.paper.values())


def test_the_stand_in_is_as_large_as_the_verdicts_say():
    """The counts in verdict.py are those of the committed tables."""
    wanted = re.search(r"so in (\d+) of the (\d+) judged cells.*?alone in (\d+) of", " ".join(verdict.__doc__.split()))
    frames = [pd.read_csv(file) for file in sorted((ROOT / "results" / "tables").glob("*.csv"))]
    cells = pd.concat([frame for frame in frames if "paper_std" in frame])
    judged = cells[cells.verdict.notna() & (cells.verdict != "unconfirmed") & (cells.ours_n >= 5)]
    judged = judged.dropna(subset=["paper_std", "ours_std"])
    covered = [(judged.paper_std <= times * judged.ours_std).sum() for times in (verdict.STAND_IN, 1)]
    assert tuple(map(int, wanted.groups())) == (covered[0], len(judged), covered[1])


def test_split_mnist_is_the_papers_table():
    mnist = declaration.load("splitmnist")
    papers = "Adam,SGD,Adagrad,L2,Naive rehearsal,Naive rehearsal-C,EWC,Online EWC,SI,MAS,LwF,GEM,DGR,RtF,Offline"
    assert [row.label for row in mnist.rows if row.paper] == papers.split(",")
    cited = {cell.cell for row in mnist.rows for cell in row.paper.values()}
    assert cited == {name for name in published.load() if name.startswith("hsu2018/table-2/split-mnist/")}
    assert [row.label for row in mnist.rows if row.no_verdict] == ["LwF", "DGR", "RtF"]
    assert all(row.method for row in mnist.rows)


# Hsu et al.'s coefficients (task, domain, class) of penalties without our factor 1/2, by row.
COEFFICIENTS = {"L2": (0.01, 0.5, 100), "EWC": (100, 100, 600), "Online EWC": (400, 700, 100)}


def test_strengths_are_the_papers():
    rows = {row.label: row for row in declaration.load("splitmnist").rows}
    for label, theirs in COEFFICIENTS.items():
        assert [rows[label].run(s, 1).method.options["lam"] for s in SCENARIOS] == [2 * value for value in theirs]
    assert [rows["SI"].run(s, 1).method.options["c"] for s in SCENARIOS] == [300, 3000, 600]
    assert [rows["MAS"].run(s, 1).method.options["lam"] for s in SCENARIOS] == [1, 1e4, 1]


@pytest.mark.parametrize("name", ["splitmnist", "splitdigits"])
def test_every_method_is_in_the_table(name):
    shown = {row.method["name"] for row in declaration.load(name).rows if row.method}
    assert shown | own.modules("methods") == set(methods.names())


def test_the_digits_have_the_strengths_of_their_search():
    """Every method with a strength is searched in every scenario, so that a broken formula moves its row."""
    for row in declaration.load("splitdigits").rows:
        cls = methods.find(row.method["name"])
        assert set(row.search) == ({cls.strength} if cls.strength else set())
        for option, values in row.search.items():
            assert all(row.run(s, 1).method.options[option] in values for s in row.scenarios)


def test_published_numbers_are_data_files_alone():
    """The only means in a table are those of pixels, in its streams."""
    for path in declaration.FOLDER.glob("*.toml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if "mean =" in line and not line.startswith("stream ")]


def test_the_runs_of_a_method_are_declared_once():
    """A row that measures the runs of the row above it stands in `also` there. A search is each row's own.

    So does one that needs a curve of them, as its metric asks for the curve.
    """
    for path in declaration.FOLDER.glob("*.toml"):
        for above, row in pairwise(tomllib.loads(path.read_text(encoding="utf-8"))["row"]):
            runs = [{key: each.get(key) for key in declaration.OF_THE_RUNS} for each in (above, row)]
            for run in runs:
                run["train"] = {key: value for key, value in (run["train"] or {}).items() if key != "curve"}
            repeated = "method" in row and "search" not in row and runs[0] == runs[1]
            assert not repeated, f"{path.name}: write {row['label']!r} into also of {above['label']!r}"


def test_a_run_is_resolved_for_its_scenario(toy):
    adam, ewc, *_ = toy().rows
    run = ewc.run("class", 3)
    assert (run.stream.name, run.stream.options["tasks"], run.scenario, run.seed) == ("splitdigits", 2, "class", 3)
    assert (run.method.name, run.method.options["lam"], run.method.options["gamma"]) == ("online_ewc", 4.0, 0.9)
    assert run.train == Train("mlp-8", "adam", 0.01, "keep", 8, epochs=1)
    assert ewc.run("task", 3).method.options["lam"] == 2.0 and ewc.run("task", 3).train.lr == 0.1
    assert adam.run("task", 1).train.lr == 1e-3


def test_defaults_and_cells(toy):
    found = toy()
    assert (found.margin, found.looks, found.seeds, found.remarks) == (1.0, 1, 3, "")
    adam, ewc, lwf, offline = found.rows
    assert adam.metric == "average_accuracy" and offline.metric == "micro_accuracy"
    assert set(adam.paper) == {"task", "class"} and set(ewc.paper) == {"task"} and offline.paper == {}
    assert lwf.method is None and lwf.no_verdict == "quoted from elsewhere"
    assert offline.scenarios == ("class",)


BWT = 'metric = "backward_transfer", paper = { task = "toy/ewc/task/bwt" }'


def test_also_adds_measures_of_the_same_runs(toy):
    ewc = (
        f'[{{ label = "A", {BWT}, note = "mine" }}, {{ label = "B", metric = "intransigence", reference = "Offline" }}]'
    )
    lwf = f'[{{ label = "C", {BWT} }}, {{ label = "D", {BWT}, no_verdict = "another reason" }}]'
    found = toy(
        ('metric    = "micro_accuracy"\nscenarios = ["class"]', ""),
        ('"A note on EWC"', f'"A note on EWC"\nalso = {ewc}'),
        ('"quoted from elsewhere"', f'"quoted from elsewhere"\nalso = {lwf}'),
    ).rows
    assert [row.label for row in found] == ["Adam", "EWC", "A", "B", "LwF", "C", "D", "Offline"]
    _, ewc, a, b, lwf, c, d, _ = found
    assert replace(a, label="EWC", metric=ewc.metric, paper=ewc.paper, note=ewc.note, best=ewc.best) == ewc
    assert (a.metric, set(a.paper), a.note) == ("backward_transfer", {"task"}, "mine")
    assert (b.metric, b.reference, b.paper, b.note) == ("intransigence", "Offline", {}, None)
    assert [b.run(scenario, 3) for scenario in b.scenarios] == [ewc.run(scenario, 3) for scenario in ewc.scenarios]
    assert c.method is None and c.no_verdict == lwf.no_verdict and d.no_verdict == "another reason"


A = 'label = "A", metric = "forgetting"'
RUNS = "the row's own; other runs need a [[row]] of their own"


@pytest.mark.parametrize(
    ("also", "message"),
    [
        (f"{{ {A} }}", ", row EWC: also must be a list, each item a table, got {'label': 'A', 'metric': 'forgetting'}"),
        ('["A"]', ", row EWC: also must be a list, each item a table, got ['A']"),
        ('[{ metric = "forgetting" }]', ", row EWC, also 1: label is missing"),
        ('[{ label = "A" }]', ", row EWC, also A: metric is missing"),
        (f'[{{ {A} }}, {{ label = "B", method = {{ name = "l2" }} }}]', f", row EWC, also B: method is {RUNS}"),
        (f'[{{ {A}, scenarios = ["task"] }}]', f", row EWC, also A: scenarios is {RUNS}"),
        ('[{ label = "A", metric = "intransigence" }]', ", row A: intransigence needs a reference"),
        (f"[{{ {A} }}, {{ {A} }}]", ": the row label 'A' is repeated; name each row once"),
    ],
)
def test_mistakes_in_also(toy, also, message):
    with pytest.raises(UserError) as error:
        toy(("note     =", f"also = {also}\nnote ="))
    assert str(error.value) == f"paper_tables/toy.toml{message}"


def test_unknown_names_in_also(toy):
    with pytest.raises(UserError, match=r"unknown key in .*, row EWC, also A: 'papr'; the nearest is 'paper'"):
        toy(("note     =", f'also = [{{ {A}, papr = "x" }}]\nnote ='))
    with pytest.raises(UserError, match=r"toml, row A: unknown metric 'forgeting'; the nearest is 'forgetting'"):
        toy(("note     =", 'also = [{ label = "A", metric = "forgeting" }]\nnote ='))


def test_a_searched_row_has_one_measure(toy):
    searched = 'method = { name = "l2", lam = "searched" }\nsearch = { lam = [1, 2] }\nstrength = "searched"'
    with pytest.raises(UserError, match="row Adam: a search is scored by one measure: leave out also, or write the st"):
        toy(('method = { name = "naive" }', f"{searched}\nalso = [{{ {A} }}]"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # unknown names, at every level, name the place and the nearest known one
        ("margin      = 1.0", "margn = 1.0", "key in paper_tables/toy.toml: 'margn'; the nearest is 'margin'"),
        ("note     =", "notes =", "key in paper_tables/toy.toml, row EWC: 'notes'; the nearest is 'note'"),
        ('strength = "paper"', 'strength = "papers"', "strength in .*row EWC 'papers'; the nearest is 'paper'"),
        (
            'metric      = "average_accuracy"',
            'metric = "accuracy"',
            "toy.toml: unknown metric 'accuracy'; the nearest is 'micro_accuracy'",
        ),
        ('"micro_accuracy"', '"micro"', "row Offline: unknown metric 'micro'; the nearest is 'micro_accuracy'"),
        ('["task", "class"]', '["task", "clas"]', "scenario in .*toml 'clas'; the nearest is 'class'"),
        ('scenarios = ["class"]', 'scenarios = ["domain"]', "scenario in .*row Offline 'domain'"),
        ("lam = { task", "lam = { tsk", "scenario in .*row EWC: method: lam 'tsk'; the nearest is 'task'"),
        ("lr = { task", "lr = { tsk", "scenario in .*row EWC: train: lr 'tsk'; the nearest is 'task'"),
        ("paper    = { task", "paper = { tsk", "scenario in .*row EWC: paper 'tsk'; the nearest is 'task'"),
        ('"toy/ewc/task"', '"toy/ew/task"', "row EWC: unknown published cell 'toy/ew/task'; .* 'toy/ewc/task'"),
        # wrong types
        ("margin      = 1.0", "margin = true", "margin must be a number above 0 and at most 3.0 points, got True"),
        ("seeds       = 3\n", "seeds = 3.0\n", "seeds must be a whole number from 1 to 1000, got 3.0"),
        ("seeds       = 3\n", "seeds = true\n", "seeds must be a whole number from 1 to 1000, got True"),
        ('{ name = "splitdigits", tasks = 2 }', '"toy"', "stream must be a table, got 'toy'"),
        ('{ name = "naive" }', '"naive"', "row Adam: method must be a table"),
        ('label  = "Adam"', "label = 3", "row 1: label must be a string, got 3"),
        ('{ task = "toy/ewc/task" }', '["toy/ewc/task"]', "row EWC: paper must be a string, or a table"),
        ('{ task = "toy/ewc/task" }', "{ task = 3 }", "row EWC: paper must name a published cell, got 3"),
        # values out of range
        ("margin      = 1.0", "margin = 0.0", "margin must be a number above 0 and at most 3"),
        ("margin      = 1.0", "margin = nan", "margin must be a number above 0"),
        ("margin      = 1.0", "margin = 3.5", "at most 3.0 points, got 3.5"),
        ("margin      = 1.0", "margin = 1.0\nlooks = 4", "looks must be a whole number from 1 to 3, got 4"),
        ("seeds       = 3\n", "seeds = 0\n", "seeds must be a whole number from 1 to 1000, got 0"),
        ('["task", "class"]', "[]", "scenarios is empty"),
        ('["task", "class"]', '["task", "class", "task"]', "the scenario 'task' is repeated"),
        # texts that are more than a text where they are shown
        ('label  = "Adam"', 'label = "Adam "', "row Adam : the label 'Adam ' has blanks at an end; leave them out"),
        ('label  = "Adam"', r'label = "a\nb"', "row 1: label must be one line without control characters"),
        ('label  = "Adam"', r'label = "\u202eb"', "row 1: label must be one line without control characters"),
        ('label  = "Adam"', 'label = "<b>x"', "label would be read as HTML at '<b'"),
        ('label  = "Adam"', 'label = "x &lt; y"', "label would be read as HTML at '&lt;'"),
        ('label  = "Adam"', 'label = "=1+1"', "a spreadsheet takes the label '=1.1' for a formula"),
        ('label  = "Adam"', 'label = " @x"', "a spreadsheet takes the label ' @x' for a formula"),
        ("A toy table", r"A toy\ntable", "toml: title must be one line"),
        ("A note on EWC", "A <script>", "row EWC: note would be read as HTML at '<s'"),
        ('"quoted from elsewhere"', r'"a\u0000"', "row LwF: no_verdict must be one line"),
        # values that no option has
        ("gamma = 0.9", "gamma = 1979-05-27", "row EWC: method: gamma must be a text, a number up to 3.4e"),
        ("gamma = 0.9", "gamma = 1e300", "row EWC: method: gamma must be .*, got 1e.300"),
        ("gamma = 0.9", "gamma = nan", "row EWC: method: gamma must be .*, got nan"),
        ("lr = 1e-3", f"lr = 1{'0' * 400}", "row Adam: train: lr must be .*, got 1000"),
        ("lr = 1e-3", f"lr = 1{'0' * 4400}", "toml is not TOML: Exceeds the limit"),
        ("tasks = 2 }", "tasks = 1979-05-27 }", "toml: stream: tasks must be"),
        ("gamma = 0.9", 'preset = ["hsu"]', "row EWC: method: preset must be a name"),
        ("margin      = 1.0", f"margin = 1.0\nx = {'[' * 3000}{']' * 3000}", "not TOML: maximum recursion"),
        ('"average_accuracy"', '"average_accuracy_after_0"', "unknown metric 'average_accuracy_after_0'"),
        # missing and repeated
        ("margin      = 1.0", "", "paper_tables/toy.toml: margin is missing"),
        ('label  = "Adam"', "", "row 1: label is missing"),
        ('label  = "Adam"', 'label = " "', "label is empty"),
        ('label  = "Adam"', 'label = "ewc"', "the row label 'EWC' is repeated"),
        ('strength = "paper"', "", "row EWC: strength is missing; say where .* paper or official code"),
        ("lam = { task = 2.0, class = 4.0 }", "lam = { task = 2.0 }", "lam lacks the scenario 'class'"),
        ('{ name = "joint" }', "{}", "row Offline: method needs a name"),
        ('{ name = "splitdigits", tasks = 2 }', "{ tasks = 2 }", "stream needs a name"),
        ('paper   = "toy/lwf/{scenario}"', "", "row LwF: has neither method nor paper"),
        ('no_verdict = "quoted', 'strength = "paper"\nno_verdict = "quoted', "row LwF: strength needs a method"),
        # what an intransigence is against
        ("note     =", 'metric = "intransigence"\nnote =', "row EWC: intransigence needs a reference"),
        ("note     =", 'reference = "Offline"\nnote =', "row EWC: average_accuracy takes no reference"),
        ('no_verdict = "quoted', 'reference = "Offline"\nno_verdict = "quoted', "row LwF: reference needs a method"),
        (
            'paper    = { task = "toy/ewc/task" }',
            'metric = "intransigence"\nreference = "Adam"',
            "unknown row of joint training in .*row EWC: reference 'Adam'",
        ),
        (
            "train    = { lr = { task = 1e-1, class = 1e-2 } }\n"
            'strength = "paper"\npaper    = { task = "toy/ewc/task" }',
            'train = { net = "mlp-4" }\nstrength = "paper"\nmetric = "intransigence"\nreference = "Offline"',
            "row EWC: net is 'mlp-4', but 'mlp-.*' in its reference 'Offline'",
        ),
        (
            'scenarios = ["class"]',
            'scenarios = ["class"]\n\n[[row]]\nlabel = "L2"\nstrength = "none"\nmethod = { name = "l2", lam = 1.0 }\n'
            'metric = "intransigence"\nreference = "Offline"',
            "row L2: its reference 'Offline' is not run task-incremental",
        ),
        (
            'method = { name = "naive" }\npaper  = "toy/adam/{scenario}"',
            'method = { name = "l2", lam = "searched" }\nsearch = { lam = [1, 2] }\nstrength = "searched"\n'
            'metric = "intransigence"\nreference = "Offline"',
            "row Adam: a search cannot be scored against the runs of another row: leave out one of the two",
        ),
        # the cell is of another kind
        ('"toy/ewc/task"', '"toy/ewc/task/bwt"', "is bwt_points of scenario task, the row is average_accuracy"),
        ('"toy/ewc/task"', '"toy/lwf/class"', "is avg_acc_final of scenario class, the row is"),
        ('"toy/ewc/task"', '"toy/none/task"', "'toy/none/task' holds no number"),
        # not TOML
        ("margin      = 1.0", "margin = ", r"paper_tables/toy.toml is not TOML: .*line 5"),
    ],
)
def test_mistakes_in_a_table_file(toy, old, new, message):
    toy()
    with pytest.raises(UserError, match=message) as error:
        toy((old, new))
    assert "\n" not in str(error.value)


def test_a_file_that_begins_with_a_mark_of_its_encoding(toy):
    rows = toy().rows
    (toy.folder / "toy.toml").write_text(TABLE, encoding="utf-8-sig")
    assert [row.label for row in declaration.load("toy", toy.folder).rows] == [row.label for row in rows]


def test_other_unusable_table_files(toy):
    with pytest.raises(UserError, match="declares no row"):
        toy(text=TABLE.split("[[row]]")[0] + "row = []\n")
    with pytest.raises(UserError, match=r"row must be a list, each item a table, got \['EWC'\]"):
        toy(text=TABLE.split("[[row]]")[0] + 'row = ["EWC"]\n')
    (toy.folder / "toy.toml").write_bytes(b"title = \xff\xfe")
    with pytest.raises(UserError, match=r"toy\.toml: it is not text in UTF-8"):
        declaration.load("toy", toy.folder)
    (toy.folder / "toy.toml").unlink()
    (toy.folder / "toy.toml").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*toy\.toml: Is a directory"):
        declaration.load("toy", toy.folder)
    with pytest.raises(UserError, match="unknown table 'spltmnist'; the nearest is 'splitmnist'"):
        declaration.load("spltmnist")
    with pytest.raises(UserError, match=r"unknown table '\.\./table'"):
        declaration.load("../table")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (None, ["Adam", "EWC", "LwF", "Offline"]),
        ("ewc", ["EWC"]),
        ("OFFLINE, naive", ["Adam", "Offline"]),
        ("joint,lwf", ["LwF", "Offline"]),
    ],
)
def test_select(toy, names, labels):
    assert [row.label for row in toy().select(names).rows] == labels


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("DGR", ["DGR", "DGR forgetting"]),
        ("DGR forgetting", ["DGR", "DGR forgetting"]),
        ("dgr", ["DGR", "DGR forgetting", "DGR+distill"]),
        ("DGR+distill,Offline", ["Offline", "DGR+distill"]),
        ("dgr+DISTILL", ["DGR+distill"]),
        ("Dgr", ["DGR", "DGR forgetting", "DGR+distill"]),
        ("Adam", ["Adam"]),
        ("naive", ["Adam", "Slow"]),
    ],
)
def test_a_label_as_it_is_written_takes_its_runs_alone(toy, names, labels):
    """A second row of the same method stays out, also where it differs in its training alone."""
    rows = """
        [[row]]
        label  = "DGR"
        method = { name = "dgr" }
        strength = "none"
        also   = [{ label = "DGR forgetting", metric = "forgetting" }]
        [[row]]
        label  = "DGR+distill"
        method = { name = "dgr", distill = true }
        strength = "none"
        [[row]]
        label  = "Slow"
        method = { name = "naive" }
        train  = { lr = 1e-5 }
    """
    declared = toy(text=TABLE + rows)
    assert [row.label for row in declared.select(names).rows] == labels


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("EWC, the mean, of all", ["EWC, the mean, of all"]),
        ("adam,ewc,the mean , of all,lwf", ["Adam", "EWC, the mean, of all", "LwF"]),
        ("online_ewc", ["EWC, the mean, of all"]),
        ("EWC", ["EWC"]),
        ("ewc, EWC, the mean, of all", ["EWC, the mean, of all", "EWC"]),
    ],
)
def test_a_label_may_have_commas(toy, names, labels):
    declared = toy(('label    = "EWC"', 'label = "EWC, the mean, of all"'), ('"Offline"', '"EWC"'))
    assert [row.label for row in declared.select(names).rows] == labels


@pytest.mark.parametrize("names", ["EWC, the mean", "of all", "the mean"])
def test_a_part_of_a_label_is_no_label(toy, names):
    with pytest.raises(UserError, match="unknown row of table toy"):
        toy(('label    = "EWC"', 'label = "EWC, the mean, of all"')).select(names)


@pytest.mark.parametrize("names", ["ewcc", "ewc,", ""])
def test_select_unknown(toy, names):
    with pytest.raises(UserError, match="unknown row of table toy"):
        toy().select(names)


def test_parse_seeds():
    assert parse_seeds("5") == (1, 2, 3, 4, 5)
    assert parse_seeds("1") == (1,)
    assert parse_seeds("3,7") == (3, 7)
    assert parse_seeds(" 12, 5 ") == (12, 5)
    assert parse_seeds("7,") == (7,)
    assert parse_seeds("3-6") == (3, 4, 5, 6) and parse_seeds("4-4") == (4,)
    assert parse_seeds("8, 1-3 ,20 - 21,") == (8, 1, 2, 3, 20, 21)
    assert parse_seeds("5000-5001") == (5000, 5001)
    assert len(parse_seeds("1-1000")) == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got ''"),
        ("0", "got '0'"),
        ("-3", "got '-3'"),
        ("2.5", "got '2.5'"),
        ("1e3", "got '1e3'"),
        ("many", "got 'many'"),
        ("3,,7", "got ''"),
        ("3,seven", "got 'seven'"),
        ("3,7,3", "seed 3 is repeated"),
        ("3,03", "seed 3 is repeated"),
        ("٣", "got '٣'"),
        ("1001", "limit is 1000"),
        ("2-1002", "limit is 1000"),
        ("1-999,2000-2001", "limit is 1000"),
        ("1-999999999999999999", "limit is 1000"),
        ("9-3", "run backwards"),
        ("3-", "got '3-'"),
        ("1-2-3", "got '1-2-3'"),
        ("1-3,2", "seed 2 is repeated"),
        (",", "got ''"),
        ("7,,", "got ''"),
        ("9" * 5000, "got '999"),
    ],
)
def test_parse_seeds_refuses(text, message):
    with pytest.raises(UserError, match=message):
        parse_seeds(text)


def test_a_learning_curve_must_be_measured(toy):
    metric = ('label    = "EWC"', 'label    = "EWC"\nmetric   = "lca_10"')
    paper = ('paper    = { task = "toy/ewc/task" }', "")
    with pytest.raises(UserError, match=r"row EWC: lca_10 needs curve = 10 in train, not 9$"):
        toy(metric, paper, ("epochs = 1 }", "epochs = 1, curve = 9 }"))
    with pytest.raises(UserError, match=r"row EWC: lca_10 needs curve = 10 in train, not 5$"):
        toy(metric, paper, ("epochs = 1 }", "epochs = 1, curve = { task = 12, class = 5 } }"))
    for text, curve in (("", 10), (", curve = 12", 12)):
        found = toy(metric, paper, ("epochs = 1 }", f"epochs = 1{text} }}"))
        assert [row.run("task", 1).train.curve for row in found.rows[:2]] == [curve if text else None, curve]


@pytest.mark.parametrize("value", ['"learnt"', '{ task = "learnt", domain = "all", class = "all" }'])
def test_a_measure_of_tasks_not_yet_learnt_needs_them_measured(toy, value):
    paper = ('paper    = { task = "toy/ewc/task" }', "")
    learnt = ("epochs = 1 }", f"epochs = 1, measured = {value} }}")
    for metric in ("forward_transfer", "forgetting"):
        with pytest.raises(
            UserError, match=rf"row EWC: {metric} counts tasks not yet learnt: leave measured = 'learnt'"
        ):
            toy(('label    = "EWC"', f'label    = "EWC"\nmetric   = "{metric}"'), paper, learnt)
    found = toy(('label    = "EWC"', 'label    = "EWC"\nmetric   = "forgetting_since_learnt"'), paper, learnt)
    assert found.rows[1].run("task", 1).train.measured == "learnt"

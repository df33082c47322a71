"""The tables of the literature: every row can be run, nothing that a paper prints is left out, strengths are theirs."""

import re

import pytest

from paper_tables import declaration, published, runs

TABLES = [name for name in declaration.names() if name not in ("splitdigits", "splitmnist")]
MULTI = "chaudhry2018/table-1-multi-head/incremental-mnist/"
SINGLE = "chaudhry2018/table-1-single-head/incremental-mnist/"
# Table -> beginnings of the cells that it cites, and those that it leaves out.
CITED = {
    "fisher": ("vandeven2025fisher/results-table/split-mnist/",),
    "gem-mnist-rotations": ("lopezpaz2017/table-3/mnist-rotations/",),
    "gem-mnist-permutations": ("lopezpaz2017/figure-1/mnist-permutations/",),
    "agem-permutedmnist": (
        "chaudhry2019agem/table-4/permuted-mnist/",
        "chaudhry2019agem/lca10/permuted-mnist/",
    ),
    "agem-splitcifar": tuple(f"chaudhry2019agem/{table}/split-cifar-100/" for table in ("table-3", "table-4", "lca10")),
    "agem-splitcifar-orders": tuple(
        f"chaudhry2019agem/{table}/split-cifar-100/van-fine-tuning/" for table in ("table-4", "lca10")
    ),
    "mas-splitmnist": ("aljundi2018/demo-notebook/split-mnist-demo/",),
    "rwalk-splitmnist": (MULTI, *(f"{SINGLE}{method}/" for method in ("vanilla", "ewc", "pi-si"))),
    "rwalk-splitmnist-samples": tuple(f"{SINGLE}{method}-s-" for method in ("vanilla", "ewc", "pi", "rwalk")),
    "rotatedmnist": ("ntu2022hw14_community/run-log/rotated-mnist/",),
    "si-splitmnist": ("zenke2017/figure-3-notebook/split-mnist/",),
    "si-permutedmnist": ("zenke2017/figure-4-data/permuted-mnist/",),
    "vandeven2018-splitmnist": ("vandeven2018rtf/table-3/split-mnist/",),
    "vandeven2019-splitmnist": ("vandeven2019/table-4/split-mnist/",),
    "permutedmnist": (
        "vandeven2018rtf/table-4/permuted-mnist/",
        "vandeven2019/table-5/permuted-mnist/icarl-budget-2000/",
    ),
    "vandeven2022-splitmnist": ("vandeven2022/neurips-2022-tutorial-figure/split-mnist/",),
    "vandeven2022-splitmnist-orders": tuple(
        f"vandeven2022/neurips-2022-tutorial-figure/split-mnist/{row}/domain"
        for row in ("none-lower-target", "ewc", "si", "lwf")
    ),
}
LEFT_OUT = {
    "vandeven2022-splitmnist": r"/(none-lower-target|ewc|si|lwf)/domain$",  # on the orders of the paper
    "agem-splitcifar": "/van-fine-tuning/",  # on the orders of the paper
    "fisher": "train-time",  # of a GPU
    "agem-permutedmnist": "gem/domain/curve$",  # of another run file
    "mas-splitmnist": r"task-\d-acc$",  # the average of these is there
}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_can_be_run(name):
    declared = declaration.load(name)
    for row in declared.rows:
        first = {option: values[0] for option, values in row.search.items()}
        for scenario in row.scenarios if row.method else ():
            assert row.trial(scenario, 1, first).scenario == scenario
    assert declared.remarks or name not in CITED


@pytest.mark.parametrize("name", CITED)
def test_every_cell_of_the_paper_is_cited_once(name):
    cited = [cell.cell for row in declaration.load(name).rows for cell in row.paper.values()]
    known = [cell for cell in published.load() if cell.startswith(CITED[name])]
    assert sorted(cited) == sorted(cell for cell in known if not re.search(LEFT_OUT.get(name, "^$"), cell))


def options(name):
    """(label, scenario) -> the options of the method and of the training, resolved."""
    found = runs.runs_of(declaration.load(name), (1,))
    return {
        (label, scenario): {**run.to_json()["train"], **run.method.to_json()}
        for (label, scenario, _), run in found.items()
    }


def test_lopez_paz_and_ranzato():
    for name, rates, strength, memory in (
        ("gem-mnist-rotations", {"naive": 0.003, "ewc": 0.01, "gem": 0.1}, 1000, 1000),
        ("gem-mnist-permutations", {"naive": 0.03, "ewc": 0.1, "gem": 0.1}, 3, 10),
    ):
        for (label, _), run in options(name).items():
            assert run["lr"] == rates[run["name"]]
            assert run["epochs"] == int((re.search(r"\d", label) or "1")[0])
            if run["name"] == "ewc":
                assert run["lam"] == 2 * strength and run["n_samples"] == run["fisher_batch"] == memory
            if run["name"] == "gem":
                mode = "shift" if "margin added" in label else "bound"
                assert (run["per_task"], run["margin"], run["margin_mode"]) == (256, 0.5, mode)
                assert run["eps"] == (0 if "without eps" in label else 1e-3)


def test_chaudhry_et_al_2019():
    rates = {"naive": 0.03, "ewcpp": 0.03, "joint": 0.03}  # 0.1 for the others
    strengths = {"ewcpp": 2 * 10, "si": 0.1, "mas": 0.1, "rwalk": 1}
    for run in options("agem-permutedmnist").values():
        assert (run["lr"], run["batch"], run["epochs"]) == (rates.get(run["name"], 0.1), 10, 1)
        assert run.get("lam", run.get("c")) == strengths.get(run["name"])
        if run["name"] in ("agem", "gem"):
            assert run.get("per_task", 10 * run.get("per_class", 0)) == 250
        if run["name"] == "ewcpp":
            assert (run["alpha"], run["interval"], run["per_sample"], run["normalise"]) == (0.9, 10, False, True)
        assert run.get("variant", "released") == "released"
        if run["name"] == "mas":
            assert (run["ema"], run["per_sample"]) == (0, False)


def test_chaudhry_et_al_2019_on_cifar():
    rates, strengths = {"naive": 0.01, "si": 0.01}, {"ewcpp": 2 * 10, "si": 0.1, "mas": 0.1, "rwalk": 1}
    for run in options("agem-splitcifar").values():
        assert (run["lr"], run["batch"], run["epochs"]) == (rates.get(run["name"], 0.03), 10, 1)
        assert (run["curve"], run["measured"], run["net"]) == (10, "learnt", "resnet18-reduced,one_axis")
        assert run.get("lam", run.get("c")) == strengths.get(run["name"])
        assert run.get("interval", 50) == 50 and (run["name"] != "agem" or run["per_class"] == 13)
        if run["name"] == "ewcpp":
            assert (run["alpha"], run["per_sample"], run["from_zero"], run["normalise"]) == (0.9, False, True, True)
        if run["name"] == "mas":
            assert (run["ema"], run["per_sample"], run["lam"]) == (0, False, 0.1)
        assert run.get("variant", "released") == "released" and run.get("clamp", "increment") == "increment"
    found = runs.runs_of(declaration.load("agem-splitcifar"), (1,))
    assert len({run.place for run in found.values()}) == 6  # a run gives all measures of its method


GATED = {"vandeven2018-splitmnist": 0.95, "vandeven2019-splitmnist": 0.95, "vandeven2022-splitmnist": 0.9}
REPLAYED = {  # in the code of each paper: KD, own_images, a bias of the head of logvar, apart
    "vandeven2018-splitmnist": ("mean_T2", True, True, True),
    "permutedmnist": ("mean_T2", True, True, True),
    "vandeven2019-splitmnist": ("mean_T2", False, False, False),
    "vandeven2022-splitmnist": ("sum", False, False, False),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_van_de_ven_replay_and_gates(name):
    kinds = set()
    for (label, _), run in options(name).items():
        kinds.add(run["name"])
        if run["name"] == "xdg":
            assert run["gated"] == GATED.get(name, 0.55)
        if run["name"] in ("dgr", "rtf"):
            apart = run.get("apart", REPLAYED[name][-1])  # RtF is one network
            assert (run["KD"], run["own_images"], run["logvar_bias"], apart) == REPLAYED[name]
            assert (run["recon"], run["z"], run["T"]) == ("bce", 100, 2)
            assert run["net"] == "-".join(["mlp", *map(str, run["hidden"])])
            assert run.get("distill", True) == (label != "DGR")
    assert kinds >= {"xdg", "dgr"} | ({"rtf"} if name in ("vandeven2018-splitmnist", "permutedmnist") else set())


def test_van_de_ven_and_tolias_2019():
    strengths = {
        "ewc": {"task": 1e7, "domain": 1e6, "class": 1e8},
        "online_ewc": {"task": 1e8, "domain": 1e8, "class": 1e9},
        "si": {"task": 50, "domain": 500, "class": 0.5},
    }
    gamma = {"task": 0.8, "domain": 0.7, "class": 0.8}
    for (label, scenario), run in [
        *options("vandeven2019-splitmnist").items(),
        *options("vandeven2018-splitmnist").items(),
    ]:
        assert (run["steps"], run["epochs"], run["batch"], run["lr"]) == (2000, None, 128, 1e-3)
        if run["name"] in strengths:
            assert run.get("lam", run.get("c")) == strengths[run["name"]][scenario]
        if run["name"] in ("ewc", "online_ewc"):
            assert (run["fisher"], run["n_samples"]) == ("argmax", None)
            assert run.get("gamma", gamma[scenario]) == gamma[scenario]
        if run["name"] == "lwf":
            assert (run["weighting"], run["unit_mean"], run["T"], run["lam"]) == ("vdv", "text" not in label, 2, 1)
        if run["name"] == "icarl":
            assert (run["K"], run["loss_units"], run["share"], run["classifier"]) == (2000, "seen", "floor", "nme")
            assert (run["selection"], run["T"]) == (("herding", 1) if "its paper" in label else ("random", 2))


def test_van_de_ven_and_tolias_on_permuted_mnist():
    lam = {"ewc": {"task": 500, "domain": 500, "class": 1}, "online_ewc": {"task": 500, "domain": 1000, "class": 5}}
    lam["lwf"] = dict.fromkeys(lam["ewc"], 1)
    c, gamma = {"task": 5, "domain": 5, "class": 0.1}, {"task": 0.8, "domain": 0.9, "class": 1}
    for (label, scenario), run in options("permutedmnist").items():
        assert (run["steps"], run["epochs"], run["batch"], run["lr"]) == (5000, None, 128, 1e-4)
        assert (run["net"], run["optimizer"], run["optimizer_state"]) == ("mlp-1000-1000", "adam", "keep")
        assert run.get("lam") == lam.get(run["name"], {}).get(scenario)
        assert (run.get("c", c[scenario]), run.get("gamma", gamma[scenario])) == (c[scenario], gamma[scenario])
        fisher = "empirical" if "empirical" in label else "argmax"
        assert (run.get("fisher", fisher), run.get("grad", "total"), run.get("T", 2)) == (fisher, "total", 2)
        assert run.get("K", 2000) == 2000 and run.get("n_samples") is None and run.get("unit_mean", True)
    stream = declaration.load("permutedmnist").rows[0].stream
    assert (stream["tasks"], stream["pad"], stream.get("first", "permuted")) == (10, 2, "permuted")


def test_van_de_ven_et_al_2022():
    strengths = {"ewc": {"task": 1e5, "domain": 1e10, "class": 1e9}, "si": {"domain": 5e4, "class": 5e3}}
    strengths["lwf"] = {"domain": 1, "class": 1}
    kept = {"replay": ("class_balanced", "vdv", 128), "icarl": (None, None, None)}
    for (label, scenario), run in options("vandeven2022-splitmnist").items():
        assert (run["steps"], run["epochs"], run["batch"], run["lr"]) == (2000, None, 128, 1e-3)
        assert run.get("per_class") == (100 if run["name"] in kept else None)
        if run["name"] in kept:
            assert tuple(map(run.get, ("buffer", "weighting", "batch_memory"))) == kept[run["name"]]
        assert run["name"] != "icarl" or (run["loss_units"], run["classifier"]) == ("seen", "nme")
        assert (run.get("T", 2), run.get("selection", "random")) == (2, "random")
        if run["name"] == "lwf":
            assert (run["weighting"], run["unit_mean"]) == ("vdv" if "2019" in label else "vdv2022", False)
        assert run.get("lam", run.get("c")) == strengths.get(run["name"], {}).get(scenario)
        assert run.get("fisher", "exact") == "exact" and run.get("n_samples") is None
        assert (run.get("grad", "total"), run.get("clamp", "none"), run.get("xi", 0.1)) == ("total", "none", 0.1)
    assert declaration.load("vandeven2022-splitmnist").rows[0].stream["active_units"] == "all"


@pytest.mark.parametrize(
    ("plain", "order"),
    [
        ("vandeven2022-splitmnist", {"order": "numpy", "order_seeds": [2, 21]}),
        ("agem-splitcifar", {"order": "shuffled", "order_seeds": [1234, 1238]}),
    ],
)
def test_on_the_orders_of_the_paper(plain, order):
    """But for the class order, the runs are those of the table with orders of ours."""
    table = declaration.load(f"{plain}-orders")
    assert table.same_orders
    ours, theirs = options(plain), options(table.name)
    assert theirs == {cell: ours[cell] for cell in theirs}
    assert table.rows[0].stream == {**declaration.load(plain).rows[0].stream, **order}


def test_zenke_et_al():
    for name, expected in (("si-splitmnist", ("keep", 10, 64, 0.001)), ("si-permutedmnist", ("keep", 20, 256, 0.1))):
        for (label, _), run in options(name).items():
            state = "reset" if "with reset" in label else expected[0]
            assert (run["optimizer_state"], run["epochs"], run["batch"], run.get("xi", expected[3])) == (
                state,
                *expected[1:],
            )
            assert run.get("clamp", "cumulative") == "cumulative" and run["net"].partition(",")[2].startswith("xavier")
            strength = re.search(r"c = (\S+)", label)
            assert run.get("c") == (None if run["name"] == "naive" else float(strength[1]) if strength else 1.0)
    assert declaration.load("si-splitmnist").rows[0].stream["evaluate"] == "train"


def test_the_course_notebook():
    strengths = {"online_ewc": 2 * 100, "mas": 0.1, "si": 1, "rwalk": 100, "scp": 100}
    for run in options("rotatedmnist").values():
        assert (run.get("grad", "total"), run.get("clamp", "none"), run.get("xi", 0.1)) == ("total", "none", 0.1)
        assert (run["lr"], run["epochs"], run["batch"], run["optimizer_state"]) == (1e-4, 10, 128, "reset")
        assert run.get("lam", run.get("c")) == strengths.get(run["name"])
    rows = declaration.load("rotatedmnist").rows
    assert all(bool(row.no_verdict) == row.label.startswith(("RWalk", "SCP")) for row in rows)


def test_aljundi_et_al():
    for run in options("mas-splitmnist").values():
        assert (run["lam"], run["batch"], run["epochs"], run["lr"]) == (1, 200, 20, 1e-3)  # batch: of the importance
        assert (run["per_sample"], run["unit_mean"], run["optimizer"]) == (False, False, "momentum")
    assert {run.train.batch for run in runs.runs_of(declaration.load("mas-splitmnist"), (1,)).values()} == {150}


def test_chaudhry_et_al_2018():
    strengths = {"ewcpp": 2 * 75000, "si": 0.1, "rwalk": 1000}
    for name in ("rwalk-splitmnist", "rwalk-splitmnist-samples"):
        for (label, _), run in options(name).items():
            expected = 0 if label.startswith("Vanilla-S") else strengths.get(run["name"])
            assert run.get("lam", run.get("c")) == expected
            assert run.get("per_class", 10) == 10 and (run.get("sampler") is not None) == ("-S" in label)
        declared = declaration.load(name)
        assert {row.reference for row in declared.rows if row.method and row.metric == "intransigence"} == {"Joint"}
        assert not any(cell.verified for row in declared.rows for cell in row.paper.values())
        assert all(row.stream.get("active_units", "seen") == "current" for row in declared.rows) == (
            "samples" not in name
        )

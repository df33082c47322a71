"""A small table file, published cells and synthetic runs, with numbers that can be checked by hand."""

from types import SimpleNamespace

import numpy as np

from paper_tables import declaration, published
from tests.support.records import MADE_BY

TABLE = """
title       = "A toy table"
source      = "A protocol of 100 % & more"
metric      = "average_accuracy"
margin      = 1.0
scenarios   = ["task", "class"]
seeds       = 3
stream      = { name = "splitdigits", tasks = 2 }
train       = { net = "mlp-8", optimizer = "adam", lr = 1e-3, optimizer_state = "keep", batch = 8, epochs = 1 }

[[row]]
label  = "Adam"
method = { name = "naive" }
paper  = "toy/adam/{scenario}"

[[row]]
label    = "EWC"
method   = { name = "online_ewc", lam = { task = 2.0, class = 4.0 }, gamma = 0.9 }
train    = { lr = { task = 1e-1, class = 1e-2 } }
strength = "paper"
paper    = { task = "toy/ewc/task" }
note     = "A note on EWC"

[[row]]
label   = "LwF"
paper   = "toy/lwf/{scenario}"
no_verdict = "quoted from elsewhere"

[[row]]
label     = "Offline"
method    = { name = "joint" }
metric    = "micro_accuracy"
scenarios = ["class"]
"""
CELLS = [
    "toy/adam/task,P,T,B,task,Adam,avg_acc_final,90.00,1.00,std,10,,yes,s,",
    "toy/adam/class,P,T,B,class,Adam,avg_acc_final,20.0,,none,10,,yes,s,",
    "toy/ewc/task,P,T,B,task,EWC,avg_acc_final,95.00,,none,,,no,s,",
    "toy/ewc/task/bwt,P,T,B,task,EWC,bwt_points,-5.00,,none,,,yes,s,",
    "toy/none/task,P,T,B,task,X,avg_acc_final,,,none,,,no,s,",
    "toy/lwf/task,P,T,B,task,LwF,avg_acc_final,99.60,0.03,sem,20,,yes,s,",
    "toy/lwf/class,P,T,B,class,LwF,avg_acc_final,24.17,0.33,sem,20,,yes,s,",
]


def toy_loader(tmp_path):
    """A function: replacements in the toy table's text -> the loaded table."""
    folder = tmp_path / "paper_tables"
    (folder / "published").mkdir(parents=True)
    (folder / "published" / "toy.csv").write_text(
        "\n".join([",".join(published.COLUMNS), *CELLS]) + "\n", encoding="utf-8"
    )

    def load(*changes, text=TABLE):
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "toy.toml").write_text(text, encoding="utf-8")
        return declaration.load("toy", folder)

    load.folder = folder
    return load


def run(seed, *last, total=(100, 300)):
    """A finished run that ends with these percentages."""
    accuracy = np.full((3, 2), 0.5)
    accuracy[-1] = np.array(last) / 100
    seconds = {"training": 10.0 * seed, "importance": 1.0}
    return SimpleNamespace(
        seed=seed,
        accuracy=accuracy,
        total=np.array(total),
        seconds=seconds,
        reason=None,
        warnings=None,
        added=None,
        **MADE_BY,
    )


def failed(seed, reason="the loss is NaN at step 7"):
    return SimpleNamespace(seed=seed, accuracy=None, total=None, reason=reason, warnings=["too steep"])


# Means by hand: Adam task 89, 90, 91 -> 90 +- 1; Adam class 20 +- 0.25; EWC task 80, 82 and one failure; EWC class one
# of three runs; Offline (20 + 3 * 40) / 4 = 35 in every run.
RESULTS = {
    ("Adam", "task"): [run(1, 88, 90), run(2, 89, 91), run(3, 90, 92)],
    ("Adam", "class"): [run(1, 39.5, 0), run(2, 40, 0), run(3, 40.5, 0)],
    ("EWC", "task"): [run(1, 80, 80), failed(2), run(3, 82, 82)],
    ("EWC", "class"): [run(1, 60, 62)],
    ("Offline", "class"): [run(1, 20, 40), run(2, 20, 40), run(3, 20, 40)],
}
SEEDS = (1, 2, 3)

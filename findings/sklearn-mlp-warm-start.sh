#!/usr/bin/env bash
# scikit-learn 1.9.1: an MLPClassifier with warm_start=True trains every task after the first for one epoch.
#
# Expected: fit goes on from the weights of the last task and trains until the loss on the new one no longer falls; the
# documentation says that warm_start reuses "the solution of the previous call to fit as initialization". Seen: the best
# loss so far and the count of epochs without improvement outlive the call too. The first fit ended because that count
# was full, and the first epoch of a new task is no better than the best one of the old, so fit returns after it. With
# early_stopping=True it is the same with the validation score. If the first fit ended at max_iter, the second gets some
# ten epochs and the others one. Nothing warns, not even of a lack of convergence; n_iter_ is the only sign. On five
# tasks of permuted digits, each new task is near 0.1 after its training, where a fresh network gets 0.97, and the first
# task stays near 0.9 to the end, where fine-tuning drops it below 0.2. A user reads that fine-tuning forgets little and
# that a network loses its plasticity with the first task. MLPRegressor does it too.
# What puts it right: n_iter_no_change=np.inf with the number of epochs in max_iter.
# Upstream mended in 2020 that a warm start took one step for another reason (scikit-learn/scikit-learn, issue 16812,
# pull request 18269). We found no report of this one.
# Versions: scikit-learn 1.9.1, numpy 2.4.6, scipy 1.17.1, CPython 3.11. One to three minutes, 65 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps scikit-learn==1.9.1 \
    numpy==2.4.6 scipy==1.17.1 joblib==1.6.0 cloudpickle==3.1.3 threadpoolctl==3.8.0 narwhals==2.29.0
cd "$folder"

OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "$folder/venv/bin/python" -W error - <<'PY'
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

x, y = load_digits(return_X_y=True)
x, test_x, y, test_y = train_test_split(x / 16, y, test_size=0.3, random_state=0, stratify=y)
pixels = [np.arange(64), *(np.random.RandomState(task).permutation(64) for task in range(1, 5))]


def train(title, seed, make=MLPClassifier, tasks=5, warm_start=True, **options):
    """Train one net on the tasks; return epochs and score on each task after it, and the first task's at the end."""
    net = make(max_iter=1000, random_state=seed).set_params(warm_start=warm_start, **options)
    epochs, new = [], []
    for columns in pixels[:tasks]:
        net.fit(x[:, columns], y)
        epochs.append(net.n_iter_)
        new.append(net.score(test_x[:, columns], test_y))
    first = net.score(test_x, test_y)
    print(f"{title}, seed {seed}: epochs {epochs}, new task {np.round(new, 2).tolist()}, first task last {first:.2f}")
    return epochs, np.array(new), first


epochs, new, _ = train("a fresh net each", 0, tasks=3, warm_start=False)
assert min(epochs) > 100 and new.min() > 0.95
assert train("MLPRegressor", 0, MLPRegressor, tasks=3)[0][1:] == [1, 1]
for seed in range(2):
    for early in (False, True):
        epochs, new, first = train(f"warm start, early_stopping={early}", seed, early_stopping=early)
        assert epochs[1:] == [1, 1, 1, 1], "a second task is trained for longer now"
        assert new[0] > 0.9 and new[1:].mean() < 0.25 and first > 0.8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the fits that end at max_iter
        epochs, _, _ = train("the same, max_iter at its default", seed, max_iter=200)
        assert epochs[0] == 200 and max(epochs[1:]) <= 11
        epochs, new, first = train("warm start, n_iter_no_change=inf", seed, max_iter=50, n_iter_no_change=np.inf)
        assert epochs == [50] * 5 and new.min() > 0.9 and first < 0.5, "the way out is none"
PY

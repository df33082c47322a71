#!/usr/bin/env bash
# autorank 1.3.0: the report calls methods different whose confidence intervals overlap by up to half, at any alpha.
#
# Expected: for three or more methods with normal scores, the differences that Tukey's HSD finds at the family-wise
# level alpha. The report names both, and says that methods differ whose confidence intervals do not overlap. Seen: it
# compares the difference of two means with the half width of one interval. Intervals stop to overlap at twice that, so
# half of Tukey's distance is enough. Of four methods, three equal and one better, with ten seeds each, it tells equal
# ones apart in 14 of 50 tables; Tukey's test does so in none. And alpha reaches the first test alone: the intervals are
# those of 0.05, so a report at alpha=0.001 makes the same claims. A user publishes an order that chance made.
# What puts it right: scipy.stats.tukey_hsd on the columns, or force_mode="nonparametric", whose distance is right.
# Upstream has no report of it that we found. The repository's newest commit (10b65d3) has the same lines.
# Versions: autorank 1.3.0, scipy 1.17.1, statsmodels 0.15.0, pandas 3.1.1, numpy 2.4.6, CPython 3.11. One to
# three minutes, 110 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps autorank==1.3.0 baycomp==1.0.3 \
    numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 statsmodels==0.15.0 patsy==1.0.3 packaging==26.4 matplotlib==3.11.2 \
    contourpy==1.3.3 cycler==0.12.1 fonttools==4.68.0 kiwisolver==1.5.1 pillow==13.0.0 pyparsing==3.3.3 \
    python-dateutil==4.0.0 jinja2==3.1.6 markupsafe==3.0.4
cd "$folder"

OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MPLBACKEND=agg MPLCONFIGDIR="$folder" "$folder/venv/bin/python" <<'PY'
import contextlib
import io
import itertools
import re

import numpy as np
import pandas as pd
from autorank import autorank, create_report
from scipy.stats import tukey_hsd

EQUAL = list(itertools.combinations("ABC", 2))


def report(scores, **options):
    """Return the result, the last sentences of the report, and the pairs of equal methods that it calls different."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        result = autorank(scores, **options)
        create_report(result)
    last = text.getvalue()[text.getvalue().rfind("\nBased") + 1 :].strip()
    together = []  # the groups within which the report sees no difference
    if result.pvalue >= result.alpha:
        together = [set("ABCD")]
    elif "groups: " in last:
        named = last.split("groups: ")[1].split(". All")[0].split(";")
        together = [set(re.findall(r"\b[A-D]\b", group)) for group in named]
    return result, last, [pair for pair in EQUAL if not any(group >= set(pair) for group in together)]


rng = np.random.default_rng(0)
tables = told_apart = by_tukey = by_nemenyi = 0
shown = None
while tables < 50:
    scores = pd.DataFrame(rng.normal([0.9, 0.9, 0.9, 0.93], 0.01, size=(10, 4)), columns=list("ABCD"))
    result, last, pairs = report(scores)
    if result.omnibus != "anova":  # scores that do not look normal
        continue
    tables += 1
    told_apart += bool(pairs)
    by_tukey += tukey_hsd(*scores.to_numpy().T).pvalue[:3, :3].min() < 0.05
    by_nemenyi += bool(report(scores, force_mode="nonparametric")[2])
    if pairs and shown is None:
        shown = scores, result, last, pairs[0]
print(f"equal methods differ in {told_apart} of {tables} tables, by Tukey in {by_tukey}, by Nemenyi in {by_nemenyi}")
assert told_apart > 10 and by_tukey <= 5 and by_nemenyi <= 5, "the report agrees with Tukey now"

scores, result, last, pair = shown
interval = result.rankdf.loc[list(pair), ["ci_lower", "ci_upper"]].astype(float)
p = tukey_hsd(*(scores[name] for name in "ABCD")).pvalue["ABCD".index(pair[0]), "ABCD".index(pair[1])]
print(last)
print(f"intervals of {pair[0]} and {pair[1]}, Tukey's p = {p:.2f}:\n{interval.round(4).to_string()}")
assert interval["ci_lower"].max() < interval["ci_upper"].min() and p > 0.05, "the intervals do not overlap"

strict, again, _ = report(scores, alpha=0.001)
assert strict.pvalue < 0.001 == strict.alpha and again == last, "alpha reaches the second test now"
assert (strict.rankdf["ci_upper"] == result.rankdf["ci_upper"]).all()
print("the same sentence and intervals at alpha=0.001")
PY

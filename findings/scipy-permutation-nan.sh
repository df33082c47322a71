#!/usr/bin/env bash
# scipy 1.17.1: a run that diverged makes permutation_test report p = 0, the strongest evidence there is.
#
# Expected: with a NaN among the scores the p-value is NaN, as from ttest_ind, wilcoxon, mannwhitneyu and ttest_rel, so
# that `p < 0.05` is false. Seen: permutation_test returns a statistic of NaN with a p-value of exactly 0.0. No
# permutation compares as at least as extreme as NaN, and an exact test counts no more than those. With resampling it is
# the smallest value that the count allows, 1 / (n_resamples + 1), times 2 for a two-sided test. There is no nan_policy
# and no warning. A user who compares methods by seeds, one of which ended with a loss of NaN, gets "significant" at
# every level, and Holm's correction for many comparisons leaves a 0 at 0. It depends on no size of the effect: equal
# scores do it too.
# What puts it right: test the statistic with isnan before the p-value is read, or refuse scores that are no numbers.
# Versions: scipy 1.17.1, numpy 2.4.6, CPython 3.11 to 3.13. Half a minute to two minutes, 55 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps scipy==1.17.1 numpy==2.4.6
cd "$folder"

"$folder/venv/bin/python" -W error - <<'PY'
import numpy as np
from scipy import stats


def difference(x, y, axis=-1):
    return x.mean(axis) - y.mean(axis)


theirs = np.array([0.91, 0.92, 0.90, 0.91, 0.93])
ours = theirs.copy()
ours[2] = np.nan  # equal runs, but one diverged
for name in ("ttest_ind", "ttest_rel", "mannwhitneyu", "wilcoxon"):
    p = getattr(stats, name)(ours, theirs).pvalue
    print(f"{name}: p = {p}")
    assert np.isnan(p), f"{name} has another answer"
for paired in ("independent", "samples"):
    result = stats.permutation_test((ours, theirs), difference, vectorized=True, permutation_type=paired)
    print(f"permutation_test, {paired}: statistic {result.statistic}, p = {result.pvalue}")
    assert np.isnan(result.statistic) and result.pvalue == 0.0, "the p-value is no 0 now"
result = stats.permutation_test((ours, theirs), difference, vectorized=True, n_resamples=99, rng=0)
print(f"permutation_test, 99 resamples: p = {result.pvalue}")
assert np.isclose(result.pvalue, 2 / 100)
healthy = stats.permutation_test((theirs, theirs), difference, vectorized=True)
print(f"without the NaN: p = {healthy.pvalue}")
assert healthy.pvalue > 0.9
PY

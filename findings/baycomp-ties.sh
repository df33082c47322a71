#!/usr/bin/env bash
# baycomp 1.0.3: one win in six streams and five ties make the probability 1 that a method is better.
#
# Expected: of the Bayesian signed-rank test over data sets, little evidence: one win of six, and for equal scores
# everywhere 0.5 against 0.5. Seen without a region of practical equivalence (rope=0): one win and five ties give 1.0,
# ten data sets with eight ties and two wins give 1.0 too, and equal scores give some 0.7 for whichever method is the
# first argument. A tie counts exactly half for each side, so the win alone lifts every draw of the posterior above one
# half, however little it weighs, and the probability counts draws, not by how much. Without any win, rounding decides,
# and the first argument gets what is left. Tables of accuracies with one decimal are full of ties: a user concludes
# from one stream of six that a method is better for certain, or prefers the one of two equal methods that was named
# first.
# What puts it right: a rope below what the scores can resolve, here 0.0005; then it is 0.85 for equivalence and 0.15
# for the winner. The sign test of the package puts ties in the rope by itself.
# Versions: baycomp 1.0.3, numpy 2.4.6, scipy 1.17.1, CPython 3.11 to 3.13. Half a minute to two minutes, 55 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    baycomp==1.0.3 numpy==2.4.6 scipy==1.17.1
cd "$folder"

"$folder/venv/bin/python" -W error - <<'PY'
import numpy as np
from baycomp import SignedRankTest, SignTest


def show(title, x, y, rope=0, test=SignedRankTest):
    first, equal, second = (float(p) for p in test(np.array(x), np.array(y), rope=rope, random_state=1).probs())
    print(f"{title}: {first:.3f} for the first, {equal:.3f} for equivalence, {second:.3f} for the second")
    return first, equal, second


five, ten = [0.987, 0.912, 0.804, 0.655, 0.931], [0.98, 0.91, 0.80, 0.65, 0.93, 0.88, 0.79, 0.96]
assert show("five ties, a win of the second", [*five, 0.742], [*five, 0.743])[2] == 1.0, "one win is no certainty now"
assert show("eight ties, two wins of the second", [*ten, 0.74, 0.70], [*ten, 0.75, 0.71])[2] == 1.0
first, _, second = show("five ties alone", five, five)
assert first > 0.55 > second, "equal scores are equal now"
first, equal, second = show("five ties and the win, rope 0.0005", [*five, 0.742], [*five, 0.743], rope=0.0005)
assert equal > 0.8 and 0.1 < second < 0.2, "a rope does not help"
assert show("the same, sign test", [*five, 0.742], [*five, 0.743], test=SignTest)[1] > 0.8
PY

"""The verdict, worked by hand; its rates of false verdicts are simulated in test_verdict_rates.py."""

import math

import numpy as np
import pytest
from scipy import stats

from methods.base.errors import UserError
from paper_tables.published import Published
from paper_tables.verdict import FAILED, MAX_SEEDS, borrowed, inside, outside, prediction, verdict, welch, widened


def cell(mean=90.0, spread=1.0, kind="std", n=10, verified=True, resolution=0.01, reading_error=0.0):
    return Published(
        "paper/table/row", "task", "avg_acc_final", mean, spread, kind, n, verified, "", "", resolution, reading_error
    )


def runs(mean, std, n):
    """n numbers of exactly this mean and sample standard deviation."""
    numbers = np.arange(n, dtype=float)
    return list(mean + std * (numbers - numbers.mean()) / numbers.std(ddof=1))


def test_welch_by_hand():
    # Variances of the means: ours 4 / 4 = 1, the paper's 9 / 9 = 1; freedom (1 + 1)^2 / (1 / 3 + 1 / 8) = 96 / 11;
    # the t quantile at 8.727 degrees lies between the tabled 1.860 (8) and 1.833 (9).
    low, high = welch(2.0, 2.0, 4, 3.0, 9)
    half = (high - low) / 2
    assert (low + high) / 2 == pytest.approx(2.0, abs=1e-12)
    assert 1.833 * math.sqrt(2) < half < 1.860 * math.sqrt(2)
    assert half == pytest.approx(stats.t.ppf(0.95, 96 / 11) * math.sqrt(2), rel=1e-12)


def test_welch_with_equal_spreads_and_sizes_by_hand():
    # s = 1, n = 10 on both sides: 18 degrees of freedom, t = 1.7341 (table), standard error sqrt(0.2) = 0.44721.
    low, high = welch(0.0, 1.0, 10, 1.0, 10)
    assert high == pytest.approx(1.7341 * 0.44721, abs=2e-4)
    assert low == -high


def test_welch_agrees_with_scipy():
    generator = np.random.default_rng(0)
    ours, paper = generator.normal(90, 1, 7), generator.normal(91, 3, 12)
    expected = stats.ttest_ind(ours, paper, equal_var=False).confidence_interval(0.9)
    found = welch(ours.mean() - paper.mean(), ours.std(ddof=1), 7, paper.std(ddof=1), 12)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-10)


def test_the_word_agrees_with_two_one_sided_tests_of_scipy():
    """Welch's test from the same three numbers a side, moved by the margin to either side."""
    generator, words = np.random.default_rng(3), []
    for _ in range(300):
        n, paper_n = generator.integers(2, 25, 2)
        std, spread, mean = *generator.uniform(0.2, 2.0, 2), generator.normal(90, 1.2)
        found = verdict(runs(mean, std, n), cell(spread=spread, n=int(paper_n)), margin=1.0)

        def p(moved, alternative, mean=mean, std=std, n=n, spread=spread, paper_n=paper_n):
            sides = (mean - moved, std, n, 90.0, spread, paper_n)
            return stats.ttest_ind_from_stats(*sides, equal_var=False, alternative=alternative).pvalue

        m = found.margin
        within = max(p(-m, "greater"), p(m, "less")) < 0.05
        beyond = min(p(m, "greater"), p(-m, "less")) < 0.05
        assert (found.word == "reproduced") == within and (found.word == "differs") == beyond
        words.append(found.word)
    assert min(words.count(word) for word in ("reproduced", "differs", "inconclusive")) > 20


def test_borrowed_spread_by_hand():
    # The paper's spread is taken to be 4: 4 degrees of freedom, t = 2.1318 (table), error sqrt(4 / 5 + 16 / 80) = 1.
    assert borrowed(0.5, 2.0, 5, 80) == pytest.approx((0.5 - 2.1318, 0.5 + 2.1318), abs=1e-4)


def test_prediction_by_hand():
    # 95 % for one run: t = 2.7764 (table, 4 degrees), 2 sqrt(1 + 1 / 5) = 2.19089.
    assert prediction(0.0, 2.0, 5) == pytest.approx((-2.7764 * 2.19089, 2.7764 * 2.19089), abs=3e-4)


@pytest.mark.parametrize(
    ("mean", "word"),
    [(90.0, "reproduced"), (90.2, "reproduced"), (90.3, "inconclusive"), (91.7, "inconclusive"), (91.8, "differs")],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_three_words(mean, word, sign):
    # The half width is 0.7755 (see above): reproduced up to |d| = 0.2245, differs beyond 1.7755.
    found = verdict(runs(90 + sign * (mean - 90), 1.0, 10), cell(), margin=1.0)
    assert (found.word, found.n, found.margin, found.dagger) == (word, 10, 1.0, False)
    assert found.difference == pytest.approx(sign * (mean - 90))
    assert found.high - found.low == pytest.approx(2 * 0.7755, abs=2e-4)
    assert (found.note is not None) == found.open == (word == "inconclusive")


def test_inside_and_outside_at_the_edges():
    assert inside(-1.0, 1.0, 1.0) and not inside(-1.0, np.nextafter(1, 2), 1.0)
    assert outside(np.nextafter(1, 2), 3.0, 1.0) and not outside(1.0, 3.0, 1.0)
    assert outside(-3.0, np.nextafter(-1, -2), 1.0) and not outside(-3.0, -1.0, 1.0)


def test_margin_is_twice_the_papers_error_and_at_most_three():
    assert widened(1.0, 2.0, 16) == 1.0  # 2 * 2 / 4 = 1
    assert widened(1.0, 3.0, 9) == 2.0
    assert widened(1.0, 10.0, 4) == 3.0
    assert verdict(runs(90, 1, 10), cell(spread=3.0, n=9), 1.0).margin == 2.0
    # sem 0.9 of 4 runs: twice the error is 1.8
    assert verdict(runs(90, 1, 10), cell(spread=0.9, kind="sem", n=4), 1.0).margin == pytest.approx(1.8)


def test_reading_error_widens_the_margin():
    read_off = cell(reading_error=0.3)
    assert verdict(runs(90.5, 1.0, 10), cell(), 1.0).word == "inconclusive"
    found = verdict(runs(90.5, 1.0, 10), read_off, 1.0)
    assert (found.word, found.margin) == ("reproduced", 1.3)
    assert verdict(runs(91.8, 1.0, 10), read_off, 1.0).word == "inconclusive"
    assert verdict(runs(90, 1, 10), cell(spread=30.0, reading_error=0.3), 1.0).margin == pytest.approx(3.3)


@pytest.mark.parametrize("paper", [cell(), cell(spread=None, kind="none"), cell(n=None), cell(n=1)])
@pytest.mark.parametrize("mean", [90.0, 20.0])
def test_one_seed_is_inconclusive(paper, mean):
    found = verdict([mean], paper, 1.0)
    assert found.word == "inconclusive" and found.n == 1
    assert "at least two" in found.note and math.isnan(found.low) and found.open


@pytest.mark.parametrize(
    ("mean", "spread", "word"), [(90.0, 0.1, "reproduced"), (90.0, 9.0, "compatible"), (95.0, 0.1, "differs")]
)
def test_with_a_failed_run_a_cell_can_differ_and_nothing_else(mean, spread, word):
    """The runs that finished were chosen by their outcome, so their mean cannot speak for the paper's."""
    ours, paper = runs(mean, 0.1, 10), cell(spread=spread, n=5)
    assert verdict(ours, paper, 1.0).word == word
    found = verdict(ours, paper, 1.0, failed=1)
    assert found.word == ("differs" if word == "differs" else "inconclusive") and not found.open
    assert word == "differs" or "a run of ours failed" in found.note
    alone = verdict(ours[:1], paper, 1.0, failed=1)
    assert (alone.word, alone.note, alone.open) == ("inconclusive", FAILED, False)


def test_one_seed_plans_with_the_papers_spread():
    note = verdict([90.0], cell(spread=0.5, n=10), 1.0).note
    wanted = int(note.split("spread as the paper's, ")[1].split()[0])
    assert verdict(runs(90.0, 0.5, wanted), cell(spread=0.5, n=10), 1.0).word == "reproduced"
    assert verdict(runs(90.0, 0.5, wanted - 1), cell(spread=0.5, n=10), 1.0).word == "inconclusive"


def test_seeds_that_would_settle_it():
    paper = cell(spread=0.5, n=20)
    for mean in (90.4, 91.9):
        found = verdict(runs(mean, 1.5, 5), paper, 1.0)
        wanted = int(found.note.removesuffix(" seeds would settle it"))
        assert verdict(runs(mean, 1.5, wanted), paper, 1.0).word == ("reproduced" if mean < 91 else "differs")
        assert found.open
        before = verdict(runs(mean, 1.5, wanted - 1), paper, 1.0)
        assert (before.word, before.note) == ("inconclusive", found.note)


def test_no_seeds_settle_it():
    # The paper's own standard error is 1 (n = 4): even our exact mean leaves 4.2 +- 2.35 across the margin of 2.
    found = verdict(runs(94.2, 1.0, 10), cell(spread=2.0, n=4), 1.0)
    assert found.word == "inconclusive" and found.margin == pytest.approx(2.0)
    assert found.note == "no number of our seeds settles it: the paper's own error is too large"
    assert not found.open
    one = verdict([91.2], cell(spread=2.0, n=4), 1.0)
    assert one.note.endswith("the paper's own error is too large") and not one.open


@pytest.mark.parametrize("sign", [1, -1])
def test_where_no_seeds_settle_it_an_interval_that_holds_zero_is_compatible(sign):
    paper = cell(spread=2.0, n=4)  # standard error 1, 2.35 times of which fill the margin of 2; ours is 0.316
    freedom = (1 + 0.1) ** 2 / (1 / 3 + 0.1**2 / 9)
    half = stats.t.isf(0.025, freedom) * math.sqrt(1.1)
    for difference, word in ((0.99 * half, "compatible"), (1.01 * half, "inconclusive")):
        found = verdict(runs(90 + sign * difference, 1.0, 10), paper, 1.0)
        assert (found.word, found.open) == (word, False)
        assert found.note == "no number of our seeds settles it: the paper's own error is too large"
    found = verdict(runs(90 + sign, 1.0, 10), paper, 1.0)
    assert (found.high - found.low) / 2 == pytest.approx(half)  # what stands beside the word
    # Ten runs of the paper leave 1.83 of the margin of 2: an agreement is within reach, if not with this difference.
    near = verdict(runs(90 + sign, 1.0, 10), cell(spread=math.sqrt(10)), 1.0)
    assert near.word == "inconclusive" and "too near the margin" in near.note


@pytest.mark.parametrize("mean", [91.0, 89.0])
def test_a_difference_on_the_margin_is_not_the_papers_fault(mean):
    # Their standard error is 0.01 / sqrt(10) = 0.003: only a difference this near the margin is left undecided.
    found = verdict(runs(mean, 1.0, 10), cell(spread=0.01), 1.0)
    assert found.word == "inconclusive" and not found.open
    assert found.note.endswith("it lies too near the margin")


def test_very_many_seeds_would_settle_it():
    # Half width 1.65 * 20 / sqrt(n) < 1 - 0.17 only beyond n = 1500.
    found = verdict(runs(90.0, 20.0, 10), cell(spread=0.5, n=30), 1.0)
    assert found.note == f"more than {MAX_SEEDS} seeds would settle it"
    assert found.open


def test_zero_spread_is_floored_at_the_printed_digits():
    # Resolution 0.1: 0.1 / sqrt(12) = 0.028868 on both sides, 18 degrees, error 0.028868 sqrt(0.2) = 0.01291.
    found = verdict([90.0] * 10, cell(spread=0.0, resolution=0.1), 1.0)
    assert found.word == "reproduced"
    assert found.high == pytest.approx(1.7341 * 0.01291, abs=1e-5)
    assert found.low == pytest.approx(-found.high)
    assert verdict([91.1] * 10, cell(spread=0.0, resolution=0.01), 1.0).word == "differs"
    # no spread at all on the paper's side: ours, floored, stands in
    assert verdict([90.0] * 2, cell(spread=None, kind="none"), 1.0).high > 0


def test_dagger_when_the_paper_gives_n_but_no_spread():
    found = verdict(runs(90.5, 2.0, 5), cell(spread=None, kind="none", n=80), 1.0)
    assert found.dagger and found.margin == 1.0  # our own spread must not widen the margin
    assert (found.low, found.high) == pytest.approx((0.5 - 2.1318, 0.5 + 2.1318), abs=1e-4)
    found = verdict(
        runs(90.5, 2.0, 5), cell(spread=None, kind="none", n=20), 1.0
    )  # 1.64 * 4 / sqrt(20) fills the margin
    half = 2.7764 * 2 * math.sqrt(1 / 5 + 4 / 20)
    assert found.word == "compatible" and "twice our spread" in found.note
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    assert verdict(runs(90.0, 0.1, 5), cell(spread=None, kind="none", n=20), 1.0).word == "reproduced"
    assert verdict(runs(99.0, 0.1, 5), cell(spread=None, kind="none", n=20), 1.0).word == "differs"


@pytest.mark.parametrize("paper", [cell(n=1), cell(n=None), cell(spread=None, kind="none", n=1)])
def test_single_run_or_no_n_of_the_paper(paper):
    # Our prediction interval is 90 +- 6.083 (see above).
    for offset, word in ((0, "compatible"), (6.08, "compatible"), (6.09, "differs"), (-6.09, "differs")):
        found = verdict(runs(90.0 + offset, 2.0, 5), paper, 1.0)
        assert (found.word, found.dagger) == (word, False)
    read_off = cell(n=1, reading_error=0.5)
    assert verdict(runs(96.5, 2.0, 5), read_off, 1.0).word == "compatible"


@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ([], "paper/table/row: there is no finished run to judge"),
        ([97.0, math.nan, 97.2], "paper/table/row: runs to judge must be finite numbers, got "),
        ([math.inf], "must be finite numbers"),
    ],
)
def test_nothing_is_said_of_nothing(ours, message, verified):
    with pytest.raises(UserError, match=message):
        verdict(ours, cell(verified=verified), 1.0)


def test_unconfirmed_gets_no_verdict():
    for mean in (90.0, 20.0):
        found = verdict(runs(mean, 1.0, 10), cell(verified=False), 1.0)
        assert found.word == "unconfirmed" and math.isnan(found.low) and math.isnan(found.margin)


def test_symmetric_in_ours_and_paper():
    low, high = welch(1.3, 0.7, 5, 2.1, 12)
    assert welch(-1.3, 2.1, 12, 0.7, 5) == pytest.approx((-high, -low), rel=1e-14)
    generator = np.random.default_rng(0)
    for _ in range(50):
        a, b = generator.normal(90, 1, 8), generator.normal(90 + generator.uniform(-3, 3), 0.5, 6)
        words = [verdict(list(x), cell(y.mean(), y.std(ddof=1), n=len(y)), 2.0).word for x, y in ((a, b), (b, a))]
        assert words[0] == words[1]


def test_monotone_in_n():
    """More runs on both sides never widen the interval; nor do more of ours against a paper of 10 runs or more."""
    n = np.arange(2, 200)
    for ours, paper in ((1, 1), (0.1, 2), (2, 0.1)):
        low, high = welch(0.0, ours, n, paper, n)
        assert (np.diff(high - low) < 0).all()
        assert (np.diff(np.subtract(*borrowed(0.0, ours, n, 20)[::-1])) < 0).all()
    order = ["inconclusive", "reproduced"]
    for paper_n in (10, 20, 30):
        words = [verdict(runs(90.2, 1.0, n), cell(spread=0.5, n=paper_n), 1.0).word for n in range(2, 41)]
        assert words == sorted(words, key=order.index) and words[-1] == "reproduced"


def test_each_of_three_looks_uses_a_third_of_the_rate():
    once, thrice = (verdict(runs(90.1, 1.0, 10), cell(), 1.0, looks=looks) for looks in (1, 3))
    quantiles = [stats.t.isf(rate, 18) for rate in (0.05, 0.05 / 3)]
    assert (thrice.high - thrice.low) / (once.high - once.low) == pytest.approx(quantiles[1] / quantiles[0], rel=1e-12)
    assert (once.word, thrice.word) == ("reproduced", "inconclusive")


def test_verdict_is_the_interval_on_summaries():
    generator = np.random.default_rng(0)
    for _ in range(100):
        a, b = generator.normal(generator.uniform(-3, 3), 0.5, 5), generator.normal(0, 0.5, 10)
        found = verdict(list(a), cell(b.mean(), b.std(ddof=1), resolution=1e-9), 1.0)
        interval = welch(a.mean() - b.mean(), a.std(ddof=1), 5, b.std(ddof=1), 10)
        expected = "reproduced" if inside(*interval, 1.0) else "differs" if outside(*interval, 1.0) else "inconclusive"
        if found.word == "compatible":
            assert expected == "inconclusive"
            interval = welch(a.mean() - b.mean(), a.std(ddof=1), 5, b.std(ddof=1), 10, 0.025)
            assert interval[0] <= 0 <= interval[1]
        else:
            assert found.word == expected
        assert (found.low, found.high) == pytest.approx(interval, rel=1e-12)

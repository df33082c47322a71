"""The class order as a block: the interval by hand, its assumptions broken on purpose, its rates by simulation."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from methods.base.errors import UserError
from paper_tables import blocks, render
from paper_tables.complete import complete
from paper_tables.published import Published
from paper_tables.verdict import RATE, STAND_IN, inside, outside, verdict, welch
from tests.support.toy_table import failed, run, toy_loader

DRAWS = 10_000
N = 20  # orders
TWICE = [*range(N), *range(N)]  # the orders of 40 runs


def cell(mean=60.0, spread=None, n=N, resolution=0.1, reading_error=0.3):
    kind = "none" if spread is None else "sem"
    return Published("cell", "domain", "acc", mean, spread, kind, n, True, "", "", resolution, reading_error)


def test_by_hand():
    # Three runs on order 5, of mean 61, and two on order 7, of mean 70.
    design = blocks.of([60.0, 62.0, 61.0, 68.5, 71.5], [5, 5, 5, 7, 7])
    assert (design.n_orders, design.n, design.mean) == (2, 5, 65.5)  # (61 + 70) / 2, not the mean of the five
    assert design.within == pytest.approx(math.sqrt((1 + 1 + 0 + 2.25 + 2.25) / 3))
    assert design.v == pytest.approx((1 / 3 + 1 / 2) / 4)
    # The orders' means have the variance 40.5; 6.5 / 3 * (1 / 3 + 1 / 2) / 2 of it comes from the runs within.
    assert design.between == pytest.approx(math.sqrt(40.5 - 6.5 / 3 * 5 / 12))
    low, high = design.interval(1.0, 2.0, 5, 3.0, 0.05)
    assert (low + high) / 2 == pytest.approx(1.0)
    assert (high - low) / 2 == pytest.approx(2.3534 * 2.0 * math.sqrt(5 / 24 + 9 / 2), rel=1e-4)  # t(3) of the table


def test_two_runs_an_order_are_a_one_way_analysis_of_variance():
    """The mean squares of scipy's F test: F is that between orders over that within."""
    generator = np.random.default_rng(0)
    y = generator.normal(60, 8, N)[:, None] + generator.normal(0, 2, (N, 2))
    design = blocks.of(y.T.ravel(), TWICE)
    assert design.mean == pytest.approx(y.mean()) and design.v == pytest.approx(1 / 40)
    f = stats.f_oneway(*y).statistic
    assert (2 * design.between**2 + design.within**2) / design.within**2 == pytest.approx(f)
    assert design.within**2 == pytest.approx(np.square(y[:, 0] - y[:, 1]).mean() / 2)


def test_the_verdict_does_not_depend_on_what_the_orders_do():
    """Shared effects of the orders change neither the interval nor the word, and Welch's interval is far wider."""
    generator, paper = np.random.default_rng(1), cell()
    e = generator.normal(60.2, 0.5, 2 * N)
    effects = generator.normal(0, 8, N)
    effects -= effects.mean()
    plain, moved = (verdict(list(y), paper, 1.0, orders=TWICE) for y in (e, e + effects[TWICE]))
    assert (moved.low, moved.high) == pytest.approx((plain.low, plain.high), rel=1e-9)
    assert (moved.word, moved.n, moved.margin, moved.dagger) == ("reproduced", 40, 1.3, True)
    assert verdict(list(e + effects[TWICE]), paper, 1.0).word == "compatible"  # as if the orders were others
    assert verdict(list(e + effects[TWICE] + 4), paper, 1.0, orders=TWICE).word == "differs"


def test_the_margin_is_not_widened_and_the_printed_spread_not_used():
    y = list(60 + np.random.default_rng(1).normal(0, 0.5, 2 * N))
    one, other = (verdict(y, cell(spread=spread), 1.0, orders=TWICE) for spread in (1.9, 0.1))
    assert one == other and one.margin == 1.3 and one.word == "reproduced"


@pytest.mark.parametrize(
    ("orders", "note"),
    [
        (TWICE[:1], "19 of the paper's 20 orders have no run yet"),
        (TWICE[1:20] + TWICE[1:20], "1 of the paper's 20 orders have no run yet"),
        (TWICE[:20], "no order has a second run, which tells how far runs spread within an order"),
    ],
)
def test_a_design_that_is_not_complete_has_no_interval(orders, note):
    found = verdict(list(60 + np.arange(len(orders)) % 3 / 10), cell(), 1.0, orders=orders)
    assert (found.word, found.note, found.open) == ("inconclusive", note, True)
    assert math.isnan(found.low)


def test_a_design_with_some_second_runs_is_judged():
    found = verdict([60.0] * 20 + [60.1], cell(), 1.0, orders=TWICE[:21])
    assert found.word == "reproduced" and found.n == 21


def test_no_spread_within_an_order_is_what_the_printed_digits_hide():
    found = verdict(list(60 + np.array(TWICE)), cell(mean=69.5), 1.0, orders=TWICE)
    floor = 0.1 / math.sqrt(12)
    assert found.high == pytest.approx(stats.t.ppf(0.95, N) * floor * math.sqrt(1 / 40 + STAND_IN**2 / N))


def test_out_of_reach_is_compatible():
    """Within 6 points: twice that over the paper's 20 runs fills the margin, whatever we run."""
    e = np.tile([3.0, -3.0], N) * math.sqrt(2)
    y = 60 + np.concatenate([e[:N], -e[:N]])
    found = verdict(list(y + 2), cell(), 1.0, orders=TWICE)
    assert (found.word, found.difference, found.open) == ("compatible", pytest.approx(2), False)
    assert "too large" in found.note
    found = verdict(list(y + 6.1), cell(), 1.0, orders=TWICE)
    wanted = int(re.match(r"(\d+) seeds would settle it", found.note)[1])
    assert (found.word, found.open) == ("inconclusive", True) and wanted > 40
    design = blocks.of(list(y), TWICE)
    lows = [design.interval(6.1, 6.0, n, STAND_IN, RATE)[0] for n in (wanted - 1, wanted)]
    assert lows[0] < 1.3 < lows[1]  # beyond the margin: it would differ


def simulate(shift, between=8.0, within=0.5, ratio=STAND_IN, uneven=1.0, suits=0.0):
    """Return rates of (reproduced, differs) at a margin of 1. suits: spread of what an order does to ours alone.

    uneven: the largest spread within an order to the smallest; ratio: of the paper's spread within an order to ours.
    """
    generator = np.random.default_rng(0)
    spreads = np.geomspace(1, uneven, N)[:, None]
    spreads = within * spreads / np.sqrt(np.mean(spreads**2))
    effects, own = generator.normal(0, between, (DRAWS, N, 1)), generator.normal(0, suits, (N, 1))
    ours = shift + effects + own - own.mean() + spreads * generator.standard_normal((DRAWS, N, 2))
    paper = (effects + ratio * spreads * generator.standard_normal((DRAWS, N, 1)))[..., 0]
    d, pooled = ours.mean((1, 2)) - paper.mean(1), np.sqrt(ours.var(2, ddof=1).mean(1))
    design = blocks.Blocks(N, 2 * N, 0.0, 0.0, 0.0, 1 / (2 * N))
    interval = design.interval(d, pooled, 2 * N, STAND_IN, RATE)
    as_others = welch(d, ours.reshape(DRAWS, -1).std(1, ddof=1), 2 * N, paper.std(1, ddof=1), N)
    return [kind(*each, 1.0).mean() for each in (interval, as_others) for kind in (inside, outside)]


def bounds(rate):
    return stats.binom.ppf([0.00005, 0.99995], DRAWS, rate) / DRAWS


@pytest.mark.parametrize("shift", [1.0, -1.0])
@pytest.mark.parametrize("options", [{}, {"between": 0.0}, {"between": 0.3}, {"suits": 3.0}])
def test_rates_at_the_margin_are_the_nominal_ones(shift, options):
    """The paper's spread within an order is all that is allowed. Orders may be alike, far apart, or suit one side."""
    for rate in simulate(shift, **options)[:2]:
        assert bounds(RATE)[0] <= rate <= bounds(RATE)[1]


def test_rates_are_low_if_both_sides_spread_alike_and_far_too_high_if_the_papers_spread_is_beyond_the_stand_in():
    assert max(simulate(1.0, ratio=1.0)[:2]) < 0.01
    assert max(simulate(1.0, uneven=4.0)[:2]) <= bounds(1.2 * RATE)[1]  # spreads of 1 to 4 within an order
    assert max(simulate(1.0, uneven=4.0, ratio=1.0)[:2]) < RATE / 2
    assert min(simulate(1.0, ratio=2 * STAND_IN)[:2]) > 3 * RATE  # the paper's spread is four times ours


def test_power_where_the_orders_spread_far():
    """Orders 8 points apart, runs half a point: equal means are reproduced, three points differ. Welch says neither."""
    reproduced, _, welch_reproduced, _ = simulate(0.0, ratio=1.0)
    assert reproduced > 0.99 and welch_reproduced == 0.0
    _, differs, _, welch_differs = simulate(3.0, ratio=1.0)
    assert differs > 0.99 and welch_differs < 0.05


def test_the_printed_spread_tells_too_little_of_the_spread_within_an_order():
    """What blocks.py says of it: 8 and 3 points. d has the variance (3^2 / 2 + 3^2) / 20."""
    generator = np.random.default_rng(0)
    effects = generator.normal(0, 8, (DRAWS, N, 1))
    ours, paper = (effects + generator.normal(0, 3, (DRAWS, N, k)) for k in (2, 1))
    within2, total2 = ours.var(2, ddof=1).mean(1), paper[..., 0].var(1, ddof=1)
    theirs2 = total2 - (ours.mean(2).var(1, ddof=1) - within2 / 2)
    assert theirs2.mean() == pytest.approx(9, rel=0.05)
    assert 0.22 < (theirs2 < 0).mean() < 0.29
    variance = (within2 / 2 + theirs2) / N
    assert 1.5 < 2 * variance.mean() ** 2 / variance.var() < 2


def test_a_table_says_that_the_orders_are_the_papers(tmp_path):
    load = toy_loader(tmp_path)
    plain = 'stream      = { name = "splitdigits", tasks = 2 }'
    orders = f'{plain[:-2]}, order = "numpy", order_seeds = [1, 10] }}\nsame_orders = true'
    assert not load().same_orders
    cited = [
        ('paper   = "toy/lwf/{scenario}"', 'method = { name = "naive" }'),
        ('paper    = { task = "toy/ewc/task" }', ""),
    ]
    assert load((plain, orders), *cited).same_orders
    with pytest.raises(UserError, match=r"same_orders: toy/adam/task has 10 runs, order_seeds \[1, 9\] are 9 orders"):
        load((plain, orders.replace("10]", "9]")), *cited)
    with pytest.raises(UserError, match="same_orders needs order = 'numpy' or 'shuffled', and order_seeds"):
        load((plain, orders.replace("10]", '"10"]')), *cited)
    with pytest.raises(UserError, match="same_orders needs order = 'numpy' or 'shuffled', and order_seeds"):
        load((plain, f"{plain}\nsame_orders = true"), *cited)
    with pytest.raises(UserError, match="is judged once all orders have runs: leave out looks = 3"):
        load((plain, f"{orders}\nlooks = 3"), *cited)
    table = load((plain, orders), *cited)
    with pytest.raises(UserError, match=f"a paper's orders is judged once it has all of them: SEEDS={table.seeds}"):
        complete(table, "auto", tmp_path, tmp_path, 1, "cpu")


def test_a_table_on_the_papers_orders_is_rendered_with_both_spreads(tmp_path):
    """Adam, task-incremental: ten orders, twenty runs; a run that failed leaves its order with one."""
    stream = 'stream      = { name = "splitdigits", tasks = 2, order = "numpy", order_seeds = [1, 10] }'
    table = toy_loader(tmp_path)(
        ('stream      = { name = "splitdigits", tasks = 2 }', f"{stream}\nsame_orders = true"),
        ('paper   = "toy/lwf/{scenario}"', 'method = { name = "naive" }'),
        ('paper    = { task = "toy/ewc/task" }', ""),
    )
    records = [run(seed, 80 + seed % 10, 98 + (-1) ** (seed // 2) / 10) for seed in range(1, 21)]
    records[4] = failed(5)
    for record in records:
        record.run = table.rows[0].run("task", record.seed)
    cells = render.frame(table, {("Adam", "task"): records})
    line = cells.set_index(["row", "scenario"]).loc["Adam", "task"]
    values = [89 + seed % 10 / 2 + (-1) ** (seed // 2) / 20 for seed in range(1, 21) if seed != 5]
    expected = blocks.of(values, [(seed - 1) % 10 for seed in range(1, 21) if seed != 5])
    assert (line.orders_std, line.within_std) == pytest.approx((expected.between, expected.within), abs=1e-9)
    assert line.ours_mean == pytest.approx(expected.mean, abs=1e-9)
    paper = table.rows[0].paper["task"]
    assert line.high == pytest.approx(verdict(values, paper, 1.0, orders=[s % 10 for s in range(20) if s != 4]).high)
    read_off = cells.assign(margin=cells.margin + 0.3)
    text = " ".join(render.markdown(table, read_off, tuple(range(1, 21))).split())
    assert "Margin: 1 point, fixed before the runs, plus the reading error of a figure: Adam task 1.30." in text
    assert "† Both sides have the same class orders" in text and "No spread of the paper's is known" not in text
    shown = f"orders, and of runs within an order: Adam task {expected.between:.2f} and {expected.within:.2f}."
    assert shown in text

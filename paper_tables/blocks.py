"""The class order as a block: our runs have the paper's very orders, so what an order does to both sides cancels.

The paper has one run on each of N orders and prints the mean. We have k_s >= 1 runs on order s, n in all, each from
another initialisation. With the order's own effect o_s,

    y_paper[s]   = mu_paper + o_s + e'      e': spread sigma' within an order (initialisation, batches, test images)
    y_ours[s, i] = mu_ours  + o_s + e       e:  spread sigma within an order

    d        = mean_s mean_i y_ours[s, i] - mean_s y_paper[s]
    Var d    = sigma^2 v + sigma'^2 / N,    v = sum_s 1 / k_s / N^2         (o_s is in neither term)
    within^2 = sum_s sum_i (y_ours[s, i] - mean_i y_ours[s, i])^2 / (n - N)      estimates sigma^2
    interval = d -+ t * within * sqrt(v + times^2 / N)                          t: Student's, n - N degrees of freedom

A paper does not print sigma'. `times` * within stands in for it, as in the verdict on a paper without a spread. The
rates hold if sigma' is at most that. The spread that a paper prints is that of y_paper, so of order and run together.
It is not used: sigma'^2 as its square less our variance between orders is unbiased, but where 20 orders
spread almost three times as far as the runs within one, it is negative in a quarter of all cases, and the variance of d
from it has less than two degrees of freedom (simulated in tests/paper_tables/test_blocks.py).

Assumptions:
- The paper's runs have these N orders, one run each. If this is not known, the table keeps Welch's interval.
- e and e' are independent and nearly normal, with about the same sigma in each order.
- The orders need not be a sample of anything, and an order may suit ours more than theirs: mu_ours - mu_paper is the
  difference on these N orders, and the verdict is about them alone.

Where `within` is below what the paper's printed digits hide, that stands for it. Where it is larger than the paper's
whole spread, the order matters little: the rates are below the nominal ones, and Welch's interval says more.
"""

import math
from dataclasses import dataclass

import numpy as np

from paper_tables import student


@dataclass(frozen=True)
class Blocks:
    """Hold n runs on N orders. `mean` is over the orders' means, `between` the spread of what the orders do."""

    n_orders: int  # N
    n: int
    mean: float
    within: float  # NaN: no order has a second run
    between: float
    v: float  # of sigma^2, in the variance of `mean`

    def interval(self, difference: float, within: float, n: float, times: float, rate: float):
        """Return the 1 - 2 * rate interval (low, high) of d with n runs in all, dealt to the orders as ours are."""
        half = student.isf(rate, n - self.n_orders) * within * np.sqrt(self.v * self.n / n + times**2 / self.n_orders)
        return difference - half, difference + half


def of(values: list[float], orders: list[int]) -> Blocks:
    """Return runs (in percent), each with the number of its order, as blocks."""
    y, s = np.asarray(values, dtype=float), np.asarray(orders)
    groups = [y[s == order] for order in sorted(set(orders))]
    k, means = np.array([len(group) for group in groups]), np.array([group.mean() for group in groups])
    n_orders, n = len(groups), len(y)
    squares = sum(((group - mean) ** 2).sum() for group, mean in zip(groups, means, strict=True))
    within = math.sqrt(squares / (n - n_orders)) if n > n_orders else math.nan
    v = float((1 / k).sum()) / n_orders**2
    # The variance of the orders' means is between^2 + sigma^2 mean(1 / k).
    between2 = means.var(ddof=1) - within**2 * n_orders * v if n_orders > 1 else math.nan
    between = math.nan if math.isnan(between2) else math.sqrt(max(0.0, between2))
    return Blocks(n_orders, n, float(means.mean()), within, between, v)


def lacking(design: Blocks, paper_n: int) -> str | None:
    """Say what the design lacks for a verdict, or None if it is complete."""
    if design.n_orders < paper_n:
        return f"{paper_n - design.n_orders} of the paper's {paper_n} orders have no run yet"
    if design.n == design.n_orders:
        return "no order has a second run, which tells how far runs spread within an order"
    return None

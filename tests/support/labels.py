"""The labels that a likelihood can give, with their weights, and their log-probability by torch's distributions."""

from itertools import product

import torch
from torch.distributions import Bernoulli, Categorical, Normal

VARIANCE = 0.3  # of the Gaussian


def support(name, z, units):
    """Labels of one example with outputs z [C], over its units, and weights: E_y g(y) is the weighted sum.

    For the Gaussian, three points for each output, which are exact for polynomials of degree five.
    """
    if name == "categorical":
        p = z[units].softmax(0)
        return [(torch.tensor(unit), p[place]) for place, unit in enumerate(units)]
    found = []
    for values in product((0, 1) if name == "bernoulli" else (-1, 0, 1), repeat=len(units)):
        y, weight = torch.zeros_like(z), z.new_ones(())
        for unit, value in zip(units, values, strict=True):
            if name == "bernoulli":
                y[unit], factor = value, z[unit].sigmoid() if value else 1 - z[unit].sigmoid()
            else:
                y[unit], factor = z[unit] + value * (3 * VARIANCE) ** 0.5, 1 / 6 if value else 2 / 3
            weight = weight * factor
        found.append((y, weight))
    return found


def log_p(name, z, y, units):
    """Of one example, by torch's distributions."""
    if name == "categorical":
        return Categorical(logits=z[units]).log_prob(torch.tensor(units.index(int(y))))
    if name == "bernoulli":
        return Bernoulli(logits=z[units]).log_prob(y[units]).sum()
    return Normal(z[units], VARIANCE**0.5).log_prob(y[units]).sum()

"""The audit's own parts: the problem, the quantities with their definitions, the worker, and what comes of a cell."""

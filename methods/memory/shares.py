"""A memory of examples drawn at random, with a share for each task seen (Hsu et al., 2018): to keep and to rehearse.

After a task, m of its examples are drawn without replacement, and the memories of earlier tasks are cut to their first
m: with m = floor(budget / k) after task k, the budget is shared equally by the tasks seen.
"""

from dataclasses import replace
from functools import reduce
from operator import add

import torch

from methods.base.examples import Examples


def draw(examples: Examples, m: int, generator: torch.Generator) -> Examples:
    """m of the examples (all, if there are fewer) at random without replacement, with pixels of their own."""
    return examples.select(torch.randperm(len(examples), generator=generator)[:m])


def share(memories: list[Examples], new: Examples, m: int, generator: torch.Generator) -> list[Examples]:
    """The memory of each task after one more task: m examples each, fewer where there are fewer."""
    kept = [memory.select(torch.arange(min(m, len(memory)))) for memory in memories]
    return [*kept, draw(new, m, generator)]


def rehearsed(task, memories: list[Examples], size: int):
    """The task with max(1, floor(N_k / size)) copies of the memories in its training set: old and new about 1:1."""
    memory = task.remask(reduce(add, memories).merge()).repeat(max(len(task.train) // size, 1))
    return replace(task, train=memory + task.train)

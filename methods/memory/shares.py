"""A memory holds examples drawn at random, with a share for each task seen, to rehearse (Hsu et al., 2018).

After a task, m of its examples are drawn without replacement. The memories of earlier tasks are cut to their first m.
With m = floor(budget / k) after task k, the tasks seen share the budget equally.
"""

from dataclasses import replace

import torch

from methods.base.examples import Examples


def draw(examples: Examples, m: int, generator: torch.Generator) -> Examples:
    """Return m examples (all, if there are fewer), drawn without replacement, with pixels of their own."""
    return examples.select(torch.randperm(len(examples), generator=generator)[:m])


def share(memories: list[Examples], new: Examples, m: int, generator: torch.Generator) -> list[Examples]:
    """Return the memory of each task after one more task: m examples each, or fewer where there are fewer."""
    kept = [memory.select(torch.arange(min(m, len(memory)))) for memory in memories]
    return [*kept, draw(new, m, generator)]


def rehearsed(task, memories: list[Examples], size: int):
    """Return the task with max(1, floor(N_k / size)) copies of the memories added, so that old : new is about 1 : 1."""
    memory = task.remask(Examples.joined(memories)).repeat(max(len(task.train) // size, 1))
    return replace(task, train=memory + task.train)

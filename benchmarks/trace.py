"""The trace of a run: what it leaves beside its counts. The loop (learner.py) fills it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from benchmarks.checkpoint import holdings
from methods.base.rng import derive, generator


@dataclass
class Trace:
    """Hold what a run leaves beside its counts: seconds by phase, and each role that drew numbers, with its first task.

    correct: as `learn` returns it, up to the last task that was evaluated. curve [T][curve + 1]: how many test examples
    of task k are right after b batches of it, where `Train.curve` asks for it. memory: the most that the method held
    between two tasks. added: units that the method added to each hidden layer. warnings: what a reader should know.
    """

    seconds: dict[str, float] = field(default_factory=lambda: {"training": 0.0, "importance": 0.0, "evaluation": 0.0})
    roles: dict[str, int] = field(default_factory=lambda: {"init": 0, "stream": 0})
    memory: dict[str, int] = field(default_factory=lambda: {"examples": 0, "bytes": 0})
    correct: list[list] | None = None
    curve: list[list] | None = None
    added: list[int] | None = None
    warnings: list[str] = field(default_factory=list)

    def generator(self, seed: int, role: str, task: int) -> torch.Generator:
        """Return the generator of `role` in `task` of the run with this seed, and note the role."""
        self.roles.setdefault(role, task)
        return generator(seed, role, task)

    def seeds(self, seed: int) -> dict[str, int]:
        """Return the first seed of each role in the run with this seed."""
        return {role: derive(seed, role, task) for role, task in self.roles.items()}

    def time(self, phase: str, work: Callable, *arguments):
        """Return work(*arguments), and add its duration to `phase`. A phase inside of it counts for itself alone."""
        start, others = time.perf_counter(), sum(self.seconds.values())
        try:
            return work(*arguments)
        finally:
            inside = sum(self.seconds.values()) - others
            self.seconds[phase] += time.perf_counter() - start - inside

    def warn_once(self, warning: str | None) -> None:
        """Note a warning. The first of a run is enough."""
        if warning and not self.warnings:
            self.warnings.append(warning)

    def weigh(self, method) -> None:
        """Note what the method holds."""
        for name, held in zip(self.memory, holdings(method.state()), strict=True):
            self.memory[name] = max(self.memory[name], held)
        self.added = method.added

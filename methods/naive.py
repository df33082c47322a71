"""Fine-tuning: minimise the loss of the current task, nothing else. The lower reference of every table."""

from dataclasses import dataclass

from methods.base.method import Method


@dataclass
class Naive(Method):
    """No hook is used."""

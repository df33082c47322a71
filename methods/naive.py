"""Fine-tuning minimises the loss of the current task and nothing else. It is the lower reference of every table."""

from dataclasses import dataclass

from methods.base.method import Method


@dataclass
class Naive(Method):
    """This method uses no hook."""

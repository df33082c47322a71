"""Joint (offline) training: one network, one run on the data of all tasks together. The upper reference of every table.

In task-IL each example is trained through its own task's head. Epochs, where a table counts epochs, are over the union;
where it counts steps, there are as many steps as all tasks together would take.
"""

from dataclasses import dataclass
from typing import ClassVar

from methods.base.method import Method


@dataclass
class Joint(Method):
    """No hook is used; the stream is joined before training."""

    joins_tasks: ClassVar[bool] = True

"""Joint (offline) training is one run of one network on all tasks together. It is the upper reference of every table.

In task-IL each example is trained through its own task's head. Where a table counts epochs, they are over the union.
Where it counts steps, there are as many as all tasks together would take.
"""

from dataclasses import dataclass
from typing import ClassVar

from methods.base.method import Method


@dataclass
class Joint(Method):
    """This method uses no hook. The stream is joined before training."""

    joins_tasks: ClassVar[bool] = True

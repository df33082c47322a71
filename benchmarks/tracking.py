"""TRACK=tensorboard writes curves of a run while it trains: its loss, its penalty and its accuracies.

It looks on at the hooks of the run's own method object. What they are given and return stays the same, and so do the
numbers of the run. Neither a run nor its record nor its digest knows of it. Without TRACK nothing of this is imported.

    loss, penalty          of every `EVERY`-th step, at the theta before it; the penalty where the method has one
    accuracy/task_j        on the test set of task j, before training and after each task
    accuracy/mean          over the tasks learnt so far

They are over the steps of the whole run. A run that was interrupted goes on from its last checkpoint, and so do its
curves: points beyond that are taken back.
"""

import json
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.files import read_text, write_atomically
from benchmarks.trace import Trace
from methods.base.errors import UserError
from methods.base.method import Method

EVERY = 10  # steps between two points
ENDS = "ends.json"  # the number of steps at the end of each task, by how many tasks that are


class Curves:
    """Write the curves of a run into its folder, or those of R runs that are trained together, each into its own.

    A folder that cannot be written costs the curves, not the run. notes: what the user should hear.
    """

    def __init__(self, folders: list[Path]):
        self.folders = folders
        self.notes: list[str] = []
        self._writers, self._closed = [], False
        self._step, self._rows, self._goes_on, self._loss = 0, 0, False, None
        self._ends: dict[str, int] = {}

    def follow(self, method: Method, trace: Trace, total: list[int]) -> None:
        """Look on at a method. total: how many test examples each task has.

        Attributes of the object take the place of its hooks, as a subclass with a loss of its own would be another
        method to those who ask (methods/importance/fisher.py).
        """
        self._trace, self._total = trace, total
        names = ("restore", "before_task", "loss", "add_penalty_grad", "after_task", "state")
        own = {name: getattr(method, name) for name in names}

        def restore(state):
            self._goes_on = True
            own["restore"](state)

        def before_task(theta, task):
            self._try(self._begin, task.index)
            self._try(self._write_accuracies)
            return own["before_task"](theta, task)

        def loss(theta, x, y, mask):
            value = own["loss"](theta, x, y, mask)
            self._loss = value.detach()
            return value

        def add_penalty_grad(theta, grad):
            if self._step % EVERY == 0:
                self._try(self._write_point, method.penalty(theta))
            self._step += 1
            return own["add_penalty_grad"](theta, grad)

        def after_task(theta, task):
            own["after_task"](theta, task)
            self._try(self._end, task.index + 1)

        def state():
            return {name: value for name, value in own["state"]().items() if name not in names}

        here = (restore, before_task, loss, add_penalty_grad, after_task, state)
        vars(method).update(zip(names, here, strict=True))

    def close(self) -> None:
        """Write what the last task left, and end."""
        self._try(self._write_accuracies)
        for writer in self._writers:
            self._try(writer.close)

    def _try(self, work, *arguments) -> None:
        if self._closed:
            return
        try:
            work(*arguments)
        except (OSError, UserError) as error:
            self._closed = True
            self.notes.append(f"the curves in {self.folders[0]} end here: {error}")

    def _begin(self, k: int) -> None:
        """Open the files before the first task of this process, which is task k."""
        if self._writers:
            return
        from torch.utils.tensorboard import SummaryWriter  # here, as it takes a second to import

        file = self.folders[0] / ENDS
        if self._goes_on and file.exists():
            self._ends = {tasks: step for tasks, step in json.loads(read_text(file)).items() if int(tasks) <= k}
        if str(k) in self._ends:
            self._step, self._rows = self._ends[str(k)], k
        else:  # from the beginning, or followed from here on
            self._ends = {}
            for folder in self.folders:
                for left in (folder / ENDS, *folder.glob("events.out.tfevents.*")):
                    left.unlink(missing_ok=True)
        self._writers = [SummaryWriter(folder, purge_step=self._step or None) for folder in self.folders]

    def _write(self, tag: str, values: list[float]) -> None:
        for writer, value in zip(self._writers, values, strict=True):
            writer.add_scalar(tag, value, self._step)

    def _write_point(self, penalty: Tensor | None) -> None:
        self._write("loss", self._loss.reshape(-1).tolist())
        if penalty is not None:
            self._write("penalty", penalty.reshape(-1).tolist())

    def _write_accuracies(self) -> None:
        """Write the rows of the accuracy array that are new."""
        for k, row in enumerate(self._trace.correct or ()):
            measured = {j: np.ravel(right) / self._total[j] for j, right in enumerate(row) if right is not None}
            if k < self._rows or not measured:
                continue
            for j, accuracy in measured.items():
                self._write(f"accuracy/task_{j + 1}", accuracy.tolist())
            if learnt := [accuracy for j, accuracy in measured.items() if j < k]:
                self._write("accuracy/mean", np.mean(learnt, axis=0).tolist())
            self._rows = k + 1

    def _end(self, tasks: int) -> None:
        self._ends[str(tasks)] = self._step
        for folder, writer in zip(self.folders, self._writers, strict=True):
            write_atomically(folder / ENDS, json.dumps(self._ends))
            writer.flush()

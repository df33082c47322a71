"""Rotated MNIST: all ten digits in every task, turned by another angle (Lopez-Paz and Ranzato, 2017).

Domain-incremental. Angles in degrees, counter-clockwise, nearest-pixel interpolation, as torchvision turns tensors:
a pixel of the turned image is one pixel of the image, or 0 where the turned image reaches beyond it.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.materialise import Recipe, whole_set_tasks
from methods.base.errors import UserError
from methods.base.options import Bound, Count
from methods.base.rng import generator

Angle = Annotated[float, Bound("a number from -180 to 180", lambda value: -180 <= value <= 180)]
DRAWN = ("seeded", "uniform")


@dataclass(frozen=True)
class RotatedMNIST(Recipe):
    """One task for each of the `angles`, or for each of `tasks` angles that are drawn from the seed.

    angles: a list; "seeded", one in each of `tasks` equal bins of [0, 180), in their order; or "uniform", in [0, 180).
    examples: how many training images a task has (None: all), drawn for each task, anew for each seed of drawn angles.
    """

    data_set: ClassVar[str] = "mnist"

    angles: tuple[Angle, ...] | Literal[*DRAWN] = (0, 20, 40, 60, 80)
    tasks: Count | None = None
    examples: Count | None = None

    def __post_init__(self):
        super().__post_init__()
        if not self.angles:
            raise UserError("angles must be at least one number, got an empty list")
        if self.needs_seed != (self.tasks is not None):
            wanted = f"is needed with angles = {self.angles!r}" if self.needs_seed else "goes with drawn angles only"
            raise UserError(f"tasks, the number of drawn angles, {wanted}, got {self.tasks!r}")

    @property
    def needs_seed(self) -> bool:
        return self.angles in DRAWN

    def tasks_of(self, images, seed):
        angles = self.draw(seed) if self.needs_seed else self.angles
        gathers = [turned(images.train_x.shape[-1], self.pad, angle) for angle in angles]
        return whole_set_tasks(images, gathers, self.examples, seed)

    def draw(self, seed: int) -> list[float]:
        """The angles of a seed."""
        places = torch.rand(self.tasks, generator=generator(seed, "stream"), dtype=torch.float64)
        if self.angles == "uniform":
            return (places * 180).tolist()
        return ((torch.arange(self.tasks) + places) * 180 / self.tasks).tolist()


def turned(side: int, pad: int, angle: float) -> Tensor:
    """Part.gather [side^2] of square images that were padded by `pad`, and are turned inside of the padding."""
    from torchvision.transforms.functional import rotate

    numbered = 1 + torch.arange(side * side, dtype=torch.float32).view(1, side, side)  # 0 is left for what is outside
    inside = numbered[:, pad : side - pad, pad : side - pad]
    return F.pad(rotate(inside, float(angle)), (pad,) * 4).long().flatten() - 1

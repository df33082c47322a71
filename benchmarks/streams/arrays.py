"""A stream from the array layout: any data set that a user brings as four files under the data root.

    <root>/<data>/train_images.npy, train_labels.npy, test_images.npy, test_labels.npy

Images are bytes, scaled to [0, 1], or floating-point numbers, taken as they are.
"""

from dataclasses import dataclass

from benchmarks.materialise import Split
from methods.base.errors import UserError


@dataclass(frozen=True)
class Arrays(Split):
    """The classes of the data set in the folder `data`."""

    data: str = ""

    @property
    def data_set(self) -> str:
        if not self.data:
            raise UserError("the stream 'arrays' needs data = \"<folder of the four .npy files under the data root>\"")
        return f"./{self.data}"  # a folder, also where it is called like a standard set

"""Examples give the pixels that their definition says."""

import pytest
import torch

from methods.base.examples import Part

MOVED = torch.tensor([5, -1, 0, 3, 3, -1, 11, 1, 2, -1, 10, 4])  # of the 12 pixels of an image [3, 2, 2]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
@pytest.mark.parametrize("gather", [None, MOVED, torch.arange(11, -1, -1)], ids=["kept", "zeros", "permuted"])
def test_pixels_are_those_that_gather_names_and_zero_elsewhere(dtype, shape, gather):
    source = torch.randint(1, 256, (7, 3, 2, 2), generator=torch.Generator().manual_seed(1)).to(dtype)
    rows, y = torch.tensor([6, 0, 2, 5]), torch.tensor([0, 1, 1, 0])
    part = Part(source, rows, y, torch.zeros(2), gather)
    index = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(2))
    x, units, _ = part.take(index)
    assert (x.shape, x.dtype) == ((*shape, 3, 2, 2), dtype) and torch.equal(units, y[index])
    names = range(12) if gather is None else gather.tolist()
    for n, image in zip(index.flatten().tolist(), x.reshape(-1, 12), strict=True):
        stored = source[rows[n]].flatten().tolist()
        assert image.tolist() == [0 if d < 0 else stored[d] for d in names]

import os
from pathlib import Path

import pytest

# What make hands to its recipes, `make test` for one. A make that a test starts is a user's, and no part of that one.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def data_root():
    """The data root that the environment variable DATA names, where it holds real MNIST."""
    root = os.environ.get("DATA")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("set DATA=<folder that holds MNIST/raw> to run the tests on real MNIST")
    return Path(root)

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root():
    """The data root that the environment variable DATA names, where it holds real MNIST."""
    root = os.environ.get("DATA")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("set DATA=<folder that holds MNIST/raw> to run the tests on real MNIST")
    return Path(root)

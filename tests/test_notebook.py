"""The notebook runs from its first cell to its last, on a few images.

Its code cells are executed in order in one namespace, as a kernel does it. So no kernel is needed here, and none is in
the lock. The parameters are replaced after the cell that is tagged so, as papermill does it.
"""

import json
import os

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torchvision.transforms.functional import rotate

from benchmarks import record, sweep
from tests.support import small_sets
from tests.support.pages import ROOT
from tests.support.sweeps import Inline

CELLS = json.loads((ROOT / "docs" / "rotated_mnist.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
FIVE = ["EWC", "MAS", "SI", "RWalk", "SCP"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names that all cells leave, the folder of the results, and the figures."""
    folder, before = tmp_path_factory.mktemp("notebook"), os.getcwd()
    with pytest.MonkeyPatch.context() as patch:
        small_sets.write(folder / "data", patch)
        patch.setattr(sweep, "Processes", Inline)
        patch.chdir(ROOT / "docs")
        patch.syspath_prepend(str(ROOT))
        matplotlib.use("Agg")
        plt.close("all")
        given = {"examples": 6, "data": folder / "data", "results": folder / "results"}
        names = {"__name__": "__main__"}
        for n, cell in enumerate(CODE):
            exec(compile("".join(cell["source"]), f"cell {n + 1}", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                assert set(given) < set(names)
                names |= given
    assert os.getcwd() == before
    yield names, folder / "results", [plt.figure(n) for n in plt.get_fignums()]
    plt.close("all")


def test_it_is_committed_without_outputs():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


def test_it_trains_the_baseline_and_five_methods_and_writes_their_records(ran):
    names, results, _ = ran
    assert list(names["runs"]) == ["Baseline", *FIVE] and names["failed"] == []
    for run in names["runs"].values():
        assert run.stream.options["examples"] == 6
        assert record.load(results / run.place).run == run


def test_without_a_limit_its_runs_are_those_of_the_table(ran):
    names, _, _ = ran
    whole = dict(names) | {"examples": None}
    exec("".join(next(cell["source"] for cell in CODE if "def shortened" in "".join(cell["source"]))), whole)
    assert whole["runs"] == {label: row.run("domain", names["seed"]) for label, row in names["rows"].items()}


def test_its_figures_show_what_the_records_hold(ran):
    names, results, (stream, courses, matrices) = ran
    assert [axis.get_title() for axis in stream.axes] == ["0°", "20°", "40°", "60°", "80°"]
    first, *turned = [axis.get_images()[0].get_array() for axis in stream.axes]
    for image, axis in zip(turned, stream.axes[1:], strict=True):
        angle = float(axis.get_title()[:-1])
        assert np.array_equal(image, rotate(torch.as_tensor(first)[None], angle)[0])
    for axis, of in zip(courses.axes, (lambda R, k: R[k, :k].mean(), lambda R, k: R[k, 0]), strict=True):
        drawn = {line.get_label(): line.get_ydata().tolist() for line in axis.get_lines()}
        for label, run in names["runs"].items():
            R = 100 * record.load(results / run.place).accuracy
            assert drawn[label] == pytest.approx([of(R, k) for k in range(1, 6)])
    assert [axis.get_title() for axis in matrices.axes[:6]] == ["Baseline", *FIVE]
    assert names["summary"].shape == (6, 3) and names["summary"].notna().all(axis=None)

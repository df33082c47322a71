"""What the README shows runs as it stands there."""

import json
import re

import pytest

from benchmarks.files import ROOT
from tests.support import pages

BLOCKS = re.findall(r"```(python|toml)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
METHOD, STREAM, TABLE, FISHER, PLUGIN = (text for _, text in BLOCKS)


STATE = """
import methods

net, made = Net(torch.nn.Linear(3, 2)), [methods.make("stay", lam=2.0) for _ in range(2)]
for method in made: method.begin(net, net.vector(), None)
made[0].after_task(net.vector(), None)
made[1].restore(made[0].state())
theta = net.vector() + 1
print([float(m.add_penalty_grad(theta, theta * 0).sum()) for m in made])
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What came of the README's blocks in a copy of the suite, the first three in their places."""
    folder = pages.copy_to(tmp_path_factory.mktemp("readme") / "suite")
    blocks = [
        ("python", f"# methods/stay.py\n{METHOD}"),
        ("python", f"# benchmarks/streams/odddigits.py\n{STREAM}"),
        ("toml", f"# paper_tables/odd.toml\n{TABLE}"),
        ("sh", "make table-odd SEEDS=1"),
        ("python", f"{FISHER}print(float(F.min()) >= 0, F.shape == net.vector().shape)\n{STATE}"),
    ]
    outcomes = pages.run(folder, {"README.md": blocks})["README.md"]
    assert [outcome["error"] for outcome in outcomes] == [None] * len(blocks)
    return [outcome["output"] for outcome in outcomes]


def test_the_method_the_stream_and_the_table_make_a_table(outputs):
    (row,) = [line for line in outputs[3].splitlines() if line.startswith("| Stay ")]
    task, seen = (float(cell) for cell in row.split("|")[2:4])
    assert 80 < task <= 100 and 20 < seen < 80


def test_the_fisher_engine_runs_on_its_own_and_a_run_of_the_method_goes_on_from_its_state(outputs):
    assert outputs[4].splitlines() == ["True True", "[16.0, 16.0]"]


def test_the_plugin_is_valid_code():
    compile(PLUGIN, "README.md", "exec")  # it needs MNIST: the tests of the plugin train on made-up data


def test_what_the_notebook_imports_is_there():
    """The notebook itself runs in `make test-docs`."""
    cells = json.loads((ROOT / "docs" / "rotated_mnist.ipynb").read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in cell["source"]]
    imports = [line.strip() for line in lines if re.match(r"(from|import) ", line)]
    assert len(imports) > 3
    exec("\n".join(imports), {})

"""What the README shows runs as it stands there."""

import re
import shutil
import subprocess
import sys

import pytest

from benchmarks.machine import ROOT

BLOCKS = re.findall(r"```(python|toml)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
METHOD, STREAM, TABLE, FISHER, PLUGIN = (text for _, text in BLOCKS)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The suite with the README's method, stream and table in their places."""
    folder = tmp_path_factory.mktemp("readme") / "suite"
    left_out = shutil.ignore_patterns(".git", ".venv", "data", "results", "tests")
    shutil.copytree(ROOT, folder, ignore=left_out)
    (folder / "methods" / "stay.py").write_text(METHOD, encoding="utf-8")
    (folder / "benchmarks" / "streams" / "odddigits.py").write_text(STREAM, encoding="utf-8")
    (folder / "paper_tables" / "odd.toml").write_text(TABLE, encoding="utf-8")
    return folder


def run(copy, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_method_the_stream_and_the_table_make_a_table(copy):
    shown = run(copy, "-m", "paper_tables", "table", "odd", "--seeds", "1", "--jobs", "1")
    (row,) = [line for line in shown.splitlines() if line.startswith("| Stay ")]
    task, seen = (float(cell) for cell in row.split("|")[2:4])
    assert 80 < task <= 100 and 20 < seen < 80


def test_the_fisher_engine_runs_on_its_own_and_a_run_of_the_method_goes_on_from_its_state(copy):
    script = (
        "import torch, methods\n"
        "from methods.base.net import Net\n"
        "net, made = Net(torch.nn.Linear(3, 2)), [methods.make('stay', lam=2.0) for _ in range(2)]\n"
        "for method in made: method.begin(net, net.vector(), None)\n"
        "made[0].after_task(net.vector(), None)\n"
        "made[1].restore(made[0].state())\n"
        "theta = net.vector() + 1\n"
        "print([float(m.add_penalty_grad(theta, theta * 0).sum()) for m in made])\n"
    )
    fisher = FISHER + "print(float(F.min()) >= 0, F.shape == net.vector().shape)\n"
    assert run(copy, "-c", fisher + script).splitlines() == ["True True", "[16.0, 16.0]"]


def test_the_plugin_is_valid_code():
    compile(PLUGIN, "README.md", "exec")  # it needs MNIST: the tests of the plugin train on made-up data

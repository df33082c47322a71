"""One list of pins: pyproject.toml, requirements.lock, the Makefile and environment.yml stay in step."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.support.lock import PYPROJECT, ROOT, TEXT, locked

PROJECT = PYPROJECT["project"]
ENVIRONMENT = (ROOT / "environment.yml").read_text(encoding="utf-8")

# It says that it is Python 3.N, writes down what it is asked for, and makes a .venv of itself.
PRETENDER = """#!/bin/sh
if [ "$1" = -c ]; then exec {python} -c "import sys; sys.version_info = (3, {minor}, 0); $2"; fi
echo "$@" >> asked
if [ "$2" = venv ]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi
"""


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_lock_pins_what_the_project_asks_for(line):
    requirement = Requirement(line)
    (pin,) = requirement.specifier
    assert pin.operator == "=="
    assert locked()[canonicalize_name(requirement.name)].version == pin.version


def test_lock_names_no_place_of_its_own():
    """No index, link or local path: each user's pip asks where that user's pip is set to ask."""
    assert re.findall(r"--(?:extra-)?index-url.*|--find-links.*|\w+://.*|@ .*|^-e .*", TEXT, re.MULTILINE) == []


def set_up(folder, commands):
    """Run `make setup` in a folder where {command: minor version of Python} are the only Pythons."""
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.lock").touch()
    tools = folder / "tools"
    tools.mkdir()
    for tool in ("mkdir", "cp", "touch"):
        (tools / tool).symlink_to(shutil.which(tool))
    for command, minor in commands.items():
        (tools / command).write_text(PRETENDER.format(python=sys.executable, minor=minor), encoding="utf-8")
        (tools / command).chmod(0o755)
    return subprocess.run(
        [shutil.which("make"), "setup"],
        cwd=folder,
        env=os.environ | {"PATH": str(tools)},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("minor", range(9, 17))
def test_make_sets_up_with_the_pythons_that_the_project_accepts(tmp_path, minor, numbered):
    done = set_up(tmp_path, {f"python3.{minor}" if numbered else "python3": minor})
    if f"3.{minor}" in SpecifierSet(PROJECT["requires-python"]):
        assert done.returncode == 0, done.stderr
        install = "-m pip install --disable-pip-version-check --no-deps -r requirements.lock"
        assert (tmp_path / "asked").read_text(encoding="utf-8").splitlines() == ["-m venv .venv", install]
        assert (tmp_path / ".venv" / ".ready").exists()
    else:
        assert done.returncode != 0
        assert "Python 3.11, 3.12, 3.13 or 3.14" in done.stderr
        assert not (tmp_path / ".venv").exists()


def test_make_passes_over_a_python_that_is_too_new(tmp_path):
    done = set_up(tmp_path, {"python3": 15, "python3.11": 11})
    assert done.returncode == 0
    assert "Setting up .venv with python3.11:" in done.stdout


def test_conda_brings_a_supported_python_and_pip_installs_the_lock_into_it():
    (python,) = re.findall(r"^  - python=(\S+)$", ENVIRONMENT, re.MULTILINE)
    assert python in SpecifierSet(PROJECT["requires-python"])
    name = re.search(r"^name: (\S+)$", ENVIRONMENT, re.MULTILINE)[1]
    commands = re.findall(r"^#     (.*)$", ENVIRONMENT, re.MULTILINE)
    assert commands[0] == "conda env create -f environment.yml"
    assert commands[1:] == [f"conda activate {name}", "python -m pip install --no-deps -r requirements.lock"]

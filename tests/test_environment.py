"""One list of pins: pyproject.toml, requirements.lock and environment.yml stay in step."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENVIRONMENT = (ROOT / "environment.yml").read_text(encoding="utf-8")


def locked():
    """Name -> the versions that the lock pins."""
    pins = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK, re.MULTILINE):
        pins.setdefault(canonicalize_name(name), set()).add(version)
    return pins


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_lock_pins_what_the_project_asks_for(line):
    requirement = Requirement(line)
    (pin,) = requirement.specifier
    assert pin.operator == "=="
    assert locked()[canonicalize_name(requirement.name)] == {pin.version}


def test_every_entry_of_the_lock_has_a_hash():
    entries = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) >= len(PROJECT["dependencies"])
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_lock_names_no_place_of_its_own():
    """No index, link or local path: each user's pip asks where that user's pip is set to ask."""
    assert re.findall(r"--(?:extra-)?index-url.*|--find-links.*|\w+://.*|@ .*|^-e .*", LOCK, re.MULTILINE) == []


def test_conda_installs_the_lock_on_a_supported_python():
    (python,) = re.findall(r"^  - python=(\S+)$", ENVIRONMENT, re.MULTILINE)
    assert python in SpecifierSet(PROJECT["requires-python"])
    pip = re.findall(r"^  - pip:\n((?:      - .*\n)+)", ENVIRONMENT, re.MULTILINE)
    assert pip == ["      - -r requirements.lock\n"]

"""What pyproject.toml asks for, and what requirements.lock holds."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEXT = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Pin:
    """One package of the lock. `marker` names the systems that it is for; None is every system."""

    version: str
    marker: Marker | None
    hashes: frozenset[str]


def locked() -> dict[str, Pin]:
    """The packages of the lock by their canonical names."""
    pins = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", TEXT, flags=re.MULTILINE)[1:]:
        name, version, marker = re.match(r"([A-Za-z0-9._-]+)==(\S+)(?: ; (.*))? \\$", entry, re.MULTILINE).groups()
        assert canonicalize_name(name) not in pins, f"{name} is in the lock twice"
        hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
        pins[canonicalize_name(name)] = Pin(version, Marker(marker) if marker else None, hashes)
    return pins

"""Each library has an environment of its own under .audit/, made on first use from a pinned list.

The list is `benchmarks/audit/<library>.txt`, complete: nothing is resolved. The environment sees the packages of the
running interpreter's environment, torch among them, through a path file. It is written last, so the installation sees
and changes nothing of that environment. A library without a list is run by this interpreter.
"""

import shutil
import subprocess
import sys
import sysconfig
import venv
from hashlib import sha256
from pathlib import Path

from benchmarks.files import ROOT, write_atomically
from methods.base.errors import UserError

FOLDER = ROOT / ".audit"
LISTS = ROOT / "benchmarks" / "audit"
SECONDS = 900  # for an installation


def interpreter(name: str, folder: Path = FOLDER, lists: Path = LISTS) -> str:
    """Return the interpreter of a library's environment. Make the environment if it is missing or of another list."""
    pinned = lists / f"{name}.txt"
    if not pinned.exists():
        return sys.executable
    home, digest = folder / name, sha256(pinned.read_bytes() + sys.executable.encode()).hexdigest()
    mark, python = home / ".ready", home / "bin" / "python"
    if not (mark.exists() and mark.read_text(encoding="utf-8") == digest):
        shutil.rmtree(home, ignore_errors=True)
        print(f"{name}: setting up {home.relative_to(folder.parent)}", file=sys.stderr)
        venv.create(home, symlinks=True, with_pip=False)
        _install(name, python, pinned)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        site = home / "lib" / version / "site-packages"
        (site / "suite.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        write_atomically(mark, digest)
    return str(python)


def _install(name: str, python: Path, pinned: Path) -> None:
    # Some packages name an older Python or torch than they run on: only their own versions are pinned.
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--disable-pip-version-check", "-q"]
    command += ["--no-deps", "--ignore-requires-python", "--no-compile", "-r", str(pinned)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{name} cannot be installed: not done after {SECONDS} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no reason given"]
        raise UserError(f"{name} cannot be installed: {lines[-1].removeprefix('ERROR: ')}")

"""What a user has added to a checkout. It is not of the suite: what holds for the whole suite does not ask for it."""

import subprocess
from pathlib import Path

from benchmarks.files import ROOT


def modules(folder: str) -> set[str]:
    """The modules in a folder, not in one below it, that git does not know. Without git there are none."""
    command = ["git", "ls-files", "--others", "--exclude-standard", folder]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    files = map(Path, found.stdout.splitlines())
    return {file.stem for file in files if file.suffix == ".py" and file.parent == Path(folder)}

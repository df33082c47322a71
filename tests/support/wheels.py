"""Write wheels_cp314.txt: the file of each locked package that pip would install under Python 3.14 on Linux (x86-64).

Run `.venv/bin/python tests/support/wheels.py` on such a machine after the lock has changed. It asks the package index,
and installs nothing. It asks without hashes: to check them, pip would load every file whole.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FILE = Path(__file__).with_name("wheels_cp314.txt")
LOCK = Path(__file__).parents[2] / "requirements.lock"
QUESTION = [
    "--dry-run",
    "--quiet",
    "--ignore-installed",
    "--no-deps",
    "--python-version=3.14",
    "--target=unused",
    "--report=-",
]


def main() -> None:
    """Ask pip, and write one line for each package: the sha256 and the file name."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as pins:
        pins.write("\n".join(re.findall(r"^[a-z0-9._-]+==[^\\\n]*", LOCK.read_text(encoding="utf-8"), re.MULTILINE)))
        pins.flush()
        command = [sys.executable, "-m", "pip", "install", *QUESTION, "-r", pins.name]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    files = [package["download_info"] for package in json.loads(answer)["install"]]
    lines = sorted((file["url"].rsplit("/", 1)[1], file["archive_info"]["hashes"]["sha256"]) for file in files)
    FILE.write_text("".join(f"{digest} {name}\n" for name, digest in lines), encoding="utf-8")


if __name__ == "__main__":
    main()

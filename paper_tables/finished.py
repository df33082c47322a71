"""A finished table is shown again without torch, whose import takes longer than all else.

The page is kept beside the table's files, with a checksum of all that it depends on: what was asked for, the sources,
the records, the data and the table's files, each by name, size and time. If one of them is another, the table is made
anew.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks.files import shown, write_atomically
from paper_tables.terminal import Page, show

ROOT = Path(__file__).resolve().parents[1]
PLAIN = (str, bool, type(None))  # of the values that a command line gives


def again(options: argparse.Namespace) -> bool:
    """Show the table if it is finished and nothing has changed since. Return whether it was."""
    try:
        file = _file(options)
        kept = json.loads(file.read_text(encoding="utf-8"))
        if not _can_be_kept(options) or kept["depends"] != checksum(options):
            return False
        page = Page(**kept["page"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    show(page)
    print(f"unchanged: {shown(file.parent / options.name)}.md, .tex, .csv and .png", file=sys.stderr)
    return True


def keep(options: argparse.Namespace, page: Page, before: str) -> None:
    """Keep the page of a finished table. before: the checksum of the sources when the command began."""
    if _can_be_kept(options) and before == sources():
        write_atomically(_file(options), json.dumps({"depends": checksum(options), "page": asdict(page)}))


def checksum(options: argparse.Namespace) -> str:
    """Return 64 hex digits of all that the page depends on."""
    asked = {name: value for name, value in vars(options).items() if isinstance(value, PLAIN)}
    folder, root = _results(options), Path(options.data or os.environ.get("DATA") or ROOT / "data")
    records = [*folder.glob("*/*/*.json"), *(folder / "tables").glob(f"{options.name}.*")]
    if options.beside:
        records += (ROOT / "results" / "reference").glob("*/*/*.json")
    data = [*root.glob("*"), *root.glob("*/*")]
    return _digest([asked, str(root.resolve()), sources(), _states(records), _states(data)])


def sources() -> str:
    """Return 64 hex digits of this checkout's sources and of the packages that are installed."""
    files = [ROOT / "requirements.lock"]
    files += [path for name in ("methods", "benchmarks", "paper_tables") for path in (ROOT / name).rglob("*.*")]
    packages = [Path(folder) for folder in sys.path if folder.endswith("site-packages")]
    return _digest([sys.version, _states(path for path in files if path.suffix != ".pyc"), _states(packages)])


def _can_be_kept(options: argparse.Namespace) -> bool:
    return not (options.plan or options.track or options.cluster) and options.device == "cpu"


def _results(options: argparse.Namespace) -> Path:
    return Path(options.results) if options.results else ROOT / "results" / "local"


def _file(options: argparse.Namespace) -> Path:
    return _results(options) / "tables" / f".{options.name}.json"


def _states(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return name, size and time of each file. A file that another process has just taken away counts as absent."""
    states = []
    for file in files:
        with suppress(FileNotFoundError):
            stat = file.stat()
            states.append((str(file), stat.st_size, stat.st_mtime_ns))
    return sorted(states)


def _digest(values: list) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

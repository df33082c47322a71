"""A finished table is shown again without torch, whose import takes longer than all else.

The page is kept beside the table's files, with all that it depends on: what was asked for, the sources, the records,
the data and the table's files, each by name, size and time. If one of them is another, the table is made anew.
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

from benchmarks.files import LOCAL, REFERENCE, ROOT, shown, write_atomically
from paper_tables.terminal import Page, show

PLAIN = (str, bool, type(None))  # of the values that a command line gives


def again(options: argparse.Namespace) -> bool:
    """Show the table if it is finished and nothing has changed since. Return whether it was."""
    try:
        kept = json.loads(_file(options).read_text(encoding="utf-8"))
        page = Page(**kept["page"])
        same = kept["begun"] == begun(options) and kept["data"] == states(Path(file) for file, *_ in kept["data"])
        if not same or kept["results"] != _results(options):
            return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    show(page)
    print(f"unchanged: {shown(_file(options).parent / options.name)}.md, .tex, .csv and .png", file=sys.stderr)
    return True


def begun(options: argparse.Namespace) -> dict:
    """Return what is asked for, and a checksum of this checkout's sources and of the packages that are installed."""
    asked = {name: value for name, value in vars(options).items() if isinstance(value, PLAIN)}
    files = [ROOT / "requirements.lock", *(Path(folder) for folder in sys.path if folder.endswith("site-packages"))]
    files += [path for name in ("methods", "benchmarks", "paper_tables") for path in (ROOT / name).rglob("*.*")]
    sources = _checksum([sys.version, states(file for file in files if file.suffix != ".pyc")])
    return {"asked": asked, "DATA": os.environ.get("DATA"), "sources": sources}


def keep(options: argparse.Namespace, page: Page, at_first: dict, data: list[list]) -> None:
    """Keep the page of a table whose runs are all there.

    at_first, data: `begun` and the states of the data's files when the command began. A page whose sources or data were
    edited while it was made is not kept.
    """
    can_be = options.device == "cpu" and not (options.track or options.cluster)
    if can_be and at_first == begun(options) and data == states(Path(file) for file, *_ in data):
        kept = {"begun": at_first, "data": data, "results": _results(options), "page": asdict(page)}
        write_atomically(_file(options), json.dumps(kept))


def states(files: Iterable[Path]) -> list[list]:
    """Return name, size and time of each file. A file that cannot be read counts as absent."""
    found = []
    for file in files:
        with suppress(OSError):
            stat = file.stat()
            found.append([str(file), stat.st_size, stat.st_mtime_ns])
    return sorted(found)


def _results(options: argparse.Namespace) -> str:
    """Return a checksum of the records and of the table's files."""
    folder = _folder(options)
    files = [*folder.glob("*/*/*.json"), *(folder / "tables").glob(f"{options.name}.*")]
    if options.beside:
        files += REFERENCE.glob("*/*/*.json")
    return _checksum(states(files))


def _checksum(values: list) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _folder(options: argparse.Namespace) -> Path:
    return Path(options.results) if options.results else LOCAL


def _file(options: argparse.Namespace) -> Path:
    return _folder(options) / "tables" / f".{options.name}.json"

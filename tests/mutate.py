"""Injected bugs, one a line of mutants.tsv: does a test go red, and does each tier of the gate?

    python -m tests.mutate [names ...]      (make mutants MUTANTS=<names>; DATA=<root> adds the gate's rows on MNIST)

Each bug is put into a copy of the sources. Its tests must fail there. The gate's rows that it touches are run with it
and compared, with the references of a machine like this one ("exact") and with those of other kinds ("tolerant"). The
other rows count as untouched. The exit status is 1 if a bug is caught by nothing.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import ROOT
from methods.base.errors import unknown

LIST = Path(__file__).with_name("mutants.tsv")
GATE = """
import json, sys, tempfile
from pathlib import Path
from benchmarks import data
from benchmarks.sweep import survey, sweep
from paper_tables import declaration, gate, regress
if __name__ == "__main__":
    rows, here, root = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    table = declaration.load(regress.NAME)
    table = regress.gated(table) if data.is_there("mnist", root) else table
    runs = regress.gate_runs(table.select(rows))
    with tempfile.TemporaryDirectory() as results:
        sweep(list(runs.values()), Path(results), root, 2)
        fresh = regress.outcomes(table, runs, survey(list(runs.values()), Path(results), root).records)
    kinds = [regress._load(file)["outcomes"] for file in sorted((regress.FOLDER / regress.NAME).glob("*.json"))]
    names = [file.stem for file in sorted((regress.FOLDER / regress.NAME).glob("*.json"))]
    mine, others = kinds[names.index(here)], [k for k, name in zip(kinds, names, strict=True) if name != here]

    def failing(found, known, exact):
        return {(cell.row, cell.scenario) for cell in gate.compare(known, found, exact) if not cell.passes}

    # A cell of this kind of machine may lie beyond the tolerance of the others without any bug.
    caught = [
        bool(failing({**mine, **fresh}, known, exact) - failing(mine, known, exact))
        for known, exact in (([mine], True), (others, False))
    ]
    print("caught", json.dumps(caught))
"""


def main(names: list[str]) -> int:
    """Try the bugs of these names, or all; print what catches each."""
    with LIST.open(encoding="utf-8", newline="") as file:
        mutants = {row["name"]: row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    for name in names:
        if name not in mutants:
            raise unknown("mutant", name, mutants)
    missed = []
    print(f"{'mutant':24} {'test':5} {'exact':5} {'tolerant':8}  what it changes", flush=True)
    for name in names or mutants:
        caught = attempt(mutants[name])
        marks = ["red" if found else "-" for found in caught]
        print(f"{name:24} {marks[0]:5} {marks[1]:5} {marks[2]:8}  {mutants[name]['what']}", flush=True)
        missed += [name] if not any(caught) else []
    print(f"{len(names or mutants)} bugs, {len(missed)} caught by nothing{': ' if missed else ''}{', '.join(missed)}")
    return int(bool(missed))


def attempt(mutant: dict[str, str]) -> list[bool]:
    """Whether the tests, the exact and the tolerant tier catch a bug."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "suite"
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "data", "local", "tables", "reference")
        )
        file = copy / mutant["file"]
        old, new = (mutant[side].replace("\\n", "\n") for side in ("old", "new"))
        text = file.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise SystemExit(f"{mutant['name']}: {mutant['file']} holds {old!r} {text.count(old)} times, not once")
        file.write_text(text.replace(old, new), encoding="utf-8")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy)}
        tests = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant["tests"].split()]
        red = subprocess.run(tests, cwd=copy, env=environment, capture_output=True).returncode == 1
        root = Path(os.environ.get("DATA") or ROOT / "data").resolve()
        command = [sys.executable, "-c", GATE, mutant["rows"], kind_of_this_machine(), str(root)]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line.startswith("caught ")]
        # A bug that stops the command is caught, too: it does not pass.
        return [red, *(json.loads(lines[0].removeprefix("caught ")) if lines else (True, True))]


def kind_of_this_machine() -> str:
    """The name of this machine's gate reference; the first one's, if there is none."""
    from paper_tables import regress

    files = sorted((regress.FOLDER / regress.NAME).glob("*.json"))
    here = [file.stem for file in files if json.loads(file.read_text(encoding="utf-8"))["kind"] == regress.kind("cpu")]
    return (here or [file.stem for file in files])[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

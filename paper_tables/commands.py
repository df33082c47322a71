"""What each command of the command line does. It returns the exit status, and its docstring is its help.

Each imports what it needs when it is called, so that `--help` needs no torch.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.files import LOCAL, REFERENCE, ROOT, read_text, shown
from methods.base.errors import UserError, unknown


def table(options: argparse.Namespace) -> int:
    """Do the runs that a table lacks, then render it."""
    from paper_tables import finished

    begun = finished.begun(options)  # before the other sources are read

    from paper_tables import beside, declaration
    from paper_tables.complete import complete
    from paper_tables.options import curves, path, sweeping
    from paper_tables.plan import plan

    whole = declaration.load(options.name)
    table = whole.select(options.rows)
    others = beside.find(options.beside, whole, options.rows) if options.beside else None
    folder = path(options.results, "--results") if options.results else LOCAL
    tracked = curves(options, folder)
    if options.plan:
        if options.cluster:
            raise UserError("PLAN=1 and CLUSTER exclude each other: a plan is for this machine")
        root, at_a_time, _ = sweeping(options)
        print(plan(table, options.seeds, folder, root, at_a_time))
        return 0
    if folder.resolve() == REFERENCE.resolve():
        raise UserError(f"{shown(folder)} holds the committed records, and a stale one would be replaced: give another")
    done = complete(table, options.seeds, folder, *sweeping(options), others, tracked)
    if tracked and tracked.exists():
        print(f"curves: tensorboard --logdir {shown(tracked)}", file=sys.stderr)
    faulty = [record for record in done.failed if not record.diverged]
    for record in faulty:
        file = shown(folder / record.run.place)
        print(f"failed: {record.run}: {record.reason}; remove {file} to run it again", file=sys.stderr)
    if done.whole and not faulty:
        finished.keep(options, done.page, begun, done.data)
    return int(bool(faulty))


def tune(options: argparse.Namespace) -> int:
    """Search the options that a table declares as searched, on held-out training data."""
    from paper_tables import declaration
    from paper_tables.options import sweeping
    from paper_tables.tune import tune

    table = declaration.load(options.name)
    if not any(row.search for row in table.rows):
        raise UserError(f"table {options.name} searches nothing: its rows say where their options come from")
    print(shown(tune(table, LOCAL, *sweeping(options))))
    return 0


def tables(options: argparse.Namespace) -> int:
    """Render the committed reference records, without training."""
    from paper_tables import gallery
    from paper_tables.references import render_references

    folder = ROOT / "results" / "tables"
    *done, board = render_references(folder)
    for name in done:
        print(f"{shown(folder / name)}.md, .tex, .csv and .png", file=sys.stderr)
    gallery.write()
    print(f"{shown(gallery.PAGE)} and its pictures", file=sys.stderr)
    print(read_text(folder / f"{board}.md"), end="")
    return 0


def judge(options: argparse.Namespace) -> int:
    """Judge anybody's runs, from a CSV with the columns cell, seed, value."""
    from paper_tables.judge import judge
    from paper_tables.options import path

    if not options.file:
        raise UserError("judge needs a file: make judge FILE=mine.csv, with the columns cell, seed, value")
    print(judge(path(options.file, "FILE")))
    return 0


def report(options: argparse.Namespace) -> int:
    """Write all tables, and what stands behind each cell, as one HTML page."""
    from paper_tables.options import data_root, path
    from paper_tables.report import page

    folder = path(options.results, "RESULTS") if options.results else REFERENCE
    file = path(options.file, "FILE") if options.file else LOCAL / "report.html"
    root = data_root(None)
    if options.live:
        page.keep_writing(folder, root, file)
        return 0
    page.check(folder)
    print(f"{shown(file)}, {page.write(folder, root, file) / 1e6:.1f} MB: open it in a browser")
    return 0


def figure(options: argparse.Namespace) -> int:
    """Draw a figure: fisher, offline-ewc, tradeoff or landscape."""
    from importlib import import_module
    from inspect import signature

    from paper_tables.options import data_root, jobs

    files = Path(__file__).parent.glob("figure_*.py")
    known = [file.stem.removeprefix("figure_").replace("_", "-") for file in files]
    if options.name not in known:
        raise unknown("figure", options.name, known)
    main = import_module(f"paper_tables.figure_{options.name.replace('-', '_')}").main
    taken = signature(main).parameters
    for option, name in (("data", "root"), ("jobs", "jobs")):
        if getattr(options, option) and name not in taken:
            raise UserError(f"figure {options.name} takes no --{option}")
    given = {"root": data_root(options.data), "jobs": jobs(options.jobs)}
    main(**{name: value for name, value in given.items() if name in taken})
    return 0


def figures(options: argparse.Namespace) -> int:
    """Draw learning curves and accuracy matrices of a table, from its records."""
    from paper_tables import declaration
    from paper_tables.figures.draw import write
    from paper_tables.options import data_root, path

    folder = path(options.results, "RESULTS") if options.results else REFERENCE
    names = [options.table] if options.table else declaration.names()
    tables, root = map(declaration.load, names), data_root(None)
    written = [file for table in tables for file in write(table, folder, root, LOCAL / "figures")]
    if not written:
        raise UserError(f"no finished run of {options.table or 'any table'} is recorded in {folder}")
    print("\n".join(str(shown(file)) for file in written))
    return 0


def regress(options: argparse.Namespace) -> int:
    """Run a table and compare it with its gate references."""
    from paper_tables.options import path, sweeping
    from paper_tables.regress import NAME, regress

    if options.accept != (options.reason is not None):
        raise UserError('--accept and --reason "..." go together: a reference changes for a reason')
    files = {form: path(file, f"--{form}") for form in ("junit", "json") if (file := getattr(options, form))}
    return regress(options.table or NAME, *sweeping(options), options.reason, files)


def audit(options: argparse.Namespace) -> int:
    """Measure what other libraries compute under the names of the field."""
    from paper_tables import audit
    from paper_tables.options import jobs

    names = None
    if options.libs is not None:
        names = list(dict.fromkeys(name.strip().replace("-", "_") for name in options.libs.split(",") if name.strip()))
        if not names:
            raise UserError("LIBS must name libraries, separated by commas: LIBS=avalanche,gmumcl")
    return audit.main(names, jobs(options.jobs))


def data(options: argparse.Namespace) -> int:
    """Fetch and verify a data set."""
    from benchmarks import data
    from paper_tables.options import data_root

    root = data_root(options.data)
    data.require(options.name, root)
    print(f"{options.name} is complete and verified in {shown(root)}")
    return 0

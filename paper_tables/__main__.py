"""The Makefile calls this command line: python -m paper_tables {table,tune,tables,judge,report,figure,...} ..."""

import argparse
import io
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS = (
    "Exit status: 0 when it is done, also if runs diverged; 1 if a run failed for another reason (table) or a cell "
    "moved (regress); 2 for a mistake in what was asked for, or a cluster that is gone; 130 after Ctrl-C; 141 if the "
    "reader of the output left."
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status (STATUS). A user's mistake is one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # on a terminal that lacks a character
    options = _parser().parse_args(arguments)
    with _writable_home():
        if options.begins_processes and not options.cluster and not getattr(options, "plan", False):
            from benchmarks.executors import prepare

            prepare()  # Their server imports torch while what follows does.
        return _status(options)


def _status(options: argparse.Namespace) -> int:
    from methods.base.errors import UserError  # after the parser: this imports torch, and --help does not need torch

    try:
        status = options.command(options)
        sys.stdout.flush()
        return status
    except UserError as error:
        return _refused(error)
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept, the same command goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _abandon_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _refused(error)


def _refused(error: Exception) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def _abandon_output() -> None:
    """Let unwritten output go nowhere, so that the interpreter does not stumble over it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


@contextmanager
def _writable_home() -> Iterator[None]:
    """Lend a home folder if there is none to write to. Avalanche and Matplotlib write there on import."""
    home = Path(os.path.expanduser("~"))
    try:
        tempfile.TemporaryFile(dir=next(folder for folder in (home, *home.parents) if folder.exists())).close()
    except OSError:
        pass
    else:
        yield
        return
    before = os.environ.get("HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m paper_tables", allow_abbrev=False, epilog=STATUS)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, work, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False, epilog=STATUS)
        made.set_defaults(command=work, begins_processes=False)
        return made

    def sweeping(made: argparse.ArgumentParser) -> None:
        made.set_defaults(begins_processes=True)
        made.add_argument("--jobs", help="runs at a time, one thread each (default: the number of cores)")
        made.add_argument("--data", help="data root (default: the environment variable DATA, then data/)")
        made.add_argument("--device", default="cpu", help="where to train (default: cpu)")
        made.add_argument(
            "--cluster", help="tcp://HOST:PORT of a scheduler, whose workers do the runs (docs/cluster.md)"
        )

    table = command("table", _table, "do the runs that a table lacks, then render it")
    table.add_argument("name")
    table.add_argument(
        "--seeds", help="5 (1 to 5), 3,7 (those), 7, (one), 3-9 (a range), auto (until cells are settled)"
    )
    table.add_argument("--rows", help="labels or methods, separated by commas")
    table.add_argument("--beside", metavar="reference", help="show the committed reference rows beside those of --rows")
    table.add_argument("--results", help="folder of the records (default: results/local)")
    table.add_argument("--track", metavar="tensorboard", help="write curves of each run while it trains")
    table.add_argument("--plan", action="store_true", help="train nothing, say what there is to do")
    sweeping(table)
    tune = command("tune", _tune, "search the options that a table declares as searched, on held-out training data")
    tune.add_argument("name")
    sweeping(tune)
    command("tables", _tables, "render the committed reference records, without training")
    judge = command("judge", _judge, "judge anybody's runs, from a CSV with the columns cell, seed, value")
    judge.add_argument("file", nargs="?")
    report = command("report", _report, "write all tables, and what stands behind each cell, as one HTML page")
    report.add_argument("--results", help="folder of the records (default: results/reference)")
    report.add_argument("--file", help="the page (default: results/local/report.html)")
    report.add_argument("--live", action="store_true", help="write it again whenever a record came, until Ctrl-C")
    figure = command("figure", _figure, "draw a figure: fisher, offline-ewc, tradeoff or landscape")
    figure.add_argument("name")
    figure.add_argument("--jobs", help="runs at a time, one thread each (default: the number of cores)")
    figure.add_argument("--data", help="data root (default: the environment variable DATA, then data/)")
    figures = command("figures", _figures, "draw learning curves and accuracy matrices of a table, from its records")
    figures.add_argument("--table", help="which table (default: all that have records)")
    figures.add_argument("--results", help="folder of the records (default: results/reference)")
    regress = command("regress", _regress, "run a table and compare it with its gate references")
    regress.add_argument("--table", help="which table (default: that of the digits)")
    regress.add_argument("--accept", action="store_true", help="make the fresh runs the reference; needs --reason")
    regress.add_argument("--reason", help="why the reference changes: a line for the ledger")
    regress.add_argument("--junit", help="also write a JUnit file")
    regress.add_argument("--json", help="also write a JSON file")
    sweeping(regress)
    audited = command("audit", _audit, "measure what other libraries compute under the names of the field")
    audited.add_argument("--libs", help="libraries, separated by commas (default: all)")
    audited.add_argument("--jobs", help="libraries at a time, one thread each (default: the number of cores)")
    data = command("data", _data, "fetch and verify a data set")
    data.add_argument("name")
    data.add_argument("--data")
    return parser


def _table(options: argparse.Namespace) -> int:
    from benchmarks.files import shown
    from benchmarks.record import LOCAL
    from methods.base.errors import UserError
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
    failed = complete(table, options.seeds, folder, *sweeping(options), others, tracked)
    if tracked and tracked.exists():
        print(f"curves: tensorboard --logdir {shown(tracked)}", file=sys.stderr)
    faulty = [record for record in failed if not record.diverged]
    for record in faulty:
        file = shown(folder / record.run.place)
        print(f"failed: {record.run}: {record.reason}; remove {file} to run it again", file=sys.stderr)
    return int(bool(faulty))


def _tune(options: argparse.Namespace) -> int:
    from benchmarks.files import shown
    from benchmarks.record import LOCAL
    from methods.base.errors import UserError
    from paper_tables import declaration
    from paper_tables.options import sweeping
    from paper_tables.tune import tune

    table = declaration.load(options.name)
    if not any(row.search for row in table.rows):
        raise UserError(f"table {options.name} searches nothing: its rows say where their options come from")
    print(shown(tune(table, LOCAL, *sweeping(options))))
    return 0


def _tables(options: argparse.Namespace) -> int:
    from benchmarks.files import read_text, shown
    from benchmarks.record import ROOT
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


def _judge(options: argparse.Namespace) -> int:
    from methods.base.errors import UserError
    from paper_tables.judge import judge
    from paper_tables.options import path

    if not options.file:
        raise UserError("judge needs a file: make judge FILE=mine.csv, with the columns cell, seed, value")
    print(judge(path(options.file, "FILE")))
    return 0


def _report(options: argparse.Namespace) -> int:
    from benchmarks.files import shown
    from benchmarks.record import LOCAL, REFERENCE
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


def _figure(options: argparse.Namespace) -> int:
    from importlib import import_module
    from inspect import signature
    from pkgutil import iter_modules

    import paper_tables
    from methods.base.errors import UserError, unknown
    from paper_tables.options import data_root, jobs

    modules = [module.name for module in iter_modules(paper_tables.__path__)]
    known = [name.removeprefix("figure_").replace("_", "-") for name in modules if name.startswith("figure_")]
    if options.name not in known:
        raise unknown("figure", options.name, known)
    main = import_module(f"paper_tables.figure_{options.name.replace('-', '_')}").main
    taken = signature(main).parameters
    for option, name in (("data", "root"), ("jobs", "jobs")):
        if getattr(options, option) and name not in taken:
            raise UserError(f"figure {options.name} takes no --{option}")
    known = {"root": data_root(options.data), "jobs": jobs(options.jobs)}
    main(**{name: value for name, value in known.items() if name in taken})
    return 0


def _figures(options: argparse.Namespace) -> int:
    from benchmarks.files import shown
    from benchmarks.record import LOCAL, REFERENCE
    from methods.base.errors import UserError
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


def _regress(options: argparse.Namespace) -> int:
    from methods.base.errors import UserError
    from paper_tables.options import path, sweeping
    from paper_tables.regress import NAME, regress

    if options.accept != (options.reason is not None):
        raise UserError('--accept and --reason "..." go together: a reference changes for a reason')
    files = {form: path(file, f"--{form}") for form in ("junit", "json") if (file := getattr(options, form))}
    return regress(options.table or NAME, *sweeping(options), options.reason, files)


def _audit(options: argparse.Namespace) -> int:
    from methods.base.errors import UserError
    from paper_tables import audit
    from paper_tables.options import jobs

    names = None
    if options.libs is not None:
        names = list(dict.fromkeys(name.strip().replace("-", "_") for name in options.libs.split(",") if name.strip()))
        if not names:
            raise UserError("LIBS must name libraries, separated by commas: LIBS=avalanche,gmumcl")
    return audit.main(names, jobs(options.jobs))


def _data(options: argparse.Namespace) -> int:
    from benchmarks import data
    from benchmarks.files import shown
    from paper_tables.options import data_root

    root = data_root(options.data)
    data.require(options.name, root)
    print(f"{options.name} is complete and verified in {shown(root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

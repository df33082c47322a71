"""The Makefile calls this command line: python -m paper_tables {table,tune,tables,judge,report,figure,...} ..."""

import argparse
import gc
import io
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.executors import prepare
from methods.base.errors import UserError
from paper_tables import commands

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
        return _status(options)


def _status(options: argparse.Namespace) -> int:
    try:
        if options.command is commands.table:
            from paper_tables import finished

            if finished.again(options):
                return 0
        if options.begins_processes and not options.cluster and not getattr(options, "plan", False):
            prepare()  # Their server imports torch while what follows does.
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
    subparsers = parser.add_subparsers(required=True, metavar="command")

    def command(name: str) -> argparse.ArgumentParser:
        work = getattr(commands, name)
        made = subparsers.add_parser(
            name, help=work.__doc__, description=work.__doc__, allow_abbrev=False, epilog=STATUS
        )
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

    table = command("table")
    table.add_argument("name")
    table.add_argument(
        "--seeds", help="5 (1 to 5), 3,7 (those), 7, (one), 3-9 (a range), auto (until cells are settled)"
    )
    table.add_argument("--rows", help="labels as they are written, or methods (all rows of each), separated by commas")
    table.add_argument("--beside", metavar="reference", help="show the committed reference rows beside those of --rows")
    table.add_argument("--results", help="folder of the records (default: results/local)")
    table.add_argument("--track", metavar="tensorboard", help="write curves of each run while it trains")
    table.add_argument("--plan", action="store_true", help="train nothing, say what there is to do")
    sweeping(table)
    tune = command("tune")
    tune.add_argument("name")
    sweeping(tune)
    command("tables")
    judge = command("judge")
    judge.add_argument("file", nargs="?")
    report = command("report")
    report.add_argument("--results", help="folder of the records (default: results/reference)")
    report.add_argument("--file", help="the page (default: results/local/report.html)")
    report.add_argument("--live", action="store_true", help="write it again whenever a record came, until Ctrl-C")
    figure = command("figure")
    figure.add_argument("name")
    figure.add_argument("--jobs", help="runs at a time, one thread each (default: the number of cores)")
    figure.add_argument("--data", help="data root (default: the environment variable DATA, then data/)")
    figures = command("figures")
    figures.add_argument("--table", help="which table (default: all that have records)")
    figures.add_argument("--results", help="folder of the records (default: results/reference)")
    regress = command("regress")
    regress.add_argument("--table", help="which table (default: that of the digits)")
    regress.add_argument("--accept", action="store_true", help="make the fresh runs the reference; needs --reason")
    regress.add_argument("--reason", help="why the reference changes: a line for the ledger")
    regress.add_argument("--junit", help="also write a JUnit file")
    regress.add_argument("--json", help="also write a JSON file")
    sweeping(regress)
    audited = command("audit")
    audited.add_argument("--libs", help="libraries, separated by commas (default: all)")
    audited.add_argument("--jobs", help="libraries at a time, one thread each (default: the number of cores)")
    data = command("data")
    data.add_argument("name")
    data.add_argument("--data")
    return parser


if __name__ == "__main__":
    status = main()
    gc.freeze()  # The last collection would walk all that torch and Matplotlib have made, for most of a second.
    sys.exit(status)

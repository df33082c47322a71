"""The command line behind the Makefile: python -m paper_tables {table,tune,tables,figure,regress,data} ..."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from methods.base.errors import UserError

DATA = Path("data")
AUTO = "auto"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit status. A user's mistake is one line and status 2, Ctrl-C is status 130."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept, the same command goes on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m paper_tables", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, work, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(command=work)
        return made

    def sweeping(made: argparse.ArgumentParser) -> None:
        made.add_argument("--jobs", help="runs at a time, one thread each (default: the number of cores)")
        made.add_argument("--data", help="data root (default: the environment variable DATA, then data/)")
        made.add_argument("--device", default="cpu", help="where to train (default: cpu)")

    table = command("table", _table, "do the runs that a table lacks, then render it")
    table.add_argument("name")
    table.add_argument("--seeds", help="5 for seeds 1 to 5, 3,7 for those two, auto for as many as settle the cells")
    table.add_argument("--rows", help="labels or methods, separated by commas")
    table.add_argument("--results", type=Path, help="folder of the records (default: results/local)")
    sweeping(table)
    tune = command("tune", _tune, "search the options that a table declares as searched, on held-out training data")
    tune.add_argument("name")
    sweeping(tune)
    command("tables", _tables, "render the committed reference records, without training")
    figure = command("figure", _figure, "draw what the Fisher estimators do on one network trained on MNIST")
    figure.add_argument("--data")
    regress = command("regress", _regress, "compare the digits with the committed reference records")
    regress.add_argument("--accept", action="store_true", help="make the fresh records the reference")
    sweeping(regress)
    data = command("data", _data, "fetch and verify a data set")
    data.add_argument("name")
    data.add_argument("--data")
    return parser


def _table(options: argparse.Namespace) -> int:
    from benchmarks.record import LOCAL
    from benchmarks.sweep import survey, sweep
    from paper_tables import declaration
    from paper_tables.runs import next_look, runs_of
    from paper_tables.seeds import parse_seeds
    from paper_tables.verdict import LOOKS

    chosen, looks = declaration.load(options.name).select(options.rows), ()
    if options.seeds == AUTO:
        (first, *looks), chosen = LOOKS, replace(chosen, looks=len(LOOKS))
        seeds = parse_seeds(str(first))
    else:
        seeds = parse_seeds(options.seeds or str(chosen.seeds))
    jobs, root, folder = _jobs(options.jobs), _root(options.data), options.results or LOCAL
    runs = runs_of(chosen, seeds)
    before = survey(list(runs.values()), folder, root)
    for aside, fault in before.damaged:
        print(f"{fault}; it is moved to {aside}, and its run is done again", file=sys.stderr)
    if before.stale:
        named = ", ".join(str(_shown(file)) for file in before.stale[:3])
        more = f" and {len(before.stale) - 3} more" if len(before.stale) > 3 else ""
        print(f"stale, their code or data has changed, run again: {named}{more}", file=sys.stderr)
    try:
        sweep(list(runs.values()), folder, root, jobs, options.device)
        for n in looks:
            more = next_look(chosen, runs, survey(list(runs.values()), folder, root).records, n)
            if not more:
                break
            print(f"up to {n} seeds for the cells that more can settle", file=sys.stderr)
            runs |= more
            sweep(list(runs.values()), folder, root, jobs, options.device)
    except KeyboardInterrupt:
        print("the table so far:", file=sys.stderr)
        _print_table(chosen, runs, folder, root)
        raise
    _print_table(chosen, runs, folder, root)
    return 0


def _print_table(chosen, runs: dict, folder: Path, root: Path) -> None:
    from benchmarks.sweep import survey
    from paper_tables import render
    from paper_tables.runs import results_of

    state = survey(list(runs.values()), folder, root)
    seeds = tuple(dict.fromkeys(seed for _, _, seed in runs))
    print(render.write(chosen, results_of(runs, state.records), seeds, folder / "tables", len(state.stale)))
    print(f"written to {_shown(folder / 'tables' / chosen.name)}.md, .tex, .csv and .png", file=sys.stderr)


def _tune(options: argparse.Namespace) -> int:
    from benchmarks.record import LOCAL
    from paper_tables import declaration
    from paper_tables.tune import tune

    chosen = declaration.load(options.name)
    if not any(row.search for row in chosen.rows):
        raise UserError(f"table {options.name} searches nothing: its rows say where their options come from")
    print(_shown(tune(chosen, LOCAL, _root(options.data), _jobs(options.jobs), options.device)))
    return 0


def _tables(options: argparse.Namespace) -> int:
    from benchmarks.record import ROOT
    from paper_tables.runs import render_references

    folder = ROOT / "results" / "tables"
    *done, board = render_references(folder)
    for name in done:
        print(f"{_shown(folder / name)}.md, .tex, .csv and .png", file=sys.stderr)
    print((folder / f"{board}.md").read_text(), end="")
    return 0


def _figure(options: argparse.Namespace) -> int:
    from paper_tables import figure_fisher

    figure_fisher.main(_root(options.data))
    return 0


def _regress(options: argparse.Namespace) -> int:
    from paper_tables.regress import regress

    return regress(_root(options.data), _jobs(options.jobs), options.device, options.accept)


def _data(options: argparse.Namespace) -> int:
    from benchmarks import data

    root = _root(options.data)
    data.require(options.name, root)
    print(f"{options.name} is complete and verified in {_shown(root)}")
    return 0


def _jobs(text: str | None) -> int:
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"JOBS must be a whole number >= 1, got {text!r}")
    return int(text)


def _root(text: str | None) -> Path:
    return Path(text or os.environ.get("DATA") or DATA)


def _shown(path: Path) -> Path:
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path


if __name__ == "__main__":
    sys.exit(main())

"""The digest of a run is a checksum of the sources that can change its numbers.

The sources are the modules that every run executes between its seed and its counts (`EVERY_RUN`), and the files of its
stream and its method. Added is what these two import of the other streams and of the ground floor. Docstrings, comments
and the texts of errors are left out. Downloads, reports and the command line are in no list. So a change to them leaves
every record as it is.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from benchmarks.files import ROOT
from methods.base.errors import UserError

EVERY_RUN = (
    "methods.base.examples",
    "methods.base.method",
    "methods.base.net",
    "methods.base.options",
    "methods.base.quadratic",
    "methods.base.rng",
    "methods.base.state",
    "benchmarks.checkpoint",
    "benchmarks.data",
    "benchmarks.evaluation",
    "benchmarks.images",
    "benchmarks.learner",
    "benchmarks.materialise",
    "benchmarks.models",
    "benchmarks.numerics",
    "benchmarks.stream",
    "benchmarks.trace",
)
TRAINING_PASS = "methods.importance.training_pass"  # for the methods that follow the squares of the training batch
FOLLOWED = ("methods.", "benchmarks.streams.")
TEXTS = ("methods.base.errors",)  # imported by a run, yet unable to change a number


@cache
def of_sources(stream: str, method: str, wants_squares: bool) -> str:
    """Return 16 hex digits for a run of the stream and the method of these names."""
    own = [f"benchmarks.streams.{stream}", f"methods.{method}", *([TRAINING_PASS] if wants_squares else [])]
    modules = sorted({*EVERY_RUN, *_with_imports(own)} - set(TEXTS))
    text = "\0".join(f"{module}\0{_code(_text(module))}" for module in modules)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _with_imports(modules: list[str]) -> set[str]:
    """Return the modules and all that they import of FOLLOWED, directly or not."""
    found, waiting = set(), list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            named = _named(_text(module), module)
            waiting += [name for name in named if name.startswith(FOLLOWED) and _file(name).is_file()]
    return found


@cache
def _named(text: str, module: str) -> frozenset[str]:
    """Return all that a module's text imports. What is imported from a module may be a module."""
    named = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise UserError(f"{module} has a relative import in line {node.lineno}: write the whole name of the module")
        elif isinstance(node, ast.ImportFrom):
            named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(named)


def _file(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def _text(module: str) -> str:
    return _file(module).read_text(encoding="utf-8")


@cache
def _code(text: str) -> str:
    """Return a module's code without its docstrings, comments and error texts."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.Raise):
            node.exc = node.cause = None
    return ast.unparse(tree)

"""Stand-ins for packages that a library imports though no quantity needs them: loggers, plots, other frameworks."""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Anything(type):
    """A class that has every attribute. It can be a base class, a decorator, or make something of no use."""

    def __getattr__(cls, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (_Thing,), {})

    def __call__(cls, *arguments, **options):
        if arguments and callable(arguments[0]):  # as a decorator
            return arguments[0]
        return super().__call__()


class _Thing:
    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (_Thing,), {})


class _Module(ModuleType):
    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (_Thing,), {})


class _Finder(MetaPathFinder, Loader):
    def __init__(self, modules: tuple[str, ...]):
        self.modules = modules

    def find_spec(self, name, path=None, target=None):
        absent = any(name == module or name.startswith(f"{module}.") for module in self.modules)
        return ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


def stand_in(*modules: str) -> None:
    """Let these modules be imported, and those below them. Where one is installed, it is not used."""
    sys.meta_path.insert(0, _Finder(modules))

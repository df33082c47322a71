"""A run names its method and its stream by a `Choice` each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Choice:
    """Hold a name and the value of every option. A preset is a name for some of these values."""

    name: str
    options: Mapping[str, object]
    preset: str | None = field(default=None, compare=False)

    def __post_init__(self):
        plain = json.loads(json.dumps(dict(self.options)))  # as a record gives them back: with lists, not tuples
        object.__setattr__(self, "options", MappingProxyType(plain))

    def __hash__(self) -> int:
        return hash(json.dumps([self.name, dict(self.options)], sort_keys=True))  # equal without regard to the preset

    def to_json(self) -> dict:
        """Return the choice as it stands in a record."""
        preset = {} if self.preset is None else {"preset": self.preset}
        return {"name": self.name, **preset, **self.options}

    def beyond(self, defaults: Mapping[str, object]) -> dict:
        """Return the name and the options that differ from these defaults. A list always differs."""
        own = {k: value for k, value in self.options.items() if k not in defaults or value != defaults[k]}
        return {"name": self.name, **own}

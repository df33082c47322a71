"""A run is one training of one method, and everything that decides its numbers."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import methods
from benchmarks import digest, streams
from benchmarks.learner import Train
from methods.base.choice import Choice
from methods.base.errors import UserError, unknown
from methods.base.examples import SCENARIOS
from methods.base.method import Method
from methods.base.options import Count, checked, construct


@dataclass(frozen=True)
class Run:
    """A run has a stream, a scenario, a method, the training of its network, and a seed."""

    stream: Choice
    scenario: str
    method: Choice
    train: Train
    seed: int

    @classmethod
    def of(cls, stream: dict, scenario: str, method: dict, train: dict, seed: int) -> "Run":
        """Return the run with every option's value filled in. UserError names an unknown or impossible option."""
        made = methods.make(**method)
        if scenario not in SCENARIOS:
            raise unknown("scenario", scenario, SCENARIOS)
        if scenario not in made.scenarios:
            raise UserError(f"{method['name']} does not run {scenario}-incremental, only: {', '.join(made.scenarios)}")
        checked("seed", seed, Count)
        how = construct(Train, "train", train)
        chosen = Choice(method["name"], asdict(made), method.get("preset"))
        return cls(streams.resolve(stream), scenario, chosen, how, seed)

    def __str__(self) -> str:
        return f"{self.method.name} {self.scenario} seed {self.seed}"

    def to_json(self) -> dict:
        """Return the run as it stands in a record. `Run.of(**run.to_json())` is the run."""
        return {
            "stream": self.stream.to_json(),
            "scenario": self.scenario,
            "method": self.method.to_json(),
            "train": asdict(self.train),
            "seed": self.seed,
        }

    @property
    def stream_seed(self) -> int | None:
        """Return the seed of the stream, or None if the stream depends on no seed and is shared by all."""
        return self.seed if streams.recipe(self.stream).needs_seed else None

    @property
    def without_seed(self) -> "Run":
        """Return what is equal for runs that differ in their seed alone."""
        return replace(self, seed=0)

    def make_method(self) -> Method:
        """Return the method before it has seen anything."""
        return methods.find(self.method.name)(**self.method.options)

    @property
    def digest(self) -> str:
        """Return the checksum of the sources that can change this run's numbers."""
        return digest.of_sources(self.stream.name, self.method.name, self.make_method().wants_squares)

    @property
    def place(self) -> Path:
        """Return where the record of this run lies in a results folder.

        The name is made of what differs from the defaults. The default of a new option is what was done before. So a
        new option moves no record.
        """
        train_defaults = {field.name: field.default for field in fields(Train)}
        identity = {
            "stream": self.stream.beyond(streams.defaults(self.stream.name)),
            "scenario": self.scenario,
            "method": self.method.beyond(methods.defaults(self.method.name)),
            "train": {k: v for k, v in asdict(self.train).items() if v != train_defaults[k]},
        }
        short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
        return Path(self.stream.name, self.scenario, f"{self.method.name}-{short}-seed{self.seed}.json")

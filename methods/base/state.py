"""An object keeps its state of training as plain values: tensors, numbers, examples, and containers of these."""

from typing import ClassVar

import torch


class Stateful:
    """Keep the state in attributes. A subclass that keeps it elsewhere has a `state` and `restore` of its own.

    A generator is no state: it is made anew for each task. Nor is `scratch`: attributes whose memory is used again in
    each step, and whose values are of no use after it. Parts that are stateful give their own state.
    """

    scratch: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict:
        """Return the values between two tasks, by name."""
        lasting = {name: value for name, value in vars(self).items() if name not in self.scratch}
        kept = {name: value for name, value in lasting.items() if not isinstance(value, torch.Generator)}
        return {name: value.state() if isinstance(value, Stateful) else value for name, value in kept.items()}

    def restore(self, state: dict) -> None:
        """Go on from what `state` returned."""
        for name, value in state.items():
            part = getattr(self, name, None)
            if isinstance(part, Stateful):
                part.restore(value)
            elif part is None and isinstance(value, dict):
                raise TypeError(f"{type(self).__name__}.{name} has state: make it in `begin`, so that a run can go on")
            else:
                setattr(self, name, value)

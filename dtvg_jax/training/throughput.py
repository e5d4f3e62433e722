"""What goes through the devices: tokens per second, padding, waits for data.

Seconds differ from run to run, and a resumed job writes metrics.jsonl byte for byte: so
they are on the progress line and in TensorBoard only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dtvg_jax.data.microbatches import Rows
from dtvg_jax.training.progress import Report


class Count(NamedTuple):
    """The tokens of a step's rows without prompts; positions have padding too."""

    tokens: int
    positions: int


class Throughput(NamedTuple):
    """What some steps were like; `waiting` is the share of time without data."""

    tokens_per_second: float
    padding: float
    waiting: float

    def __str__(self) -> str:
        return (
            f"{self.tokens_per_second:,.0f} tokens/s  {self.padding:.0%} padding  "
            f"{self.waiting:.1%} waiting"
        )


def count(made: Sequence[Rows]) -> Count:
    """Counts inputs and targets of a step's microbatches."""
    arrays = [array for rows in made for array in (rows.inputs, rows.targets)]
    tokens = sum(int(np.count_nonzero(array >= 0)) for array in arrays)
    return Count(tokens, sum(array.size for array in arrays))


class Meter:
    """Adds up steps between two readings."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._began: float | None = None
        self._reset()

    def add(self, fed: Count, waited: float) -> None:
        """Notes a step, and the seconds that the loop waited for its rows."""
        self._tokens += fed.tokens
        self._positions += fed.positions
        self._waited += waited

    def read(self) -> Throughput | None:
        """Gives what was noted since the last reading; the first gives nothing.

        Before it a step may have been compiled.
        """
        now, began = self._clock(), self._began
        found = None
        if began is not None and now > began and self._positions:
            found = Throughput(
                self._tokens / (now - began),
                1 - self._tokens / self._positions,
                self._waited / (now - began),
            )
        self._began = now
        self._reset()
        return found

    def _reset(self) -> None:
        self._tokens = self._positions = 0
        self._waited = 0.0


def measured(
    meter: Meter, report: Report, curves: Callable[[int, Mapping[str, float]], None]
) -> Report:
    """Gives a report that also reads the meter, for a note and for `curves`."""

    def both(step: int, loss: float, note: str = "") -> None:
        seen = meter.read()
        if seen is not None:
            curves(step, {f"throughput/{k}": x for k, x in seen._asdict().items()})
        report(step, loss, str(seen or note))

    return both

"""What goes through the devices: tokens per second, padding, waits, MFU, memory.

Seconds differ from run to run, and a resumed job writes metrics.jsonl byte for byte: so
they are on the progress line and in TensorBoard only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from dtvg_jax.data.microbatches import Rows
from dtvg_jax.training import utilisation
from dtvg_jax.training.progress import Report
from dtvg_jax.training.utilisation import Prompted, RealRows


class Count(NamedTuple):
    """What a step's rows are.

    tokens: of inputs and targets, without prompts
    positions: those, padding, and rows that only fill
    operations: see `utilisation`
    """

    tokens: int
    positions: int
    operations: int


class Throughput(NamedTuple):
    """What some steps were like.

    waiting: the share of time without data
    mfu: see `utilisation`; None where the devices' peak is not known
    memory_gb: the most that a device of this process has held so far, if it says that
    """

    tokens_per_second: float
    padding: float
    waiting: float
    mfu: float | None
    memory_gb: float | None

    def __str__(self) -> str:
        parts = [
            f"{self.tokens_per_second:,.0f} tokens/s",
            f"{self.padding:.0%} padding",
            f"{self.waiting:.1%} waiting",
        ]
        if self.mfu is not None:
            parts.append(f"{self.mfu:.1%} MFU")
        if self.memory_gb is not None:
            parts.append(f"{self.memory_gb:.1f} GB/device")
        return "  ".join(parts)


def count(model: Prompted, made: Sequence[Rows]) -> Count:
    """Counts what is in a step's microbatches."""
    # Of weight 0 are the rows that fill a microbatch.
    real = RealRows(
        _joined([_lengths(rows.inputs)[rows.weights > 0] for rows in made]),
        _joined([_lengths(rows.targets)[rows.weights > 0] for rows in made]),
        _joined([rows.lanes[rows.weights > 0] for rows in made]),
    )
    return Count(
        int(real.inputs.sum() + real.targets.sum()),
        sum(rows.inputs.size + rows.targets.size for rows in made),
        utilisation.operations(model, real),
    )


def _lengths(tokens: Int[np.ndarray, "R n"]) -> Int[np.ndarray, " R"]:
    return np.count_nonzero(tokens >= 0, axis=1)


def _joined(parts: Sequence[Int[np.ndarray, "_"]]) -> Int[np.ndarray, "_"]:
    return np.concatenate([np.zeros(0, np.int64), *parts])


class Meter:
    """Adds up steps between two readings, on devices with a peak if it is known."""

    def __init__(
        self,
        peak: float | None = None,
        devices: Sequence[Any] = (),
        clock: Callable[[], float] = time.monotonic,
    ):
        self._peak = peak
        self._devices = devices
        self._clock = clock
        self._began: float | None = None
        self._reset()

    def add(self, fed: Count, waited: float) -> None:
        """Notes a step, and the seconds that the loop waited for its rows."""
        self._tokens += fed.tokens
        self._positions += fed.positions
        self._operations += fed.operations
        self._waited += waited

    def read(self) -> Throughput | None:
        """Gives what was noted since the last reading; the first gives nothing.

        Before it a step may have been compiled.
        """
        now, began = self._clock(), self._began
        found = None
        if began is not None and now > began and self._positions:
            seconds = now - began
            found = Throughput(
                self._tokens / seconds,
                1 - self._tokens / self._positions,
                self._waited / seconds,
                self._operations / seconds / self._peak if self._peak else None,
                utilisation.memory_gb(self._devices),
            )
        self._began = now
        self._reset()
        return found

    def _reset(self) -> None:
        self._tokens = self._positions = self._operations = 0
        self._waited = 0.0


def measured(
    meter: Meter, report: Report, curves: Callable[[int, Mapping[str, float]], None]
) -> Report:
    """Gives a report that also reads the meter, for a note and for `curves`."""

    def both(step: int, loss: float, note: str = "") -> None:
        seen = meter.read()
        if seen is not None:
            known = {k: x for k, x in seen._asdict().items() if x is not None}
            curves(step, {f"throughput/{k}": x for k, x in known.items()})
        report(step, loss, str(seen or note))

    return both

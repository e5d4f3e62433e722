"""What the training of a job takes at the least: operations, and hours at the peak."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dtvg_jax.data.microbatches import Stream
from dtvg_jax.training import utilisation
from dtvg_jax.training.runs import Lane
from dtvg_jax.training.utilisation import Prompted, RealRows

COUNTED = 64  # steps of a program whose rows are looked at
EXAMPLE = utilisation.V5E  # a chip to compare with, where the devices are not known


def operations(
    model: Prompted, streams: Sequence[Stream], lanes: Sequence[Lane], batch_size: int
) -> float:
    """Counts the operations of all steps of a program, see `utilisation`.

    They are those of a sample of its steps, times their number.
    """
    steps = max(lane.steps for lane in lanes)
    sample = np.unique(np.linspace(0, steps - 1, COUNTED).astype(int))
    counted = [
        utilisation.operations(model, _rows(streams, lanes, int(at), batch_size))
        for at in sample
    ]
    return float(np.mean(counted)) * steps


def _rows(
    streams: Sequence[Stream], lanes: Sequence[Lane], at: int, batch_size: int
) -> RealRows:
    """Gives the lengths of a step's rows, those of lanes that have not ended."""
    parts = [
        (table.input_lengths[rows], table.target_lengths[rows], np.full(len(rows), k))
        for k, (stream, lane) in enumerate(zip(streams, lanes, strict=True))
        if at < lane.steps
        for table, rows in stream.batch(at, batch_size)
    ]
    return RealRows(*map(np.concatenate, zip(*parts, strict=True)))


def describe(total: float, devices: Iterable[Any], dtype: str) -> str:
    """Says in a line what the operations of all programs take on devices."""
    peak = utilisation.peak(devices, dtype)
    where = "these devices"
    if peak is None:
        peak, where = 8 * getattr(EXAMPLE, dtype), "a TPU v5e of 8 chips"
    seconds = total / peak
    time = f"{seconds:.2g} s" if seconds < 600 else f"{seconds / 3600:.1f} h"
    return (
        f"training: {total:.2g} operations, at least {time} at the peak of {where}, "
        "without validation and tests"
    )

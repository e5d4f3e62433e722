"""What a run is: one prompt that is learned, by one method, with one seed."""

from collections.abc import Mapping
from typing import NamedTuple

LONGEST = 200  # bytes of a name of which names of files are made; these have 255


class Run(NamedTuple):
    """The identity of a learned prompt in plan, logs, store and results.

    `variant` tells apart two settings of one method; "" is the method as it is named.
    """

    stage: int
    task: str
    method: str
    seed: int
    variant: str = ""

    @property
    def full_method(self) -> str:
        """The method with its variant: unique among a task's runs of one seed."""
        return f"{self.method}+{self.variant}" if self.variant else self.method

    @property
    def name(self) -> str:
        """The run's name in logs; unique in its program."""
        return f"{self.task}/{self.full_method}/seed{self.seed}"


class Lane(NamedTuple):
    """A run, its optimiser steps, and the peak rate of each array that it trains."""

    run: Run
    steps: int
    rates: Mapping[str, float]


def can_name_a_file(name: str) -> bool:
    """Tells whether a task or method can be part of a path and leads nowhere else."""
    plain = name.isprintable() and "/" not in name and not name.startswith(".")
    return bool(name) and plain and len(name.encode()) <= LONGEST

"""What a run is: one prompt that is learned, by one method, with one seed."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from dtvg_jax.files import JsonObject

LONGEST = 200  # bytes of a name of which names of files are made; these have 255


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a search tries in place of the stage's setting; None: the stage's own."""

    rate: float
    warmup: int | None = None

    def __str__(self) -> str:
        # All digits, so that two rates never share a name.
        return repr(self.rate) + ("" if self.warmup is None else f"w{self.warmup}")


class Run(NamedTuple):
    """The identity of a learned prompt in plan, logs, store and results.

    `variant` tells apart two settings of one method; "" is the method as it is named.
    `trial` is what a search tries; None where there is no search.
    """

    stage: int
    task: str
    method: str
    seed: int
    variant: str = ""
    trial: Trial | None = None

    @property
    def full_method(self) -> str:
        """The method with its variant."""
        return f"{self.method}+{self.variant}" if self.variant else self.method

    @property
    def setting(self) -> str:
        """The method with all that is set: unique among a task's runs of one seed."""
        return f"{self.full_method}@{self.trial}" if self.trial else self.full_method

    @property
    def shown_method(self) -> str:
        """The method as it is compared: the variants of a search are one method."""
        return self.method if self.trial else self.full_method

    @property
    def name(self) -> str:
        """The run's name in logs; unique in its program."""
        return f"{self.task}/{self.setting}/seed{self.seed}"

    def as_json(self) -> JsonObject:
        """Gives the fields as JSON."""
        fields: JsonObject = self._asdict()
        if self.trial is not None:
            fields["trial"] = dataclasses.asdict(self.trial)
        return fields


class Lane(NamedTuple):
    """A run, and how it is trained: the steps, and those in which rates rise.

    `rates` has the peak rate of each array that is trained.
    """

    run: Run
    steps: int
    warmup: int
    rates: Mapping[str, float]


def can_name_a_file(name: str) -> bool:
    """Tells whether a task or method can be part of a path and leads nowhere else."""
    plain = name.isprintable() and "/" not in name and not name.startswith(".")
    return bool(name) and plain and len(name.encode()) <= LONGEST

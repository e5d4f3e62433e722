"""The settings of a stage."""

import dataclasses
import math

from dtvg_jax.errors import InputError, check_field_types
from dtvg_jax.training import optimisers


@dataclasses.dataclass(frozen=True)
class Stage:
    """How the lanes of a stage are trained. Steps are optimiser steps.

    Attributes:
      steps: of every lane; `target_steps` of a target's lanes in stage 1, if given.
      batch_size: rows of each lane's batch.
      learning_rate: of the prompt; `target_scale_rate` of alpha_t,
        `source_scale_rate` of alpha_s (stage 2).
      optimiser: a name of `optimisers.OPTIMISERS`.
      dropout: whether the backbone's own dropout is on in training.
      remat: whether layers are computed again for gradients instead of kept, which
        costs a third of a step's time; None: where the device's memory needs it.
    """

    steps: int
    learning_rate: float
    target_steps: int | None = None
    target_scale_rate: float = 1e-3
    source_scale_rate: float = 1e-3
    batch_size: int = 16
    warmup: int = 0
    optimiser: str = "adamw_stage1"
    dropout: bool = True
    remat: bool | None = None
    validate_every: int = 100
    log_every: int = 10

    def __post_init__(self):
        least = {"steps": 1, "batch_size": 1, "validate_every": 1, "log_every": 1}
        least |= {"target_steps": 1, "warmup": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            absent = name == "target_steps" and value is None
            if not absent and (type(value) is not int or value < bound):
                raise InputError(
                    f"{name} = {value!r}: it must be a whole number >= {bound}"
                )
        for name in ("learning_rate", "target_scale_rate", "source_scale_rate"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 <= value < math.inf):
                raise InputError(f"{name} = {value!r}: it must be a number >= 0")
        check_field_types(self)
        optimisers.by_name(self.optimiser)

"""The settings of a stage."""

import dataclasses

from dtvg_jax.errors import check_field_types, check_least, check_rates
from dtvg_jax.training import optimisers


@dataclasses.dataclass(frozen=True)
class Stage:
    """How the lanes of a stage are trained. Steps are optimiser steps.

    Attributes:
      steps: of every lane; `target_steps` of a target's lanes in stage 1, if given.
      batch_size: rows of each lane's batch.
      learning_rate: peak rate of the prompt; methods have those of other arrays.
      optimiser: a name of `optimisers.OPTIMISERS`.
      dropout: whether the backbone's own dropout is on in training.
      remat: whether layers are computed again for gradients instead of kept, which
        costs a third of a step's time; None: where the device's memory needs it.
    """

    steps: int
    learning_rate: float
    target_steps: int | None = None
    batch_size: int = 16
    warmup: int = 0
    optimiser: str = "adamw_stage1"
    dropout: bool = True
    remat: bool | None = None
    validate_every: int = 100
    log_every: int = 10

    def __post_init__(self):
        least = {"steps": 1, "batch_size": 1, "validate_every": 1, "log_every": 1}
        check_least(self, least | {"target_steps": 1, "warmup": 0})
        check_rates(self, ["learning_rate"])
        check_field_types(self)
        optimisers.by_name(self.optimiser)


def reference_stage1(steps: int, learning_rate: float, batch_size: int = 16) -> Stage:
    """Learns prompts as the reference does.

    Its rates: 0.3 for T5 and 1e-3 for Llama, in 300,000 steps at most.
    """
    return Stage(
        steps=steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        warmup=500,
        optimiser="adamw_stage1",
        validate_every=1000,
    )


def reference_stage2(steps: int, learning_rate: float, batch_size: int = 16) -> Stage:
    """Tunes targets as the reference does, which uses another optimiser for that.

    Its rate: 1e-3, in 30,000 steps; that of alpha_t is the same, a setting of the
    method (`dtvg.Grouped.target_scale_rate = None`).
    """
    first = reference_stage1(steps, learning_rate, batch_size)
    return dataclasses.replace(first, optimiser="adamw_stage2")

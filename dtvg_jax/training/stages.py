"""The settings of a stage."""

import dataclasses

from dtvg_jax.errors import Count, Number, Rate, check_field_types
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

    steps: Count
    learning_rate: Rate
    target_steps: Count | None = None
    batch_size: Count = 16
    warmup: Number = 0
    optimiser: str = "adamw_stage1"
    dropout: bool = True
    remat: bool | None = None
    validate_every: Count = 100
    log_every: Count = 10

    def __post_init__(self):
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

"""The settings of a stage."""

import dataclasses

from dtvg_jax.errors import Count, InputError, Number, Rate, check_field_types
from dtvg_jax.training import optimisers


@dataclasses.dataclass(frozen=True)
class Stage:
    """How the lanes of a stage are trained. Steps are optimiser steps.

    Where nothing is given, training is the reference's: what a shorter run must change
    is named in an error.

    Attributes:
      steps: of every lane; `target_steps` of a target's lanes in stage 1, if given.
      batch_size: rows of each lane's batch.
      learning_rate: peak rate of the prompt; methods have those of other arrays.
      warmup: steps over which the rate rises from 0, after which it falls to 0.
      optimiser: a name of `optimisers.OPTIMISERS`; None: "adamw_stage1" in stage 1,
        "adamw_stage2" in stage 2.
      dropout: whether the backbone's own dropout is on in training.
      remat: whether layers are computed again for gradients instead of kept, which
        adds 30 to 40 % to its operations; None: where the device's memory needs it.
      validate_every: steps between two validations, after which prompts may be best.
      log_every: steps between two lines of the log and of progress.
    """

    steps: Count
    learning_rate: Rate
    target_steps: Count | None = None
    batch_size: Count = 16
    warmup: Number = 500
    optimiser: str | None = None
    dropout: bool = True
    remat: bool | None = None
    validate_every: Count = 1000
    log_every: Count = 10

    def __post_init__(self):
        check_field_types(self)
        if self.optimiser is not None:
            optimisers.by_name(self.optimiser)
        for name in ("steps", "target_steps"):
            steps = getattr(self, name)
            if steps is not None and self.warmup >= steps:
                raise InputError(
                    f"{name} = {steps} is not more than warmup = {self.warmup}: the "
                    "rate would never reach its peak; give a smaller Stage.warmup"
                )

    def optimiser_in(self, number: int) -> str:
        """Names the optimiser of stage 1 or 2: the stage's own where none is given."""
        return self.optimiser or f"adamw_stage{number}"


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

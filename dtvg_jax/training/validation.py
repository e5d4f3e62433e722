"""What the last validation found, and which lanes go on from there."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from dtvg_jax.training import trials
from dtvg_jax.training.programs import Training


@dataclasses.dataclass(frozen=True)
class Validated:
    """What the last validation found; before the first, all lanes are alive."""

    step: int  # -1 before the first
    alive: Sequence[bool]  # of each lane; the dead are given no rows from here on
    best: Sequence[dict[str, float]]  # scores of each lane's best step, {} before it
    stopped: Sequence[int | None]  # the step at which a search stopped each lane
    # Seconds of a step, divided by the lanes that take part: the least mean between
    # two validations, which holds no compilation. None before the second.
    lane_step: float | None = None


def nothing(count: int) -> Validated:
    """Stands for the time before the first validation."""
    return Validated(-1, (True,) * count, ({},) * count, (None,) * count)


def halve(
    training: Training,
    validated: Validated,
    scores: Mapping[int, Mapping[str, float]],
) -> Validated:
    """Stops the worse half of the settings that are left of each task and method.

    They are ranked by their best scores so far; equals, such as those of which step 0
    is the best, by their last ones.
    """
    runs = [lane.run for lane in training.lanes]
    ranks = {
        run: (validated.best[k]["mean"], scores[k]["mean"])
        if validated.alive[k] and validated.best[k]
        else (math.nan, math.nan)
        for k, run in enumerate(runs)
        if validated.stopped[k] is None
    }
    worse = ranks.keys() - trials.better_half(ranks)
    stopped = tuple(
        validated.step if run in worse else before
        for run, before in zip(runs, validated.stopped, strict=True)
    )
    return dataclasses.replace(validated, stopped=stopped)


def due(training: Training, validated: Validated, at: int) -> list[int]:
    """Lists the lanes to validate: of those that train, or did since the last one."""
    # A lane that ends between two validations is validated at the second.
    return running(training, validated, at - training.stage.validate_every)


def running(training: Training, validated: Validated, at: int) -> list[int]:
    """Lists the lanes that take part in a step: not the dead, stopped or done."""
    return [
        k
        for k, lane in enumerate(training.lanes)
        if at < lane.steps and validated.alive[k] and validated.stopped[k] is None
    ]

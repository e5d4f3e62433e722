"""The loop that trains the lanes of one program: stage 1 and stage 2 alike."""

import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dtvg_jax.data import batches
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import Stopped
from dtvg_jax.methods import Context, Method
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.training import checkpoints, lanes, optimisers
from dtvg_jax.training.metrics_log import MetricsLog
from dtvg_jax.training.placement import Placement
from dtvg_jax.training.progress import progress
from dtvg_jax.training.runs import Lane
from dtvg_jax.training.stages import Stage


class Training(NamedTuple):
    """Lanes that are trained together, sorted by seed, and what they need."""

    name: str
    method: Method
    stage: Stage
    lanes: Sequence[Lane]
    context: Context
    tables: Sequence[TokenTable]  # the train split of each lane
    sources: Sequence[str]
    lengths: tuple[int, int]


class Trained(NamedTuple):
    """The lanes of a program after their last step."""

    best: lanes.Best
    alive: np.ndarray  # [K]
    scores: list[dict[str, float]]  # validation at the best step
    seconds: float  # of training and validation, in all processes


Check = Callable[[], None]
Scores = list[dict[str, float]]
Validate = Callable[[Float[Any, "K P H"]], Scores]


def train(
    training: Training,
    backbone: Backbone,
    validate: Validate,
    folder: pathlib.Path,
    log: MetricsLog,
    placement: Placement,
    check: Check,
) -> Trained:
    """Trains lanes from their last checkpoint, or from the start, to their end.

    `validate` scores a prompt per lane on the lane's validation split: metrics and
    their "mean". `check` is called after every step; what it, or `validate`, raises
    goes on after the state is saved, so that the same call continues from there.
    """
    stage = training.stage
    placement.check_rows("batch_size", stage.batch_size)
    optimiser = optimisers.by_name(stage.optimiser)
    state = lanes.init(training.method, optimiser, training.context)
    state, fixed = jax.device_put((state, _fixed(training)), placement.lanes)
    step_fn = jax.jit(
        lanes.make_step(
            backbone, training.method, optimiser, dropout=_dropout(stage, backbone)
        ),
        donate_argnums=0,
    )
    with checkpoints.manager(folder) as manager:
        restored = checkpoints.restore(manager, state)
        at = checkpoints.Progress(log.position(), -1, 0.0)
        if restored is not None:
            state, at = restored
            log.truncate(at.log_position)
        began = time.monotonic() - at.seconds
        loop = _Loop(
            training, backbone, validate, fixed, placement, manager, log, check, began
        )
        if restored is None:
            # From here on the log can be cut back to where this program began.
            _save(loop, state, at.validated)
        state = _steps(loop, step_fn, state, at.validated)
        best = jax.device_get(state.best)
        scores = validate(best.prompt)
        seconds = time.monotonic() - began
        return Trained(best, np.asarray(state.alive), scores, seconds)


class _Loop(NamedTuple):
    training: Training
    backbone: Backbone
    validate: Validate
    fixed: lanes.Fixed
    placement: Placement
    manager: Any
    log: MetricsLog
    check: Check
    began: float  # by the monotonic clock, less the seconds of earlier processes

    @property
    def steps(self) -> int:
        return max(lane.steps for lane in self.training.lanes)


def _steps(
    loop: _Loop, step_fn: lanes.StepFn, state: lanes.State, validated: int
) -> lanes.State:
    training, total = loop.training, loop.steps
    every = training.stage.log_every
    start = int(state.step)
    where = loop.placement.rows
    stream = batches.prefetch(
        _batch_maker(training), start, total, put=lambda b: jax.device_put(b, where)
    )
    pending: list[dict[str, Array]] = []
    with progress(total, training.name) as report, contextlib.closing(stream):
        try:
            for step in range(start, total + 1):
                if _validates(step, training.stage, total) and validated != step:
                    _flush(loop, pending, step, report)
                    pending = []
                    state = _validate(loop, state)
                    validated = step
                    _save(loop, state, validated)
                if step == total:
                    break
                loop.check()
                batch = next(stream)
                state, metrics = step_fn(state, loop.backbone.params, loop.fixed, batch)
                pending.append(metrics)
                if step % every == 0:
                    # This step runs on the device while the one before is logged.
                    _flush(loop, pending[:-1], step, report)
                    pending = pending[-1:]
        except Stopped:
            if int(state.step) % every == 0:
                _flush(loop, pending, int(state.step), report)
            _save(loop, state, validated)
            raise
    return state


def _validates(step: int, stage: Stage, total: int) -> bool:
    return step == total or (step > 0 and step % stage.validate_every == 0)


def _batch_maker(training: Training) -> Callable[[int], batches.Batch]:
    seeds = [lane.run.seed for lane in training.lanes]

    def make(step: int) -> batches.Batch:
        return batches.lanes_batch(
            training.tables, seeds, step, training.stage.batch_size, training.lengths
        )

    return make


def _fixed(training: Training) -> lanes.Fixed:
    stage = training.stage
    rates = {
        "prompt": stage.learning_rate,
        "target_scale": stage.target_scale_rate,
        "source_scales": stage.source_scale_rate,
    }
    count = len(training.lanes)
    keys = [
        lanes.lane_key(run.seed, f"stage{run.stage}", run.task, run.full_method)
        for run in (lane.run for lane in training.lanes)
    ]
    return lanes.Fixed(
        context=jax.tree.map(jnp.asarray, training.context),
        rates=optimisers.Rates(
            peak={name: jnp.full(count, rate) for name, rate in rates.items()},
            warmup=jnp.full(count, stage.warmup),
            steps=jnp.array([lane.steps for lane in training.lanes]),
        ),
        keys=jnp.stack(keys),
    )


def _dropout(stage: Stage, backbone: Backbone) -> bool:
    return stage.dropout and getattr(backbone.config, "dropout_rate", 0.0) > 0


def _flush(loop: _Loop, pending: list[dict[str, Array]], step: int, report) -> None:
    """Logs the metrics of the last of the finished steps, number `step`."""
    if not pending:
        return
    last = jax.device_get(pending[-1])
    running = [k for k, lane in enumerate(loop.training.lanes) if step <= lane.steps]
    losses = last["loss"][running]
    finite = losses[np.isfinite(losses)]
    report(step, float(finite.mean()) if finite.size else math.nan)
    records = []
    for k in running:
        lane = loop.training.lanes[k]
        record = _about(loop.training, lane) | {"kind": "train", "step": step}
        record |= {name: value[k] for name, value in last.items()}
        if "group" in last:
            record |= {"sources": list(loop.training.sources)}
            record["group"] = last["group"][k].astype(int)
        records.append(record)
    loop.log.write(records)


def _about(training: Training, lane: Lane) -> dict[str, Any]:
    return {
        "program": training.name,
        "lane": lane.run.name,
        "task": lane.run.task,
        "method": lane.run.full_method,
        "seed": lane.run.seed,
    }


def _validate(loop: _Loop, state: lanes.State) -> lanes.State:
    prompts = lanes.current_prompts(loop.training.method, state, loop.fixed)
    step = int(state.step)
    scores = loop.validate(prompts)
    means = np.array([s["mean"] for s in scores], np.float32)
    # A lane that ends between two validations is validated at the second.
    every = loop.training.stage.validate_every
    due = np.array([step < lane.steps + every for lane in loop.training.lanes])
    means = np.where(due, means, -np.inf)
    before = np.asarray(state.best.score)
    state = lanes.keep_best(loop.training.method, state, loop.fixed, jnp.asarray(means))
    after = np.asarray(state.best.score)
    loop.log.write(
        _about(loop.training, lane)
        | {
            "kind": "validation",
            "step": step,
            "metrics": scores[k],
            "best": bool(after[k] > before[k]),
        }
        for k, lane in enumerate(loop.training.lanes)
        if due[k]
    )
    return state


def _save(loop: _Loop, state: lanes.State, validated: int) -> None:
    seconds = time.monotonic() - loop.began
    at = checkpoints.Progress(loop.log.position(), validated, seconds)
    checkpoints.save(loop.manager, state, at)

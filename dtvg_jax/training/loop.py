"""The loop that trains the lanes of one program: stage 1 and stage 2 alike."""

import contextlib
import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, Bool, Float

from dtvg_jax.data import batches
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.files import JsonObject
from dtvg_jax.methods.method import Method
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.training import checkpoints, lanes, optimisers
from dtvg_jax.training.lanes import LaneContexts
from dtvg_jax.training.metrics_log import MetricsLog
from dtvg_jax.training.placement import Placement
from dtvg_jax.training.progress import Report, progress
from dtvg_jax.training.runs import Lane
from dtvg_jax.training.stages import Stage


class Training(NamedTuple):
    """Lanes that are trained together, sorted by seed, and what they need."""

    name: str
    method: Method
    stage: Stage
    lanes: Sequence[Lane]
    context: LaneContexts
    tables: Sequence[TokenTable]  # the train split of each lane
    sources: Sequence[str]
    lengths: tuple[int, int]  # most tokens of inputs and targets

    @property
    def steps(self) -> int:
        """The steps of the lane that is trained longest."""
        return max(lane.steps for lane in self.lanes)


class Trained(NamedTuple):
    """The lanes of a program after their last step."""

    best: lanes.Best  # arrays of NumPy
    alive: Bool[np.ndarray, " K"]
    scores: Sequence[Mapping[str, float]]  # validation at the best step
    seconds: float  # of training and validation, in all processes


@dataclasses.dataclass(frozen=True)
class Progress:
    """What lies beside the state: where logs and validation stand at its step."""

    log_position: int  # bytes of metrics.jsonl
    validated: int  # the last validated step, -1 before the first
    seconds: float  # spent on the steps that the state stands for, in all processes


Check = Callable[[], None]
Scores: TypeAlias = Sequence[Mapping[str, float]]
Prompts: TypeAlias = Float[Array, "K P H"] | Float[np.ndarray, "K P H"]
Validate = Callable[[Prompts], Scores]


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
    their "mean". `check` is called before every step. Whatever these two raise goes on
    after the state is saved, so that the same call resumes there; what anything else
    raises leaves the last checkpoint, of the last validation or such a stop.
    """
    stage, method = training.stage, training.method
    placement.check_rows("batch_size", stage.batch_size)
    optimiser = optimisers.by_name(stage.optimiser)
    state = lanes.init(method, optimiser, training.context)
    state, fixed = jax.device_put((state, _fixed(training)), placement.lanes)
    step_fn = jax.jit(
        lanes.make_step(backbone, method, optimiser, dropout=stage.dropout),
        donate_argnums=0,
    )
    with checkpoints.manager(folder) as manager:
        restored = checkpoints.restore(manager, state, Progress)
        at = Progress(log.position(), -1, 0.0)
        if restored is not None:
            state, at = restored
            log.truncate(at.log_position)
        began = time.monotonic() - at.seconds
        loop = _Loop(training, backbone, step_fn, fixed, placement, manager, log, began)
        if restored is None:
            # From here on the log can be truncated to where this program began.
            _save(loop, state, at.validated)
        state = _steps(loop, state, at.validated, validate, check)
        best = jax.device_get(state.best)
        scores = validate(best.prompt)
        seconds = time.monotonic() - began
        return Trained(best, np.asarray(state.alive), scores, seconds)


class _Loop(NamedTuple):
    """What stays the same from the first step to the last."""

    training: Training
    backbone: Backbone
    step_fn: lanes.StepFn
    fixed: lanes.Fixed
    placement: Placement
    manager: ocp.CheckpointManager
    log: MetricsLog
    began: float  # by the monotonic clock, less the seconds of earlier processes


def _steps(
    loop: _Loop,
    state: lanes.State,
    validated: int,
    validate: Validate,
    check: Check,
) -> lanes.State:
    """Trains and validates from the state's step on to the last."""
    training, start = loop.training, int(state.step)
    stream = batches.prefetch(
        _batch_maker(training),
        start,
        training.steps,
        put=lambda batch: jax.device_put(batch, loop.placement.rows),
    )
    pending: list[dict[str, Array]] = []  # metrics of the steps that are not logged
    with progress(training.steps, training.name) as report, contextlib.closing(stream):
        for step in range(start, training.steps + 1):
            if _validates(step, training) and validated != step:
                _flush(loop, pending, step, report)
                pending = []
                prompts = lanes.current_prompts(training.method, state, loop.fixed)
                with _saved_if_raised(loop, state, validated):
                    scores = validate(prompts)
                state = _note_scores(loop, state, scores)
                validated = step
                _save(loop, state, validated)
            if step == training.steps:
                break
            with _saved_if_raised(loop, state, validated, pending, report):
                check()
                batch = next(stream)
            state, metrics = loop.step_fn(
                state, loop.backbone.params, loop.fixed, batch
            )
            pending.append(metrics)
            if _logs(step, training):
                # This step runs on the device while the one before is logged.
                _flush(loop, pending[:-1], step, report)
                pending = pending[-1:]
    return state


def _validates(step: int, training: Training) -> bool:
    every = training.stage.validate_every
    return step == training.steps or (step > 0 and step % every == 0)


def _logs(step: int, training: Training) -> bool:
    return step % training.stage.log_every == 0


@contextlib.contextmanager
def _saved_if_raised(
    loop: _Loop,
    state: lanes.State,
    validated: int,
    pending: Sequence[dict[str, Array]] = (),
    report: Report = lambda step, loss: None,
) -> Iterator[None]:
    """Saves the state where the block raises anything at all, then lets it go on.

    Metrics that wait to be logged are those of the steps before the state's: the
    resumed loop does not have them, so one that is due is logged first.
    """
    try:
        yield
    except BaseException:  # Stopped and KeyboardInterrupt are no Exception
        step = int(state.step)
        if _logs(step, loop.training):
            _flush(loop, pending, step, report)
        _save(loop, state, validated)
        raise


def _batch_maker(training: Training) -> Callable[[int], batches.Batch]:
    seeds = [lane.run.seed for lane in training.lanes]

    def make(step: int) -> batches.Batch:
        return batches.lanes_batch(
            training.tables, seeds, step, training.stage.batch_size, training.lengths
        )

    return make


def _fixed(training: Training) -> lanes.Fixed:
    stage, count = training.stage, len(training.lanes)
    runs = [lane.run for lane in training.lanes]
    keys = [
        lanes.lane_key(run.seed, f"stage{run.stage}", run.task, run.full_method)
        for run in runs
    ]
    return lanes.Fixed(
        context=jax.tree.map(jnp.asarray, training.context),
        rates=optimisers.Rates(
            peak={
                name: jnp.array(
                    [lane.rates[name] for lane in training.lanes], jnp.float32
                )
                for name in training.lanes[0].rates
            },
            warmup=jnp.full(count, stage.warmup),
            steps=jnp.array([lane.steps for lane in training.lanes]),
        ),
        keys=jnp.stack(keys),
    )


def _flush(
    loop: _Loop, pending: Sequence[dict[str, Array]], step: int, report: Report
) -> None:
    """Logs the metrics of the last of the finished steps, number `step`."""
    if not pending:
        return
    training, last = loop.training, jax.device_get(pending[-1])
    running = [k for k, lane in enumerate(training.lanes) if step <= lane.steps]
    losses = last["loss"][running]
    finite = losses[np.isfinite(losses)]
    report(step, float(finite.mean()) if finite.size else math.nan)
    records = []
    for k in running:
        record = _about(training, k) | {"kind": "train", "step": step}
        record |= {name: value[k] for name, value in last.items()}
        if "group" in last:
            record |= {"sources": list(training.sources)}
            record["group"] = last["group"][k].astype(int)
        records.append(record)
    loop.log.write(records)


def _about(training: Training, k: int) -> JsonObject:
    run = training.lanes[k].run
    return {
        "program": training.name,
        "lane": run.name,
        "stage": run.stage,
        "task": run.task,
        "method": run.method,
        "variant": run.variant,
        "seed": run.seed,
    }


def _note_scores(loop: _Loop, state: lanes.State, scores: Scores) -> lanes.State:
    """Keeps what is better than a lane's best, and logs the scores."""
    training, step = loop.training, int(state.step)
    means = np.array([s["mean"] for s in scores], np.float32)
    # A lane that ends between two validations is validated at the second.
    every = training.stage.validate_every
    due = np.array([step < lane.steps + every for lane in training.lanes])
    means = np.where(due, means, -np.inf)
    before = np.asarray(state.best.score)
    state = lanes.keep_best(training.method, state, loop.fixed, jnp.asarray(means))
    after = np.asarray(state.best.score)
    loop.log.write(
        _about(training, k)
        | {
            "kind": "validation",
            "step": step,
            "metrics": scores[k],
            "best": bool(after[k] > before[k]),
        }
        for k in range(len(training.lanes))
        if due[k]
    )
    return state


def _save(loop: _Loop, state: lanes.State, validated: int) -> None:
    seconds = time.monotonic() - loop.began
    at = Progress(loop.log.position(), validated, seconds)
    checkpoints.save(loop.manager, int(state.step), state, dataclasses.asdict(at))

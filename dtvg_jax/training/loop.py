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

from dtvg_jax.data import batches, microbatches
from dtvg_jax.data.microbatches import Cut
from dtvg_jax.files import JsonObject
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.training import checkpoints, lanes, optimisers, programs, step
from dtvg_jax.training.metrics_log import MetricsLog
from dtvg_jax.training.placement import Placement
from dtvg_jax.training.programs import Training
from dtvg_jax.training.progress import Report, progress


class Trained(NamedTuple):
    """The lanes of a program after their last step."""

    best: lanes.Best  # arrays of NumPy
    alive: Bool[np.ndarray, " K"]
    scores: Sequence[Mapping[str, float]]  # validation at the best step
    seconds: float  # of training and validation, in all processes


@dataclasses.dataclass(frozen=True)
class Validated:
    """What the last validation found; before the first, all lanes are alive."""

    step: int  # -1 before the first
    alive: Sequence[bool]  # of each lane; the dead are given no rows from here on
    best: Sequence[dict[str, float]]  # scores of each lane's best step, {} before it


@dataclasses.dataclass(frozen=True)
class Progress:
    """What lies beside the state: where logs and validation stand at its step."""

    log_position: int  # bytes of metrics.jsonl
    validated: Validated
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
    optimiser = optimisers.by_name(stage.optimiser)
    state = lanes.init(method, optimiser, training.context)
    state, fixed = jax.device_put((state, programs.fixed(training)), placement.lanes)
    cut = programs.choose_cut(
        training.streams,
        stage.batch_size,
        backbone.decoder_only,
        training.context.p_init.shape[1],
        placement,
    )
    if programs.needs_remat(training, backbone, state, fixed, cut, placement):
        backbone = backbones.with_remat(backbone)
    step_fn = step.make_step(backbone, method, optimiser, dropout=stage.dropout)
    with checkpoints.manager(folder) as manager:
        restored = checkpoints.restore(manager, state, Progress)
        count = len(training.lanes)
        at = Progress(
            log.position(), Validated(-1, (True,) * count, ({},) * count), 0.0
        )
        if restored is not None:
            state, at = restored
            log.truncate(at.log_position)
        began = time.monotonic() - at.seconds
        loop = _Loop(
            training, backbone, step_fn, fixed, cut, placement, manager, log, began
        )
        if restored is None:
            # From here on the log can be truncated to where this program began.
            _save(loop, state, at.validated)
        state, validated = _steps(loop, state, at.validated, validate, check)
        best, scores = jax.device_get(state.best), validated.best
        if not all(scores):  # a lane that failed before it was ever validated
            start = validate(best.prompt)
            scores = [mine or other for mine, other in zip(scores, start, strict=True)]
        seconds = time.monotonic() - began
        return Trained(best, np.asarray(state.alive), scores, seconds)


class _Loop(NamedTuple):
    """What stays the same from the first step to the last."""

    training: Training
    backbone: Backbone
    step_fn: step.StepFn
    fixed: lanes.Fixed
    cut: Cut
    placement: Placement
    manager: ocp.CheckpointManager
    log: MetricsLog
    began: float  # by the monotonic clock, less the seconds of earlier processes


def _steps(
    loop: _Loop,
    state: lanes.State,
    validated: Validated,
    validate: Validate,
    check: Check,
) -> tuple[lanes.State, Validated]:
    """Trains and validates from the state's step on to the last."""
    training, every = loop.training, loop.training.stage.validate_every
    at = int(state.step)
    with progress(training.steps, training.name) as report:
        while True:
            if _validates(at, training) and validated.step != at:
                prompts = lanes.current_prompts(training.method, state, loop.fixed)
                with _saved_if_raised(loop, state, validated):
                    scores = validate(prompts)
                state, validated = _note_scores(loop, state, validated, scores)
                _save(loop, state, validated)
            if at == training.steps:
                return state, validated
            stop = min((at // every + 1) * every, training.steps)
            state = _train_until(stop, loop, state, validated, check, report)
            at = stop


def _train_until(
    stop: int,
    loop: _Loop,
    state: lanes.State,
    validated: Validated,
    check: Check,
    report: Report,
) -> lanes.State:
    """Trains up to a step, on batches that are made and sent ahead."""
    start = int(state.step)
    stream = batches.prefetch(_maker(loop, validated), start, stop, put=_putter(loop))
    pending: list[step.Metrics] = []  # of the steps that are not logged
    with contextlib.closing(stream):
        for at in range(start, stop):
            with _saved_if_raised(loop, state, validated, pending, report):
                check()
                batch = next(stream)
            state, metrics = loop.step_fn(
                state, loop.backbone.params, loop.fixed, batch
            )
            pending.append(metrics)
            if _logs(at, loop.training):
                # This step runs on the device while the one before is logged.
                _flush(loop, pending[:-1], at, report)
                pending = pending[-1:]
    _flush(loop, pending, stop, report)
    return state


def _maker(
    loop: _Loop, validated: Validated
) -> Callable[[int], list[microbatches.Rows]]:
    """Builds the function that makes a step's rows: those of lanes that still train."""
    training, streams = loop.training, loop.training.streams

    def make(at: int) -> list[microbatches.Rows]:
        running = [
            k
            for k, lane in enumerate(training.lanes)
            if at < lane.steps and validated.alive[k]
        ]
        return microbatches.make(
            streams, running, at, training.stage.batch_size, loop.cut
        )

    return make


def _putter(
    loop: _Loop,
) -> Callable[[list[microbatches.Rows]], list[step.Rows]]:
    def put(made: list[microbatches.Rows]) -> list[step.Rows]:
        return [
            step.Rows(*jax.device_put(tuple(rows), loop.placement.rows))
            for rows in made
        ]

    return put


def _validates(at: int, training: Training) -> bool:
    every = training.stage.validate_every
    return at == training.steps or (at > 0 and at % every == 0)


def _logs(at: int, training: Training) -> bool:
    return at % training.stage.log_every == 0


@contextlib.contextmanager
def _saved_if_raised(
    loop: _Loop,
    state: lanes.State,
    validated: Validated,
    pending: Sequence[step.Metrics] = (),
    report: Report = lambda step, loss: None,
) -> Iterator[None]:
    """Saves the state where the block raises anything at all, then lets it go on.

    Metrics that wait to be logged are those of the steps before the state's: the
    resumed loop does not have them, so one that is due is logged first.
    """
    try:
        yield
    except BaseException:  # Stopped and KeyboardInterrupt are no Exception
        at = int(state.step)
        if _logs(at, loop.training):
            _flush(loop, pending, at, report)
        _save(loop, state, validated)
        raise


def _flush(
    loop: _Loop, pending: Sequence[step.Metrics], at: int, report: Report
) -> None:
    """Logs the metrics of the last of the finished steps, number `at`."""
    if not pending:
        return
    training, last = loop.training, jax.device_get(pending[-1])
    running = [k for k, lane in enumerate(training.lanes) if at <= lane.steps]
    losses = last["loss"][running]
    finite = losses[np.isfinite(losses)]
    report(at, float(finite.mean()) if finite.size else math.nan)
    records = []
    for k in running:
        record = _about(training, k) | {"kind": "train", "step": at}
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


def _note_scores(
    loop: _Loop, state: lanes.State, validated: Validated, scores: Scores
) -> tuple[lanes.State, Validated]:
    """Keeps what is better than a lane's best, and logs the scores."""
    training, at = loop.training, int(state.step)
    means = np.array([s["mean"] for s in scores], np.float32)
    # A lane that ends between two validations is validated at the second.
    every = training.stage.validate_every
    due = np.array([at < lane.steps + every for lane in training.lanes])
    means = np.where(due, means, -np.inf)
    before = np.asarray(state.best.score)
    state = lanes.keep_best(training.method, state, loop.fixed, jnp.asarray(means))
    better = np.asarray(state.best.score) > before
    loop.log.write(
        _about(training, k)
        | {
            "kind": "validation",
            "step": at,
            "metrics": scores[k],
            "best": bool(better[k]),
        }
        for k in range(len(training.lanes))
        if due[k]
    )
    best = tuple(
        dict(new) if is_better else old
        for new, old, is_better in zip(scores, validated.best, better, strict=True)
    )
    return state, Validated(at, tuple(np.asarray(state.alive).tolist()), best)


def _save(loop: _Loop, state: lanes.State, validated: Validated) -> None:
    seconds = time.monotonic() - loop.began
    at = Progress(loop.log.position(), validated, seconds)
    checkpoints.save(loop.manager, int(state.step), state, dataclasses.asdict(at))

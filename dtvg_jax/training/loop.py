"""The loop that trains the lanes of one program: stage 1 and stage 2 alike."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Bool

from dtvg_jax import files
from dtvg_jax.data import batches, microbatches
from dtvg_jax.data.microbatches import Cut
from dtvg_jax.errors import Stopped
from dtvg_jax.files import JsonObject
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.training import (
    checkpoints,
    hosts,
    lanes,
    optimisers,
    programs,
    step,
    throughput,
    utilisation,
    validation,
)
from dtvg_jax.training.metrics_log import MetricsLog
from dtvg_jax.training.placement import Placement
from dtvg_jax.training.programs import Training
from dtvg_jax.training.progress import Report, progress
from dtvg_jax.training.validation import Validated


class Trained(NamedTuple):
    """The lanes of a program after their last step."""

    best: lanes.Best  # arrays of NumPy
    prompts: Prompts  # of the best step
    alive: Bool[np.ndarray, " K"]
    scores: Sequence[Mapping[str, float]]  # validation at the best step
    seconds: float  # of training and validation, in all processes
    lane_step: float | None  # seconds of a step, see `Validated`
    stopped: Sequence[int | None]  # the step at which a search stopped each lane


@dataclasses.dataclass(frozen=True)
class Progress:
    """What lies beside the state: where logs and validation stand at its step."""

    log_position: int  # bytes of metrics.jsonl
    validated: Validated
    seconds: float  # spent on the steps that the state stands for, in all processes


Check = Callable[[], None]
Scores: TypeAlias = Sequence[Mapping[str, float]]
Validate = Callable[[Prompts, Sequence[int]], Scores]


def train(
    training: Training,
    backbone: Backbone,
    validate: Validate,
    folder: files.Path,
    log: MetricsLog,
    placement: Placement,
    check: Check,
) -> Trained:
    """Trains lanes from their last checkpoint, or from the start, to their end.

    `validate` is given a prompt per lane, and scores those of some lanes on their
    validation splits: metrics and their "mean". `check` is called before every step.
    Whatever these two raise goes on after the state is saved, so that the same call
    resumes there; what anything else raises leaves the last checkpoint, of the last
    validation or such a stop.
    """
    stage, method = training.stage, training.method
    optimiser = optimisers.by_name(stage.optimiser_in(training.number))
    state = placement.put_lanes(lanes.init(method, optimiser, training.context))
    fixed = placement.put_lanes(programs.fixed(training))
    cut = programs.choose_cut(
        training.streams,
        stage.batch_size,
        backbone.config,
        training.context.p_init.shape[1],
        placement,
    )
    if programs.needs_remat(training, backbone, state, fixed, cut, placement):
        backbone = backbones.with_remat(backbone)
    step_fn = step.make_step(backbone, method, optimiser, dropout=stage.dropout)
    with checkpoints.manager(folder) as manager:
        restored = checkpoints.restore(manager, state, Progress)
        at = Progress(log.position(), validation.nothing(len(training.lanes)), 0.0)
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
        return _trained(loop, state, validated, validate)


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
                state, validated = _validate(loop, state, validated, validate)
            if at == training.steps:
                return state, validated
            stop = min((at // every + 1) * every, training.steps)
            began = time.monotonic()
            state = _train_until(stop, loop, state, validated, check, report)
            seconds = time.monotonic() - began
            taken = sum(
                len(validation.running(training, validated, i)) for i in range(at, stop)
            )
            if taken:
                lane_step = min(seconds / taken, validated.lane_step or math.inf)
                validated = dataclasses.replace(validated, lane_step=lane_step)
            at = stop


def _trained(
    loop: _Loop, state: lanes.State, validated: Validated, validate: Validate
) -> Trained:
    """Gathers what the lanes have come to."""
    prompts = lanes.best_prompts(loop.training.method, state.best, loop.fixed.context)
    scores = dict(enumerate(validated.best))
    # Lanes that failed before they were ever validated.
    if unseen := [k for k, found in scores.items() if not found]:
        start = validate(prompts, unseen)
        scores |= dict(zip(unseen, start, strict=True))
    return Trained(
        loop.placement.fetch(state.best),
        prompts,
        loop.placement.fetch(state.alive),
        list(scores.values()),
        time.monotonic() - loop.began,
        validated.lane_step,
        validated.stopped,
    )


def _validate(
    loop: _Loop, state: lanes.State, validated: Validated, validate: Validate
) -> tuple[lanes.State, Validated]:
    """Scores the lanes that trained since the last validation, and saves the state."""
    due = validation.due(loop.training, validated, int(state.step))
    prompts, seen = lanes.current(loop.training.method, state, loop.fixed)
    with _saved_if_raised(loop, state, validated):
        found = validate(prompts, due) if due else ()
    scores = dict(zip(due, found, strict=True))
    groups = loop.placement.fetch(seen.get("group"))
    state, validated = _note_scores(loop, state, validated, scores, groups)
    if validated.step in loop.training.halve_at:
        validated = validation.halve(loop.training, validated, scores)
    _save(loop, state, validated)
    return state, validated


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
    meter = _meter(loop)
    curves = functools.partial(loop.log.write_curves, loop.training.name)
    report = throughput.measured(meter, report, curves)
    pending: list[step.Metrics] = []  # of the steps that are not logged
    with contextlib.closing(stream):
        for at in range(start, stop):
            with _saved_if_raised(loop, state, validated, pending, report):
                check()
                began = time.monotonic()
                batch, fed = next(stream)
                meter.add(fed, time.monotonic() - began)
            state, metrics = loop.step_fn(
                state, loop.backbone.params, loop.fixed, batch
            )
            pending.append(metrics)
            if _logs(at, loop.training):
                # This step runs on the device while the one before is logged.
                _flush(loop, validated, pending[:-1], at, report)
                pending = pending[-1:]
    _flush(loop, validated, pending, stop, report)
    return state


def _meter(loop: _Loop) -> throughput.Meter:
    mesh, dtype = loop.placement.mesh, jax.tree.leaves(loop.backbone.params)[0].dtype
    peak = utilisation.peak(mesh.devices.flat, str(dtype))
    return throughput.Meter(peak, mesh.local_devices)


def _maker(
    loop: _Loop, validated: Validated
) -> Callable[[int], list[microbatches.Rows]]:
    """Builds the function that makes a step's rows: those of lanes that still train."""
    training, streams = loop.training, loop.training.streams

    def make(at: int) -> list[microbatches.Rows]:
        running = validation.running(training, validated, at)
        return microbatches.make(
            streams, running, at, training.stage.batch_size, loop.cut
        )

    return make


def _putter(
    loop: _Loop,
) -> Callable[[list[microbatches.Rows]], tuple[list[step.Rows], throughput.Count]]:
    model = utilisation.Prompted(
        loop.backbone.config,
        loop.training.context.p_init.shape[1],
        loop.training.method.looks_at_rows,
    )

    def put(made: list[microbatches.Rows]) -> tuple[list[step.Rows], throughput.Count]:
        rows = [step.Rows(*loop.placement.put_rows(tuple(one))) for one in made]
        return rows, throughput.count(model, made)

    return put


def _validates(at: int, training: Training) -> bool:
    # Step 0 of stage 2 tells what merging alone does; that of stage 1 is P_init.
    first = 0 if training.number == 2 else 1
    every = training.stage.validate_every
    return at == training.steps or (at >= first and at % every == 0)


def _logs(at: int, training: Training) -> bool:
    return at % training.stage.log_every == 0


@contextlib.contextmanager
def _saved_if_raised(
    loop: _Loop,
    state: lanes.State,
    validated: Validated,
    pending: Sequence[step.Metrics] = (),
    report: Report = lambda step, loss, note="": None,
) -> Iterator[None]:
    """Saves the state where the block raises anything at all, then lets it go on.

    Metrics that wait to be logged are those of the steps before the state's: the
    resumed loop does not have them, so one that is due is logged first. Of several
    processes only all together can save, and so only where they stop together.
    """
    try:
        yield
    except BaseException as error:  # Stopped and KeyboardInterrupt are no Exception
        if not hosts.alone() and not isinstance(error, Stopped):
            raise
        at = int(state.step)
        if _logs(at, loop.training):
            _flush(loop, validated, pending, at, report)
        _save(loop, state, validated)
        raise


def _flush(
    loop: _Loop,
    validated: Validated,
    pending: Sequence[step.Metrics],
    at: int,
    report: Report,
) -> None:
    """Logs the metrics of the last of the finished steps, number `at`."""
    if not pending:
        return
    training, last = loop.training, loop.placement.fetch(pending[-1])
    running = [
        k
        for k, lane in enumerate(training.lanes)
        if at <= lane.steps and validated.stopped[k] is None
    ]
    losses = last["loss"][running]
    finite = losses[np.isfinite(losses)]
    report(at, float(finite.mean()) if finite.size else math.nan)
    records = []
    for k in running:
        record = _about(training, k) | {"kind": "train", "step": at}
        record |= {name: value[k] for name, value in last.items()}
        records.append(record | _group(training, last.get("group"), k))
    loop.log.write(records)


def _group(
    training: Training, groups: Bool[np.ndarray, "K S"] | None, k: int
) -> JsonObject:
    """Gives what is logged of a lane's group."""
    if groups is None:
        return {}
    return {"sources": list(training.sources), "group": groups[k].astype(int)}


def _about(training: Training, k: int) -> JsonObject:
    run = training.lanes[k].run
    return {"program": training.name, "lane": run.name} | run.as_json()


def _note_scores(
    loop: _Loop,
    state: lanes.State,
    validated: Validated,
    scores: Mapping[int, Mapping[str, float]],
    groups: Bool[np.ndarray, "K S"] | None,
) -> tuple[lanes.State, Validated]:
    """Keeps what is better than a lane's best, and logs the scores."""
    training, at = loop.training, int(state.step)
    means = np.full(len(training.lanes), -np.inf, np.float32)
    for k, found in scores.items():
        means[k] = found["mean"]
    before = loop.placement.fetch(state.best.score)
    state = lanes.keep_best(training.method, state, loop.fixed, jnp.asarray(means))
    better = loop.placement.fetch(state.best.score) > before
    loop.log.write(
        _about(training, k)
        | {"kind": "validation", "step": at, "metrics": found, "best": bool(better[k])}
        | _group(training, groups, k)
        for k, found in scores.items()
    )
    best = tuple(
        dict(scores[k]) if better[k] else old for k, old in enumerate(validated.best)
    )
    alive = tuple(loop.placement.fetch(state.alive).tolist())
    return state, dataclasses.replace(validated, step=at, alive=alive, best=best)


def _save(loop: _Loop, state: lanes.State, validated: Validated) -> None:
    seconds = time.monotonic() - loop.began
    at = Progress(loop.log.position(), validated, seconds)
    checkpoints.save(loop.manager, int(state.step), state, dataclasses.asdict(at))

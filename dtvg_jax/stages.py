"""The loop that trains the lanes of one program: stage 1 and stage 2 alike."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dtvg_jax import checkpoints, evaluation, lanes, optim
from dtvg_jax.backbones.backbone import Backbone
from dtvg_jax.data import batches, scoring
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.errors import InputError
from dtvg_jax.methods import Context, Method
from dtvg_jax.metrics_log import MetricsLog
from dtvg_jax.progress import progress


@dataclasses.dataclass(frozen=True)
class Stage:
    """How the lanes of a stage are trained. Steps are optimiser steps.

    Attributes:
      steps: of every lane; `target_steps` of a target's lanes in stage 1, if given.
      batch_size: rows of each lane's batch.
      learning_rate: of the prompt; `target_scale_rate` of alpha_t,
        `source_scale_rate` of alpha_s (stage 2).
      optimiser: a name of `optim.OPTIMISERS`.
      dropout: whether the backbone's own dropout is on in training.
      validation_rows: the first rows of the validation split that are decoded.
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
    validate_every: int = 100
    validation_rows: int | None = None
    log_every: int = 10

    def __post_init__(self):
        for name in ("steps", "batch_size", "validate_every", "log_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} = {value!r}: it must be a whole number >= 1")
        optim.by_name(self.optimiser)


class Lane(NamedTuple):
    """One prompt to learn."""

    task: str
    method: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        return f"{self.task}/{self.method}/seed{self.seed}"


class Program(NamedTuple):
    """Lanes that are trained together, sorted by seed, and what they need."""

    name: str
    method: Method
    stage: Stage
    lanes: Sequence[Lane]
    context: Context
    train: Sequence[TokenTable]
    validation: Sequence[TokenTable]
    sources: Sequence[str]
    lengths: tuple[int, int]


class Trained(NamedTuple):
    """The lanes of a program after their last step."""

    best: lanes.Best
    alive: np.ndarray  # [K]
    scores: list[dict[str, float]]  # validation at the best step


class Stopped(BaseException):
    """Raised by a check when the job is to stop; the state is saved on its way out."""


Check = Callable[[], None]


def train(
    program: Program,
    backbone: Backbone,
    decode: evaluation.Decode,
    folder: pathlib.Path,
    log: MetricsLog,
    check: Check,
) -> Trained:
    """Trains a program from its last checkpoint, or from the start, to its end.

    `check` is called after every step and between validation batches; what it raises
    goes on after the state is saved, so that the same call continues from there.
    """
    stage = program.stage
    optimiser = optim.by_name(stage.optimiser)
    fixed = _fixed(program)
    state = lanes.init(program.method, optimiser, program.context)
    step_fn = jax.jit(
        lanes.make_step(
            backbone, program.method, optimiser, dropout=_dropout(stage, backbone)
        ),
        donate_argnums=0,
    )
    total = max(lane.steps for lane in program.lanes)
    with checkpoints.manager(folder) as manager:
        at = checkpoints.Progress(log.position(), -1)
        if (restored := checkpoints.restore(manager, state)) is not None:
            state, at = restored
            log.truncate(at.log_position)
        loop = _Loop(program, backbone, decode, fixed, manager, log, check)
        state = _steps(loop, step_fn, state, at.validated, total)
        return _trained(loop, state)


class _Loop(NamedTuple):
    program: Program
    backbone: Backbone
    decode: evaluation.Decode
    fixed: lanes.Fixed
    manager: Any
    log: MetricsLog
    check: Check


def _steps(
    loop: _Loop, step_fn: lanes.StepFn, state: lanes.State, validated: int, total: int
) -> lanes.State:
    stage, program = loop.program.stage, loop.program
    start = int(state.step)
    stream = batches.prefetch(_batch_maker(program), start, total)
    pending: list[dict[str, Array]] = []
    with progress(total, program.name) as report, contextlib.closing(stream):
        try:
            for step in range(start, total + 1):
                if _validates(step, stage, total) and validated != step:
                    _flush(loop, pending, step, report)
                    pending = []
                    state = _validate(loop, state)
                    validated = step
                    _save(loop, state, validated)
                if step == total:
                    break
                loop.check()
                batch = next(stream)
                state, metrics = step_fn(
                    state, loop.backbone.params, loop.fixed, batch
                )
                pending.append(metrics)
                if step % stage.log_every == 0:
                    # This step runs on the device while the one before is logged.
                    _flush(loop, pending[:-1], step, report)
                    pending = pending[-1:]
        except (Stopped, KeyboardInterrupt):
            if int(state.step) % stage.log_every == 0:
                _flush(loop, pending, int(state.step), report)
            _save(loop, state, validated)
            raise
    return state


def _validates(step: int, stage: Stage, total: int) -> bool:
    return step == total or (step > 0 and step % stage.validate_every == 0)


def _batch_maker(program: Program) -> Callable[[int], batches.Batch]:
    seeds = [lane.seed for lane in program.lanes]

    def make(step: int) -> batches.Batch:
        return batches.lanes_batch(
            program.train, seeds, step, program.stage.batch_size, program.lengths
        )

    return make


def _fixed(program: Program) -> lanes.Fixed:
    stage = program.stage
    rates = {
        "prompt": stage.learning_rate,
        "target_scale": stage.target_scale_rate,
        "source_scales": stage.source_scale_rate,
    }
    count = len(program.lanes)
    keys = [
        lanes.lane_key(lane.seed, program.name, lane.task, lane.method)
        for lane in program.lanes
    ]
    return lanes.Fixed(
        context=jax.tree.map(jnp.asarray, program.context),
        rates=optim.Rates(
            peak={name: jnp.full(count, rate) for name, rate in rates.items()},
            warmup=jnp.full(count, stage.warmup),
            steps=jnp.array([lane.steps for lane in program.lanes]),
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
    running = [k for k, lane in enumerate(_lanes(loop)) if step <= lane.steps]
    losses = last["loss"][running]
    finite = losses[np.isfinite(losses)]
    report(step, float(finite.mean()) if finite.size else math.nan)
    records = []
    for k in running:
        lane = loop.program.lanes[k]
        record = _about(loop.program, lane) | {"kind": "train", "step": step}
        record |= {name: value[k] for name, value in last.items()}
        if "group" in last:
            record |= {"sources": list(loop.program.sources)}
            record["group"] = last["group"][k].astype(int)
        records.append(record)
    loop.log.write(records)


def _about(program: Program, lane: Lane) -> dict[str, Any]:
    return {
        "program": program.name,
        "lane": lane.name,
        "task": lane.task,
        "method": lane.method,
        "seed": lane.seed,
    }


def _validate(loop: _Loop, state: lanes.State) -> lanes.State:
    prompts = lanes.current_prompts(loop.program.method, state, loop.fixed)
    step = int(state.step)
    scores = _scores(loop, prompts)
    means = np.array([s["mean"] for s in scores], np.float32)
    # A lane that ends between two validations is validated at the second.
    every = loop.program.stage.validate_every
    due = np.array([step < lane.steps + every for lane in _lanes(loop)])
    means = np.where(due, means, -np.inf)
    before = np.asarray(state.best.score)
    state = lanes.keep_best(
        loop.program.method, state, loop.fixed, jnp.asarray(means)
    )
    after = np.asarray(state.best.score)
    loop.log.write(
        _about(loop.program, lane)
        | {
            "kind": "validation",
            "step": step,
            "metrics": scores[k],
            "best": bool(after[k] > before[k]),
        }
        for k, lane in enumerate(_lanes(loop))
        if due[k]
    )
    return state


def _lanes(loop: _Loop) -> Sequence[Lane]:
    return loop.program.lanes


def _scores(loop: _Loop, prompts: Float[Array, "K P H"]) -> list[dict[str, float]]:
    tables = loop.program.validation
    texts = evaluation.predict(
        loop.decode,
        loop.backbone,
        prompts,
        [evaluation.Pair(k, table) for k, table in enumerate(tables)],
        batch_size=loop.program.stage.batch_size,
        lengths=loop.program.lengths,
        check=loop.check,
    )
    return [scoring.score(t, rows) for t, rows in zip(tables, texts, strict=True)]


def _save(loop: _Loop, state: lanes.State, validated: int) -> None:
    at = checkpoints.Progress(loop.log.position(), validated)
    checkpoints.save(loop.manager, state, at)


def _trained(loop: _Loop, state: lanes.State) -> Trained:
    best = jax.device_get(state.best)
    return Trained(best, np.asarray(state.alive), _scores(loop, best.prompt))

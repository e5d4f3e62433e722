"""The pretraining run: draws, steps, measures, saves, and writes the backbone."""

import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import sentencepiece
from jaxtyping import Array, Bool, Float

from dtvg_jax import files
from dtvg_jax.errors import Bounds, InputError, check_field_types
from dtvg_jax.files import JsonObject, lease
from dtvg_jax.formats import hugging_face
from dtvg_jax.models import t5
from dtvg_jax.pretraining import mixture, model
from dtvg_jax.pretraining.mixture import Base, Curriculum, Fraction
from dtvg_jax.shapes import Params
from dtvg_jax.training import checkpoints
from dtvg_jax.training.metrics_log import MetricsLog
from dtvg_jax.training.progress import Report, progress

# Accuracy in % of each base by kind: "words", its canonical map, and "maps", others.
Skills: TypeAlias = dict[str, dict[str, float]]
Check = Callable[[], None]
Count = Annotated[int, Bounds(1)]


@dataclasses.dataclass(frozen=True)
class Settings:
    """A pretraining run; times are fractions of `steps`.

    buckets: (rows, tokens) of each part of a batch, the shortest rows first.
    cue_rows: soft rows per base and per label map in front of the input.
    """

    steps: Count
    seed: Annotated[int, Bounds(0, 2**32 - 1)] = 0
    buckets: tuple[tuple[Count, Count], ...] = ((40, 20), (24, 32))
    target_length: Count = 2
    cue_rows: tuple[Count, Count] = (4, 4)
    learning_rate: Annotated[float, Bounds(0)] = 0.02
    warm_up: Fraction = 0.02
    constant_until: Fraction = 0.7
    last_rate: Fraction = 0.05
    renew_every: Count = 100  # steps between new weights of the bases
    measure_every: Count = 1000
    measure_rows: Count = 200
    save_every: Count = 500

    @property
    def batch_size(self) -> int:
        """The rows of a batch, over all buckets."""
        return sum(rows for rows, _ in self.buckets)


class Pretraining(NamedTuple):
    """What a gin file sets."""

    config: t5.T5Config
    settings: Settings
    bases: Sequence[Base]
    vocabulary_model: bytes
    curriculum: Curriculum = Curriculum()


@dataclasses.dataclass(frozen=True)
class Progress:
    """What lies beside the state of a checkpoint."""

    log_position: int  # bytes of metrics.jsonl


class Saved(NamedTuple):
    """The arrays of a checkpoint."""

    # Accuracies at the last renewal of weights.
    seen: Float[np.ndarray, " N"] | Float[Array, " N"]
    train: model.State


def pretrain(
    out: pathlib.Path, pretraining: Pretraining, check: Check = lambda: None
) -> Skills:
    """Trains a T5 on the bases and writes it to `out/backbone`, a Hugging Face folder.

    A run that was interrupted resumes from its last checkpoint and ends with the same
    weights; `check` is called before each step, and what it raises goes on after the
    state is saved. Returns the accuracies at the end. Raises InputError where another
    process works on the folder.
    """
    check_field_types(pretraining)
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    run = _prepare(pretraining)
    with lease.alone(out, "--out"):
        _check_same_run(out / "run.json", _identity(pretraining))
        with (
            checkpoints.manager(out / "checkpoints") as manager,
            MetricsLog(out) as log,
        ):
            saved = _resume(manager, log, run)
            params = _train(run, saved, manager, log, check)
        skills = measure(run, params)
        _write(out / "backbone", pretraining, params["model"], skills)
    return skills


class _Run(NamedTuple):
    """What stays the same from the first step to the last."""

    given: Pretraining
    encode: mixture.Encode
    eos: int
    maps: tuple[str, ...]
    programs: "_Programs"


class _Programs(NamedTuple):
    optimizer: optax.GradientTransformation
    step: model.StepFn
    predict: Callable[[Params, mixture.Batch], Bool[Array, " B"]]


def _prepare(given: Pretraining) -> _Run:
    pieces = sentencepiece.SentencePieceProcessor()
    pieces.LoadFromSerializedProto(given.vocabulary_model)
    if pieces.get_piece_size() > given.config.vocab_size:
        raise InputError(
            f"the vocabulary has {pieces.get_piece_size()} pieces, the model has "
            f"room for {given.config.vocab_size}: raise T5Config.vocab_size to that"
        )
    eos = pieces.eos_id()
    programs = _programs(given.config, given.settings, eos)
    return _Run(given, pieces.encode, eos, mixture.map_names(given.bases), programs)


@functools.cache
def _programs(config: t5.T5Config, settings: Settings, eos: int) -> _Programs:
    """Builds optimizer, step and prediction; runs of one process share them."""
    optimizer = _optimizer(settings)

    def predict(params: Params, batch: mixture.Batch) -> Bool[Array, " B"]:
        rows = model.cue(params, batch.base, batch.map)
        return model.row_scores(config, params["model"], rows, batch)[1]

    step = model.make_step(config, optimizer, eos, settings.seed)
    return _Programs(optimizer, step, jax.jit(predict))


def _optimizer(s: Settings) -> optax.GradientTransformation:
    rate = model.schedule(
        s.steps, s.learning_rate, s.warm_up, s.constant_until, s.last_rate
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adafactor(
            rate,
            min_dim_size_to_factor=32,
            decay_rate=0.8,
            multiply_by_parameter_scale=True,
            clipping_threshold=1.0,
        ),
    )


def _start(run: _Run) -> model.State:
    """Draws the state before the first step."""
    config, settings, bases = run.given[:3]
    params = model.start(
        config, settings.seed, len(bases), len(run.maps), settings.cue_rows
    )
    chance = [1 / len(base.classes) if base.classes else 0.0 for base in bases]
    return model.State(
        accuracy=jnp.array(chance),
        opt=run.programs.optimizer.init(params),
        params=params,
        step=jnp.zeros((), jnp.int32),
    )


def _batch(run: _Run, step: int, seen: Float[np.ndarray, " N"]) -> mixture.Batch:
    """Draws the batch of a step, given the accuracies at the last renewal."""
    given, settings = run.given, run.given.settings
    fraction = step / settings.steps
    weights = mixture.base_weights(given.bases, seen, fraction, given.curriculum)
    share = given.curriculum.share(fraction)
    rows = mixture.draw(
        given.bases, weights, share, settings.seed, step, settings.batch_size
    )
    return _tokens(run, rows, settings.buckets)


def _tokens(
    run: _Run, rows: Sequence[mixture.Row], buckets: Sequence[tuple[int, int]]
) -> mixture.Batch:
    length = run.given.settings.target_length
    return mixture.tokens(rows, run.maps, run.encode, run.eos, buckets, length)


def measure(run: _Run, params: Params) -> Skills:
    """Measures every base on rows of its own, with canonical and other maps."""
    bases, settings = run.given.bases, run.given.settings
    count, skills = settings.measure_rows, {"words": {}, "maps": {}}
    longest = max(length for _, length in settings.buckets)
    for index, base in enumerate(bases):
        alone = np.eye(len(bases))[index]
        for kind, share in (("words", 0.0), ("maps", 1.0)):
            if share and len(base.maps) == 1:
                continue
            # Another seed, and steps below 0: no row comes from a training batch.
            rows = mixture.draw(
                bases, alone, share, settings.seed + 1, -1 - index, count
            )
            right = run.programs.predict(
                params, _tokens(run, rows, ((count, longest),))
            )
            skills[kind][base.name] = round(100 * float(right.mean()), 1)
    return skills


def _train(
    run: _Run,
    saved: Saved,
    manager: ocp.CheckpointManager,
    log: MetricsLog,
    check: Check,
) -> Params:
    settings, state = run.given.settings, saved.train
    seen = np.asarray(saved.seen)
    pending: tuple[int, Float[Array, ""]] | None = None
    with progress(settings.steps, "pretrain") as report:
        for step in range(int(state.step), settings.steps):
            try:
                check()
            except BaseException:  # Stopped and KeyboardInterrupt are no Exception
                _note(log, report, pending)
                _save(manager, log, Saved(seen, state))
                raise
            if step % settings.renew_every == 0:
                seen = np.asarray(state.accuracy)
            # The batch is drawn while the device is busy with the step before.
            batch = _batch(run, step, seen)
            _note(log, report, pending)
            state, loss = run.programs.step(state, batch)
            done = step + 1
            pending = done, loss
            if done % settings.measure_every == 0 and done < settings.steps:
                _note_skills(log, done, measure(run, state.params))
            if done % settings.save_every == 0 or done == settings.steps:
                _note(log, report, pending)
                pending = None
                _save(manager, log, Saved(seen, state))
    return state.params


def _note(
    log: MetricsLog, report: Report, pending: tuple[int, Float[Array, ""]] | None
) -> None:
    """Reports the loss of a step that is done, and logs every tenth."""
    if pending is None:
        return
    step, value = pending[0], float(pending[1])
    if not np.isfinite(value):
        raise FloatingPointError(f"pretraining diverged at step {step}: loss {value}.")
    report(step, value)
    if step % 10 == 0:
        log.write([_about("train", "pretrain", step) | {"loss": value}])


def _note_skills(log: MetricsLog, step: int, skills: Skills) -> None:
    log.write(
        _about("validation", kind, step) | {"metrics": values}
        for kind, values in skills.items()
    )
    line = "  ".join(
        f"{name} {value:.0f}"
        + (f"/{skills['maps'][name]:.0f}" if name in skills["maps"] else "")
        for name, value in skills["words"].items()
    )
    print(f"step {step}: {line}", flush=True)


def _about(kind: str, lane: str, step: int) -> JsonObject:
    return {"kind": kind, "program": "pretrain", "lane": lane, "step": step}


def _save(manager: ocp.CheckpointManager, log: MetricsLog, saved: Saved) -> None:
    at = Progress(log.position())
    checkpoints.save(manager, int(saved.train.step), saved, dataclasses.asdict(at))


def _resume(manager: ocp.CheckpointManager, log: MetricsLog, run: _Run) -> Saved:
    """Restores the last checkpoint, or draws the start, and truncates the log to it."""
    state = _start(run)
    start = Saved(state.accuracy, state)
    restored = checkpoints.restore(manager, start, Progress)
    if restored is None:
        log.truncate(0)
        return start
    saved, at = restored
    log.truncate(at.log_position)
    return saved


def _identity(given: Pretraining) -> JsonObject:
    """Names what a checkpoint belongs to."""
    return {
        "config": dataclasses.asdict(given.config),
        "settings": dataclasses.asdict(given.settings),
        "curriculum": dataclasses.asdict(given.curriculum),
        "bases": [[base.name, *base.maps] for base in given.bases],
    }


def _check_same_run(path: pathlib.Path, identity: JsonObject) -> None:
    if not path.exists():
        files.write_json(path, identity)
    elif files.read_json(path) != json.loads(files.json_bytes(identity)):
        raise InputError(
            f"{path.parent} holds a run with other settings (see {path.name}): give "
            "another --out, or remove the folder to start over"
        )


def _write(
    folder: pathlib.Path, given: Pretraining, params: Params, skills: Skills
) -> None:
    """Writes the folder beside its place and renames it, so it is never half there."""
    part = folder.with_name(folder.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    hugging_face.write_t5(part, given.config, params)
    files.write_bytes(part / "spiece.model", given.vocabulary_model)
    files.write_json(part / "skills.json", skills)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)

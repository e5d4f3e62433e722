"""The pretraining run: draws, steps, measures, saves, and writes the backbone."""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import sentencepiece

from dtvg_jax import files
from dtvg_jax.errors import InputError, Stopped
from dtvg_jax.formats import hugging_face
from dtvg_jax.models import t5
from dtvg_jax.pretraining import mixture, model
from dtvg_jax.pretraining.mixture import Base, Curriculum
from dtvg_jax.training import metrics_log
from dtvg_jax.training.progress import progress


@dataclasses.dataclass(frozen=True)
class Settings:
    """A pretraining run; times are fractions of `steps`.

    buckets: (rows, tokens) of each part of a batch, the shortest rows first.
    cue_rows: soft rows per base and per label map in front of the input.
    """

    steps: int
    seed: int = 0
    buckets: tuple[tuple[int, int], ...] = ((40, 20), (24, 32))
    target_length: int = 2
    cue_rows: tuple[int, int] = (4, 4)
    learning_rate: float = 0.02
    warm_up: float = 0.02
    constant_until: float = 0.7
    last_rate: float = 0.05
    renew_every: int = 100  # steps between new weights of the bases
    measure_every: int = 1000
    measure_rows: int = 200
    save_every: int = 500

    @property
    def batch_size(self) -> int:
        return sum(rows for rows, _ in self.buckets)


class Pretraining(NamedTuple):
    """The arguments of `pretrain` that a gin file sets."""

    config: t5.T5Config
    settings: Settings
    bases: Sequence[Base]
    vocabulary_model: bytes
    curriculum: Curriculum = Curriculum()


def pretrain(
    out: str | os.PathLike[str],
    config: t5.T5Config,
    settings: Settings,
    bases: Sequence[Base],
    vocabulary_model: bytes,
    curriculum: Curriculum = Curriculum(),  # noqa: B008 (frozen)
    check: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Trains a T5 on the bases and writes it to `out/backbone`, a Hugging Face folder.

    A run that was stopped goes on from its last checkpoint and ends with the same
    weights; `check` is called before each step and may raise Stopped. Returns the
    accuracy (%) per base, canonical ("words") and over the other label maps ("maps").
    """
    out = files.expand(out).absolute()
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(config, settings, bases, vocabulary_model, curriculum)
    _check_same_run(out / "run.json", run.identity())
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    with (
        ocp.CheckpointManager(out / "checkpoints", options=options) as checkpoints,
        metrics_log.MetricsLog(out) as log,
    ):
        state, seen = _resume(checkpoints, log, run)
        state = _train(run, state, seen, checkpoints, log, check)
    skills = run.measure(state["params"])
    _write(out / "backbone", run, state["params"]["model"], skills)
    return skills


class _Run:
    """What stays the same from the first step to the last."""

    def __init__(self, config, settings, bases, vocabulary_model, curriculum):
        self.config: t5.T5Config = config
        self.settings: Settings = settings
        self.bases: Sequence[Base] = bases
        self.curriculum: Curriculum = curriculum
        self.vocabulary_model: bytes = vocabulary_model
        pieces = sentencepiece.SentencePieceProcessor(model_proto=vocabulary_model)  # pyright: ignore[reportCallIssue]
        if pieces.get_piece_size() > config.vocab_size:
            raise InputError(
                f"the vocabulary has {pieces.get_piece_size()} pieces, the model has "
                f"room for {config.vocab_size}: raise T5Config.vocab_size to that."
            )
        self.encode: Callable[[list[str]], list[list[int]]] = pieces.encode
        self.eos: int = pieces.eos_id()
        self.maps = mixture.map_names(bases)
        programs = _programs(config, settings, self.eos)
        self.optimizer, self.step, self._predict = programs

    def identity(self) -> dict[str, Any]:
        """Names what a checkpoint belongs to."""
        return {
            "config": dataclasses.asdict(self.config),
            "settings": dataclasses.asdict(self.settings),
            "curriculum": dataclasses.asdict(self.curriculum),
            "bases": [[b.name, *b.maps] for b in self.bases],
        }

    def start(self) -> model.State:
        """Draws the state before the first step."""
        s = self.settings
        params = model.start(
            self.config, s.seed, len(self.bases), len(self.maps), s.cue_rows
        )
        chance = [1 / len(b.classes) if b.classes else 0.0 for b in self.bases]
        return {
            "params": params,
            "opt": self.optimizer.init(params),
            "step": jnp.zeros((), jnp.int32),
            "accuracy": jnp.array(chance),
        }

    def batch(self, step: int, seen: np.ndarray) -> mixture.Batch:
        """Draws the batch of a step, given the accuracies at the last renewal."""
        s, fraction = self.settings, step / self.settings.steps
        weights = mixture.base_weights(self.bases, seen, fraction, self.curriculum)
        rows = mixture.draw(
            self.bases,
            weights,
            self.curriculum.share(fraction),
            s.seed,
            step,
            s.batch_size,
        )
        return self._tokens(rows, s.buckets)

    def measure(self, params: Any) -> dict[str, dict[str, float]]:
        """Measures every base on rows of its own, with canonical and other maps."""
        s, skills = self.settings, {"words": {}, "maps": {}}
        longest = max(length for _, length in s.buckets)
        for index, base in enumerate(self.bases):
            alone = np.eye(len(self.bases))[index]
            for kind, share in (("words", 0.0), ("maps", 1.0)):
                if share and len(base.maps) == 1:
                    continue
                rows = mixture.draw(
                    self.bases, alone, share, s.seed + 1, -1 - index, s.measure_rows
                )
                batch = self._tokens(rows, ((s.measure_rows, longest),))
                right = self._predict(params, batch)
                skills[kind][base.name] = round(100 * float(right.mean()), 1)
        return skills

    def _tokens(self, rows, buckets) -> mixture.Batch:
        return mixture.tokens(
            rows, self.maps, self.encode, self.eos, buckets, self.settings.target_length
        )


@functools.cache
def _programs(config: t5.T5Config, settings: Settings, eos: int):
    """Builds optimizer, step and prediction; runs of one process share them."""
    optimizer = _optimizer(settings)

    def predict(params: Any, batch: mixture.Batch) -> jax.Array:
        rows = model.cue(params, batch["base"], batch["map"])
        return model.row_scores(config, params["model"], rows, batch)[1]

    step = model.make_step(config, optimizer, eos, settings.seed)
    return optimizer, step, jax.jit(predict)


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


def _train(
    run: _Run,
    state: model.State,
    seen: np.ndarray,
    checkpoints: ocp.CheckpointManager,
    log: metrics_log.MetricsLog,
    check: Callable[[], None],
) -> model.State:
    s, first = run.settings, int(state["step"])
    pending: tuple[int, jax.Array] | None = None
    with progress(s.steps, "pretrain") as report:
        for step in range(first, s.steps):
            try:
                check()
            except Stopped:
                if pending is not None:
                    _note(log, report, *pending)
                _save(checkpoints, log, state, seen)
                raise
            if step % s.renew_every == 0:
                seen = np.asarray(state["accuracy"])
            # The batch is drawn while the device is busy with the step before.
            batch = run.batch(step, seen)
            if pending is not None:
                _note(log, report, *pending)
            state, loss = run.step(state, batch)
            pending = step + 1, loss
            done = step + 1
            if done % s.measure_every == 0 and done < s.steps:
                skills = run.measure(state["params"])
                log.write(_records(done, skills))
                print(f"step {done}: {_line(skills)}", flush=True)
            if done % s.save_every == 0 or done == s.steps:
                _note(log, report, *pending)
                pending = None
                _save(checkpoints, log, state, seen)
    return state


def _note(log, report, step: int, loss: jax.Array) -> None:
    value = float(loss)
    if not np.isfinite(value):
        raise FloatingPointError(f"pretraining diverged at step {step}: loss {value}.")
    report(step, value)
    if step % 10 == 0:
        log.write(
            [
                {
                    "kind": "train",
                    "program": "pretrain",
                    "lane": "pretrain",
                    "step": step,
                    "loss": value,
                }
            ]
        )


def _records(step: int, skills: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    return [
        {
            "kind": "validation",
            "program": "pretrain",
            "lane": kind,
            "step": step,
            "metrics": values,
        }
        for kind, values in skills.items()
    ]


def _line(skills: dict[str, dict[str, float]]) -> str:
    return "  ".join(
        f"{name} {value:.0f}"
        + (f"/{skills['maps'][name]:.0f}" if name in skills["maps"] else "")
        for name, value in skills["words"].items()
    )


def _save(checkpoints, log, state: model.State, seen: np.ndarray) -> None:
    if int(state["step"]) in checkpoints.all_steps():
        return
    checkpoints.save(
        int(state["step"]),
        args=ocp.args.Composite(
            state=ocp.args.StandardSave({"train": state, "seen": seen}),
            log=ocp.args.JsonSave({"position": log.position()}),
        ),
    )


def _resume(checkpoints, log, run: _Run) -> tuple[model.State, np.ndarray]:
    state = run.start()
    latest = checkpoints.latest_step()
    if latest is None:
        log.truncate(0)
        return state, np.asarray(state["accuracy"])
    target = {"train": state, "seen": np.asarray(state["accuracy"])}
    restored = checkpoints.restore(
        latest,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(target), log=ocp.args.JsonRestore()
        ),
    )
    log.truncate(restored["log"]["position"])
    return restored["state"]["train"], np.asarray(restored["state"]["seen"])


def _check_same_run(path: pathlib.Path, identity: dict[str, Any]) -> None:
    text = json.dumps(identity, indent=2) + "\n"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{path.parent} holds a run with other settings (see {path.name}): give "
            "another --out, or remove the folder to start over."
        )


def _write(folder: pathlib.Path, run: _Run, params: Any, skills: dict) -> None:
    """Writes the folder beside its place and renames it, so it is never half there."""
    part = folder.with_name(folder.name + ".partial")
    shutil.rmtree(part, ignore_errors=True)
    hugging_face.write_t5(part, run.config, params)
    (part / "spiece.model").write_bytes(run.vocabulary_model)
    text = json.dumps(skills, indent=2) + "\n"
    (part / "skills.json").write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)

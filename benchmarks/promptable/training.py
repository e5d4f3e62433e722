"""Tunes prompts as lanes of one program, and all weights for one task at a time."""

import functools
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from dtvg_jax import methods
from dtvg_jax.data import batches, scoring
from dtvg_jax.data.token_table import TokenTable
from dtvg_jax.inference import split_decoding
from dtvg_jax.models.backbone import Backbone, token_loss
from dtvg_jax.shapes import Params
from dtvg_jax.training import lanes, loop, stages
from dtvg_jax.training.metrics_log import MetricsLog

BATCH_SIZE = 16
ROWS_AT_ONCE = 64  # sharing a prompt when decoding
PROMPT_RATE = 0.2  # as gin/runs/quickstart.gin
WEIGHTS_RATE = 3e-3  # the best of 3e-4, 1e-3, 3e-3 on most tasks, seed 0

Answer = Callable[..., list[list[str]]]  # answer(backbone, prompts, pairs)


class Run(NamedTuple):
    """One prompt to tune: its identity, its initial value, its data."""

    task: str
    kind: str
    seed: int
    start: Float[np.ndarray, "P H"]
    train: TokenTable
    validation: TokenTable


def make_answer(backbone: Backbone, lengths: tuple[int, int]) -> Answer:
    """Builds the decoder for prompts, and for tuned weights given as a backbone."""
    decode = split_decoding.make_decode(backbone, lengths[1])
    return functools.partial(
        split_decoding.predict, decode, batch_size=ROWS_AT_ONCE, lengths=lengths
    )


def primary_score(table: TokenTable, answers: Sequence[str]) -> float:
    """Scores answers by the task's primary metric, in %."""
    return scoring.score(table, answers)[
        (table.metadata.scoring.metric_names or ["mean"])[0]
    ]


def tune(
    runs: Sequence[Run],
    p_init: dict[int, Float[np.ndarray, "P H"]],
    backbone: Backbone,
    answer: Answer,
    lengths: tuple[int, int],
    steps: int,
) -> Float[np.ndarray, "K P H"]:
    """Tunes the prompts of all runs in one program; returns the best by validation.

    `runs` are sorted by seed, with equally many per seed.
    """
    none = jnp.zeros((len(p_init), 0, *runs[0].start.shape))
    training = loop.Training(
        name=f"{len(runs)} prompts",
        method=methods.by_name("prompt_tuning"),
        stage=stages.Stage(steps, PROMPT_RATE, batch_size=BATCH_SIZE),
        lanes=[stages.Lane(1, run.task, run.kind, run.seed, steps) for run in runs],
        context=methods.Context(
            p_init=jnp.asarray(np.stack(list(p_init.values()))),
            sources=none,
            start=jnp.asarray(np.stack([run.start for run in runs])),
            available=jnp.zeros((len(runs), 0), bool),
        ),
        tables=[run.train for run in runs],
        sources=(),
        lengths=lengths,
    )
    pairs = [split_decoding.Pair(k, run.validation) for k, run in enumerate(runs)]

    def validate(prompts: Any) -> loop.Scores:
        texts = answer(backbone, prompts, pairs)
        return [scoring.score(p.table, t) for p, t in zip(pairs, texts, strict=True)]

    with tempfile.TemporaryDirectory() as folder, MetricsLog(folder) as log:
        place = pathlib.Path(folder) / "checkpoints"
        trained = loop.train(training, backbone, validate, place, log, lambda: None)
    return np.asarray(trained.best.prompt)


def make_fine_tune(
    backbone: Backbone, answer: Answer, lengths: tuple[int, int], steps: int
) -> Callable[[Run], Backbone]:
    """Builds fine_tune(run), which trains all weights with the run's prompt frozen.

    AdamW with the lanes' loss, batches, order of rows, linear decay, clipping and
    choice of the best step by validation.
    """
    rate = optax.linear_schedule(WEIGHTS_RATE, 0.0, steps)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate))
    dropout = getattr(backbone.config, "dropout_rate", 0.0) > 0

    def loss(params: Params, prompt: Array, batch: Any, key: Array) -> Array:
        scores = backbone.logits(
            params, prompt, batch["inputs"], batch["targets"], key if dropout else None
        )
        return token_loss(scores, batch["targets"])

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(state: Any, prompt: Array, many: Any, key: Array) -> Any:
        def step(state: Any, batch: Any) -> tuple[Any, None]:
            params, moments, number = state
            own = jax.random.fold_in(key, number)
            grads = jax.grad(loss)(params, prompt, batch, own)
            updates, moments = optimiser.update(grads, moments, params)
            return (optax.apply_updates(params, updates), moments, number + 1), None

        return jax.lax.scan(step, state, many)[0]

    def fine_tune(run: Run) -> Backbone:
        prompt, key = jnp.asarray(run.start), lanes.lane_key(run.seed, "full", run.task)
        params = jax.tree.map(jnp.copy, backbone.params)
        state = (params, optimiser.init(params), jnp.zeros((), jnp.int32))
        best, best_score = params, -np.inf
        for start, stop in _chunks(steps):
            many = _stack(run, range(start, stop), lengths)
            state = advance(state, prompt, many, key)
            tuned = backbone._replace(params=state[0])
            pair = split_decoding.Pair(0, run.validation)
            [texts] = answer(tuned, run.start[None], [pair])
            score = scoring.score(run.validation, texts)["mean"]
            if score > best_score:
                best, best_score = jax.tree.map(jnp.copy, state[0]), score
        return backbone._replace(params=best)

    return fine_tune


def _chunks(steps: int) -> list[tuple[int, int]]:
    """Splits the steps where prompts are validated too."""
    every = stages.Stage(steps, PROMPT_RATE).validate_every
    return [(at, min(at + every, steps)) for at in range(0, steps, every)]


def _stack(run: Run, steps: range, lengths: tuple[int, int]) -> batches.Batch:
    """Stacks the batches of several steps, [N, B, T] and [N, B, L]."""
    made = [
        batches.gather(
            run.train,
            batches.batch_rows(run.train, run.seed, step, BATCH_SIZE),
            *lengths,
        )
        for step in steps
    ]
    return {name: np.stack([batch[name] for batch in made]) for name in made[0]}

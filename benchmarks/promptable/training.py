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
from dtvg_jax.methods.row_prompts import Prompts
from dtvg_jax.models.backbone import Backbone, token_loss
from dtvg_jax.shapes import Params
from dtvg_jax.training import lanes, loop, placement, programs, runs, stages
from dtvg_jax.training.metrics_log import MetricsLog

BATCH_SIZE = 16
ROWS_AT_ONCE = 64  # sharing a prompt when decoding
VALIDATE_EVERY = 100  # steps
PROMPT_RATE = 0.2  # as gin/runs/quickstart.gin
WEIGHTS_RATE = 3e-3  # the best of 3e-4, 1e-3, 3e-3 on most tasks, seed 0

Answer = Callable[[Backbone, Prompts, Sequence[split_decoding.Pair]], list[list[str]]]


class Tuning(NamedTuple):
    """One prompt to tune: its identity, its initial value, its data."""

    task: str
    kind: str
    seed: int
    start: Float[np.ndarray, "P H"]
    train: TokenTable
    validation: TokenTable


def make_answer(backbone: Backbone, lengths: tuple[int, int]) -> Answer:
    """Builds the decoder for prompts, and for tuned weights given as a backbone."""
    decode, where = split_decoding.make_decode(backbone), placement.make()

    def answer(
        backbone: Backbone,
        prompts: Prompts,
        pairs: Sequence[split_decoding.Pair],
    ) -> list[list[str]]:
        setup = split_decoding.Setup(backbone, where, ROWS_AT_ONCE)
        return split_decoding.predict(decode, setup, prompts, pairs)

    return answer


def primary_score(table: TokenTable, answers: Sequence[str]) -> float:
    """Scores answers by the task's primary metric, in %."""
    scores = scoring.score(table, answers)
    return scores[scoring.primary_metric(table, scores)]


def tune(
    tunings: Sequence[Tuning],
    p_init: dict[int, Float[np.ndarray, "P H"]],
    backbone: Backbone,
    answer: Answer,
    steps: int,
) -> Float[np.ndarray, "K P H"]:
    """Tunes all prompts in one program; returns the best by validation.

    `tunings` are sorted by seed, with equally many per seed.
    """
    pairs = [split_decoding.Pair(k, one.validation) for k, one in enumerate(tunings)]

    def validate(prompts: Prompts, due: Sequence[int]) -> loop.Scores:
        tried = [pairs[k] for k in due]
        texts = answer(backbone, prompts, tried)
        return [scoring.score(p.table, t) for p, t in zip(tried, texts, strict=True)]

    with tempfile.TemporaryDirectory() as folder, MetricsLog(folder) as log:
        trained = loop.train(
            training=_training(tunings, p_init, steps),
            backbone=backbone,
            validate=validate,
            folder=pathlib.Path(folder) / "checkpoints",
            log=log,
            placement=placement.make(),
            check=lambda: None,
        )
    return np.asarray(trained.best.prompt)


def _training(
    tunings: Sequence[Tuning], p_init: dict[int, Float[np.ndarray, "P H"]], steps: int
) -> programs.Training:
    """Makes a program of prompt tuning, a lane for each prompt."""
    no_sources = jnp.zeros((len(p_init), 0, *tunings[0].start.shape))
    return programs.Training(
        name=f"{len(tunings)} prompts",
        method=methods.by_name("prompt_tuning"),
        stage=stages.Stage(
            steps,
            PROMPT_RATE,
            batch_size=BATCH_SIZE,
            warmup=0,
            validate_every=VALIDATE_EVERY,
        ),
        lanes=[
            runs.Lane(
                runs.Run(1, one.task, one.kind, one.seed),
                steps,
                0,
                {"prompt": PROMPT_RATE},
            )
            for one in tunings
        ],
        context=lanes.LaneContexts(
            p_init=jnp.asarray(np.stack(list(p_init.values()))),
            sources=no_sources,
            start=jnp.asarray(np.stack([one.start for one in tunings])),
            available=jnp.zeros((len(tunings), 0), bool),
            seed=jnp.asarray(list(p_init), jnp.uint32),
        ),
        tables=[one.train for one in tunings],
        sources=(),
    )


def make_fine_tune(
    backbone: Backbone, answer: Answer, lengths: tuple[int, int], steps: int
) -> Callable[[Tuning], Backbone]:
    """Builds fine_tune(tuning): it trains all weights, with the start as frozen prompt.

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

    def fine_tune(tuning: Tuning) -> Backbone:
        prompt = jnp.asarray(tuning.start)
        key = lanes.named_key(tuning.seed, "full", tuning.task)
        params = jax.tree.map(jnp.copy, backbone.params)
        state = (params, optimiser.init(params), jnp.zeros((), jnp.int32))
        best, best_score = params, -np.inf
        for start, stop in _chunks(steps):
            many = _stack(tuning, range(start, stop), lengths)
            state = advance(state, prompt, many, key)
            tuned = backbone._replace(params=state[0])
            pair = split_decoding.Pair(0, tuning.validation)
            [texts] = answer(tuned, Prompts(tuning.start[None]), [pair])
            score = scoring.score(tuning.validation, texts)["mean"]
            if score > best_score:
                best, best_score = jax.tree.map(jnp.copy, state[0]), score
        return backbone._replace(params=best)

    return fine_tune


def _chunks(steps: int) -> list[tuple[int, int]]:
    """Splits the steps where prompts are validated too."""
    starts = range(0, steps, VALIDATE_EVERY)
    return [(at, min(at + VALIDATE_EVERY, steps)) for at in starts]


def _stack(tuning: Tuning, steps: range, lengths: tuple[int, int]) -> batches.Batch:
    """Stacks the batches of several steps, [N, B, T] and [N, B, L]."""
    made = [
        batches.gather(
            tuning.train,
            batches.batch_rows(tuning.train, tuning.seed, step, BATCH_SIZE),
            *lengths,
        )
        for step in steps
    ]
    return {name: np.stack([batch[name] for batch in made]) for name in made[0]}

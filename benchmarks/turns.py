"""Steps on random rows of one length, and the taking of turns in one process."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import rows as token_rows
from dtvg_jax.data import microbatches
from dtvg_jax.files import JsonObject
from dtvg_jax.methods import METHODS, initial_prompt
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import Backbone
from dtvg_jax.training import lanes, optimisers, placement, programs, step

Turn = Callable[[], Any]
Lengths = tuple[int, int]


def start(backbone: Backbone, prompt_length: int) -> jax.Array:
    """Draws the P_init of seed 0."""
    embedding = backbone.embedding(backbone.params)
    return jnp.asarray(initial_prompt.p_init(embedding, prompt_length, 0))


def random_tokens(
    backbone: Backbone, shape: tuple[int, ...], lengths: Lengths
) -> list[jax.Array]:
    """Draws inputs and targets without padding."""
    vocabulary = backbone.embedding(backbone.params).shape[0]
    random = np.random.default_rng(0)
    return [jnp.asarray(random.integers(3, vocabulary, (*shape, n))) for n in lengths]


def pooled_rows(
    backbone: Backbone, count: int, rows: int, lengths: Lengths, prompt_length: int
) -> list[step.Rows]:
    """Makes a step's microbatches of `count` lanes as the training loop would."""
    vocabulary = backbone.embedding(backbone.params).shape[0]
    table = token_rows.of_one_length(rows, lengths, vocabulary)
    streams = [microbatches.Stream(table, seed) for seed in range(count)]
    cut = programs.choose_cut(
        streams, rows, backbone.config, prompt_length, placement.make()
    )
    made = microbatches.make(streams, range(count), 0, rows, cut)
    return [step.Rows(*jax.device_put(tuple(one))) for one in made]


def prompt_turn(
    backbone: Backbone,
    count: int,
    rows: int,
    lengths: Lengths,
    prompt_length: int,
    method: str = "prompt_tuning",
    sources: int = 0,
) -> Turn:
    """Makes a training step of `count` lanes that keeps its own state."""
    optimiser = optimisers.by_name("adamw_stage2" if sources else "adamw_stage1")
    p_init = start(backbone, prompt_length)
    noise = np.random.default_rng(0).normal(0, 0.1, (1, sources, *p_init.shape))
    context = lanes.LaneContexts(
        p_init=p_init[None],
        sources=jnp.asarray(noise, jnp.float32),
        start=jnp.tile(p_init + 0.1, (count, 1, 1)),
        available=jnp.ones((count, sources), bool),
        seed=jnp.zeros(1, jnp.uint32),
    )
    rule = METHODS[method]
    state = lanes.init(rule, optimiser, context)
    rates = optimisers.Rates(
        peak={name: jnp.full(count, 1e-3) for name in state.trainables},
        warmup=jnp.zeros(count, jnp.int32),
        steps=jnp.full(count, 1000),
    )
    fixed = lanes.Fixed(context, rates, jax.random.key(0))
    step_fn = step.make_step(backbone, rule, optimiser, dropout=False)
    fed = pooled_rows(backbone, count, rows, lengths, prompt_length)
    carried = [state]

    def turn() -> Any:
        carried[0], metrics = step_fn(carried[0], backbone.params, fixed, fed)
        return metrics["loss"]

    return turn


def unpooled_turn(
    backbone: Backbone, count: int, rows: int, lengths: Lengths, prompt_length: int
) -> Turn:
    """Makes the same step written plainly: lanes mapped, one program, no buckets."""
    inputs, targets = random_tokens(backbone, (count, rows), lengths)
    optimiser = optimisers.by_name("adamw_stage1")

    def loss(prompts, params):
        def lane(prompt, inputs, targets):
            logits = backbone.logits(params, prompt, inputs, targets, None)
            return backbones.token_loss(logits, targets)

        return jnp.sum(jax.vmap(lane)(prompts, inputs, targets))

    def step_fn(prompts, state, params):
        value, grads = jax.value_and_grad(loss)(prompts, params)
        updates, state = jax.vmap(optimiser.update)(grads, state, prompts)
        updates = jax.tree.map(lambda update: -1e-3 * update, updates)
        return optax.apply_updates(prompts, updates), state, value

    jitted = jax.jit(step_fn, donate_argnums=(0, 1))
    prompts = jnp.tile(start(backbone, prompt_length) + 0.1, (count, 1, 1))
    carried = [prompts, jax.vmap(optimiser.init)(prompts)]

    def turn() -> Any:
        carried[0], carried[1], value = jitted(*carried, backbone.params)
        return value

    return turn


def full_turn(
    backbone: Backbone, rows: int, lengths: Lengths, prompt_length: int
) -> Turn:
    """Makes an AdamW step on all weights, with P_init in front for equal lengths."""
    p_init = start(backbone, prompt_length)
    inputs, targets = random_tokens(backbone, (rows,), lengths)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-4))

    def loss(params):
        logits = backbone.logits(params, p_init, inputs, targets, None)
        return backbones.token_loss(logits, targets)

    def step_fn(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    jitted = jax.jit(step_fn, donate_argnums=(0, 1))
    params = jax.tree.map(jnp.copy, backbone.params)
    carried = [params, optimiser.init(params)]

    def turn() -> Any:
        carried[0], carried[1], value = jitted(*carried)
        return value

    return turn


def take(turns: Mapping[str, Turn], repeats: int) -> dict[str, list[float]]:
    """Runs every step once to compile and once to warm up, then alternates."""
    for name, turn in turns.items():
        began = time.perf_counter()
        jax.block_until_ready(turn())
        jax.block_until_ready(turn())
        print(f"{name}: ready in {time.perf_counter() - began:.1f} s", file=sys.stderr)
    times: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(repeats):
        for name in list(turns)[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            jax.block_until_ready(turns[name]())
            times[name].append(time.perf_counter() - began)
    return times


def summary(
    times: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]]
) -> JsonObject:
    """Gives seconds per step, and for pairs the ratios of the least and in a round."""
    return {
        "seconds": {
            name: {
                "min": round(min(values), 4),
                "median": round(statistics.median(values), 4),
            }
            for name, values in times.items()
        },
        "ratios": {
            f"{name} / {base}": {
                "of_min": round(min(times[name]) / min(times[base]), 4),
                "median": round(
                    statistics.median(
                        a / b for a, b in zip(times[name], times[base], strict=True)
                    ),
                    4,
                ),
            }
            for name, base in pairs
        },
    }


def against(times: Mapping[str, Sequence[float]], base: str) -> JsonObject:
    """Summarises every other step against `base`."""
    return summary(times, [(name, base) for name in times if name != base])

"""Greedy decoding of many prompts at once, with a cache, stopping when all are done."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dtvg_jax.models.backbone import Backbone
from dtvg_jax.shapes import Params


def greedy(
    backbone: Backbone,
    params: Params,
    prompts: Float[Array, "K P H"] | Float[Array, "K B P H"],
    inputs: Int[Array, "K B T"],
    length: int,
) -> Int[Array, "K B L"]:
    """Decodes up to `length` = L tokens of every row, the best one at each step.

    The end token is the last one of a row, -1 comes after it.  A row that is all
    padding (to fill a batch) counts as done from the start and gives only -1.
    Decoding stops when every row of every lane is done.  One program for all lanes:
    the loop is outside, `vmap` over lanes inside, the parameters are not mapped.
    """
    decode = jax.vmap(backbone.decode, in_axes=(None, 0, 0))
    eos = backbone.vocabulary.eos_id

    def pick(
        scores: Float[Array, "K B V"], done: Bool[Array, "K B"]
    ) -> tuple[Int[Array, "K B"], Bool[Array, "K B"]]:
        tokens = jnp.where(done, -1, jnp.argmax(scores, axis=-1).astype(jnp.int32))
        return tokens, done | (tokens == eos)

    def more(state: tuple[Any, ...]) -> Bool[Array, ""]:
        step, done, *_ = state
        return (step < length) & ~jnp.all(done)

    def body(state: tuple[Any, ...]) -> tuple[Any, ...]:
        step, done, tokens, out, cache = state
        scores, cache = decode(params, cache, tokens)
        tokens, done = pick(scores, done)
        out = jax.lax.dynamic_update_index_in_dim(out, tokens, step, axis=2)
        return step + 1, done, tokens, out, cache

    scores, cache = jax.vmap(
        lambda prompt, rows: backbone.prefill(params, prompt, rows, length)
    )(prompts, inputs)
    tokens, done = pick(scores, jnp.all(inputs < 0, axis=-1))
    out = jnp.full((*inputs.shape[:2], length), -1, jnp.int32).at[:, :, 0].set(tokens)
    state = (jnp.ones((), jnp.int32), done, tokens, out, cache)
    return jax.lax.while_loop(more, body, state)[3]

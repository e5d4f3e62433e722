"""Greedy decoding with a cache, scored as it goes, stopping when all rows are done."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dtvg_jax.methods.row_prompts import RowPrompt
from dtvg_jax.models import backbone as backbones
from dtvg_jax.models.backbone import Backbone, Cache
from dtvg_jax.shapes import Params

# For all rows, for each row, or to be made for each row.
Prompt: TypeAlias = Float[Array, "P H"] | Float[Array, "B P H"] | RowPrompt


class Decoded(NamedTuple):
    """Answers: tokens up to the end token and then -1, and log p of each answer."""

    tokens: Int[Array, "B L"]
    scores: Float[Array, " B"]


class _State(NamedTuple):
    step: Int[Array, ""]
    done: Bool[Array, " B"]
    last: Int[Array, " B"]  # the tokens of the step before
    found: Decoded
    cache: Cache


def before_rows(
    params: Params, prompt: Prompt, inputs: Int[Array, "B T"]
) -> Float[Array, "P H"] | Float[Array, "B P H"]:
    """Makes the prompt of each row where it is made of the row."""
    if isinstance(prompt, RowPrompt):
        return prompt.of_rows(backbones.embedded(params, inputs), inputs >= 0)
    return prompt


def greedy(
    backbone: Backbone,
    params: Params,
    prompt: Prompt,
    inputs: Int[Array, "B T"],
    length: int,
) -> Decoded:
    """Decodes up to `length` = L tokens of every row, the best one at each step.

    A score is the sum of the log-probabilities of a row's tokens, the end token's
    among them. A row that is all padding (to fill a batch) counts as done from the
    start: it gives only -1 and the score 0. Decoding stops when every row is done.
    """
    eos = backbone.vocabulary.eos_id

    def note(state: _State, logits: Float[Array, "B V"]) -> _State:
        best = jnp.max(logits, axis=-1) - jax.nn.logsumexp(logits, axis=-1)
        tokens = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        tokens = jnp.where(state.done, -1, tokens)
        out, scores = state.found
        out = jax.lax.dynamic_update_index_in_dim(out, tokens, state.step, axis=1)
        scores = scores + jnp.where(state.done, 0.0, best)
        done = state.done | (tokens == eos)
        found = Decoded(out, scores)
        return _State(state.step + 1, done, tokens, found, state.cache)

    def more(state: _State) -> Bool[Array, ""]:
        return (state.step < length) & ~jnp.all(state.done)

    def body(state: _State) -> _State:
        logits, cache = backbone.decode(params, state.cache, state.last)
        return note(state._replace(cache=cache), logits)

    rows = inputs.shape[0]
    before = before_rows(params, prompt, inputs)
    params = backbones.apart(backbone, params)
    logits, cache = backbone.prefill(params, before, inputs, length)
    nothing = Decoded(jnp.full((rows, length), -1, jnp.int32), jnp.zeros(rows))
    padding = jnp.all(inputs < 0, axis=-1)
    start = _State(
        jnp.zeros((), jnp.int32), padding, nothing.tokens[:, 0], nothing, cache
    )
    return jax.lax.while_loop(more, body, note(start, logits)).found

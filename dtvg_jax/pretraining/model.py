"""The model of pretraining: a T5, cue rows in front of its input, one training step.

The cue says which base and which label map are meant: rows per base and rows per map,
learned with the model and then discarded. A prompt takes their place afterwards, so
noise is added to the rows in training: the model must not rely on their exact values.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dtvg_jax.models import backbone, t5
from dtvg_jax.pretraining.mixture import Batch, Ids
from dtvg_jax.shapes import Params

KEPT = 0.98  # of the moving accuracy of a base, per row seen


class State(NamedTuple):
    """All that a step changes; N bases."""

    accuracy: Float[Array, " N"]
    opt: PyTree[Array]
    params: Params  # "model", and the cues "base" and "map"
    step: Int[Array, ""]


StepFn = Callable[[State, Batch], tuple[State, Float[Array, ""]]]


def start(
    config: t5.T5Config, seed: int, bases: int, maps: int, rows: tuple[int, int]
) -> Params:
    """Draws model and cue, `rows` per base and per map, on the embedding's scale."""
    key, base_key, map_key = jax.random.split(jax.random.key(seed), 3)
    width = config.d_model
    return {
        "model": duplicate_heads(backbone.init_params(config, key), config),
        "base": jax.random.normal(base_key, (bases, rows[0], width)),
        "map": jax.random.normal(map_key, (maps, rows[1], width)),
    }


def duplicate_heads(params: Params, config: t5.T5Config) -> Params:
    """Makes half of the encoder's heads look for other places of the same word.

    T5 adds no positions to its embeddings, so with keys along the queries equal words
    find each other from the first step on, and a bias of -3 at distance 0 keeps a word
    from finding itself. Without this start, comparing sentences takes several times
    longer to learn.
    """
    half = config.num_heads // 2
    encoder = dict(params["encoder"])
    table = encoder["relpos_bias"]["rel_embedding"].at[:half, 0].set(-3.0)
    encoder["relpos_bias"] = {"rel_embedding": table}
    attention = encoder["layers"]["attention"]
    query = attention["query"]["kernel"][..., : half * config.d_kv]
    key = attention["key"]["kernel"].at[..., : half * config.d_kv].set(4.0 * query)
    attention = attention | {"key": {"kernel": key}}
    encoder["layers"] = encoder["layers"] | {"attention": attention}
    return params | {"encoder": encoder}


def cue(params: Params, base: Ids, label_map: Ids) -> Float[Array, "B P H"]:
    """Joins the rows of each row's base and map."""
    return jnp.concatenate([params["base"][base], params["map"][label_map]], axis=1)


def disturb(
    key: Key[Array, ""], rows: Float[Array, "B P H"], embedding: Float[Array, "V H"]
) -> Float[Array, "B P H"]:
    """Adds noise of a tenth, and puts random words in place of a tenth of the rows."""
    noise_key, word_key, place_key = jax.random.split(key, 3)
    words = jax.random.randint(word_key, rows.shape[:2], 0, embedding.shape[0])
    replaced = jax.random.bernoulli(place_key, 0.1, rows.shape[:2])
    noisy = rows + 0.1 * jax.random.normal(noise_key, rows.shape)
    return jnp.where(replaced[..., None], embedding[words], noisy)


def row_scores(
    config: t5.T5Config, model: Params, rows: Float[Array, "B P H"], batch: Batch
) -> tuple[Float[Array, "B L"], Bool[Array, " B"]]:
    """Gives the cross-entropy of each target token, and whether a row is all right."""
    logits_of, losses, hits, begin = backbone.functions(config)[0], [], [], 0
    for inputs in batch.inputs:
        part = slice(begin, begin + inputs.shape[0])
        begin += inputs.shape[0]
        targets = batch.targets[part]
        logits = logits_of(model, rows[part], inputs, targets)
        wanted = jnp.maximum(targets, 0)
        losses.append(optax.softmax_cross_entropy_with_integer_labels(logits, wanted))
        right = (jnp.argmax(logits, axis=-1) == targets) | (targets < 0)
        hits.append(jnp.all(right, axis=-1))
    return jnp.concatenate(losses), jnp.concatenate(hits)


def make_step(
    config: t5.T5Config, optimizer: optax.GradientTransformation, eos: int, seed: int
) -> StepFn:
    """Builds `step(state, batch) -> state, loss`; the end token weighs a fifth."""

    def loss_of(
        params: Params, key: Key[Array, ""], batch: Batch
    ) -> tuple[Float[Array, ""], Bool[Array, " B"]]:
        model = params["model"]
        embedding = jax.lax.stop_gradient(model["token_embedder"]["embedding"])
        rows = disturb(key, cue(params, batch.base, batch.map), embedding)
        losses, right = row_scores(config, model, rows, batch)
        targets = batch.targets
        weights = jnp.where(targets == eos, 0.2, 1.0) * (targets >= 0)
        return jnp.sum(losses * weights) / jnp.sum(weights), right

    def step(state: State, batch: Batch) -> tuple[State, Float[Array, ""]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        value_and_grad = jax.value_and_grad(loss_of, has_aux=True)
        (loss, right), grads = value_and_grad(state.params, key, batch)
        updates, opt = optimizer.update(grads, state.opt, state.params)
        params: PyTree[Array] = optax.apply_updates(state.params, updates)
        return State(
            accuracy=moving_accuracy(state.accuracy, batch, right),
            opt=opt,
            params=params,
            step=state.step + 1,
        ), loss

    return jax.jit(step, donate_argnums=0)


def moving_accuracy(
    accuracy: Float[Array, " N"], batch: Batch, right: Bool[Array, " B"]
) -> Float[Array, " N"]:
    """Moves each base's accuracy towards that of its rows in the batch."""
    real = (batch.targets[:, 0] >= 0).astype(jnp.float32)
    zeros = jnp.zeros_like(accuracy)
    count = zeros.at[batch.base].add(real)
    hits = zeros.at[batch.base].add(real * right)
    moved = hits / jnp.maximum(count, 1.0) - accuracy
    return accuracy + (1.0 - KEPT**count) * moved


def schedule(
    steps: int, peak: float, warm_up: float, constant_until: float, last: float
) -> optax.Schedule:
    """Builds warm-up, a plateau, and a linear fall to `last` of the peak.

    warm_up, constant_until: fractions of the steps.
    """
    points = jnp.array([0.0, warm_up * steps, constant_until * steps, float(steps)])
    values = jnp.array([0.0, 1.0, 1.0, last])
    return lambda step: peak * jnp.interp(step + 1.0, points, values)

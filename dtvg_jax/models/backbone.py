"""What a backbone is to the rest of the package: pure functions over parameters."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from dtvg_jax.models import llama, t5
from dtvg_jax.shapes import Params

Config = t5.T5Config | llama.LlamaConfig


class Backbone(NamedTuple):
    """A frozen language model.

    The functions are pure and can be jitted and mapped over lanes with the parameters
    unmapped: `jax.vmap(backbone.logits, in_axes=(None, 0, 0, 0, 0))`.  A prompt is
    `[P, H]` for all rows or `[B, P, H]`, one per row; P may be 0.  Tokens are int32
    with -1 as padding at the right.  Without `dropout_key` nothing is dropped.

    logits(params, prompt, inputs [B, T], targets [B, L], dropout_key=None)
        -> float32 [B, L, V], the scores of each target token given those before it
    prefill(params, prompt, inputs [B, T], length) -> ([B, V], cache)
        the scores of the first target token, and room for `length` tokens
    decode(params, cache, tokens [B]) -> ([B, V], cache)
    embedding(params) -> [V, H], the input embedding
    """

    name: str
    kind: str
    config: Config
    vocabulary: Any  # formats.vocabularies.Vocabulary, a room below
    params: Params
    digest: str
    logits: Callable[..., Float[Array, "B L V"]]
    prefill: Callable[..., tuple[Float[Array, "B V"], Any]]
    decode: Callable[..., tuple[Float[Array, "B V"], Any]]
    embedding: Callable[[Params], Float[Array, "V H"]]


def build(
    name: str, config: Config, params: Params, vocabulary: Any, digest: str
) -> Backbone:
    """Joins parameters with the functions of their architecture."""
    return Backbone(
        name, kind(config), config, vocabulary, params, digest, *functions(config)
    )


def kind(config: Config) -> str:
    """Names the architecture of a config: "t5" or "llama"."""
    return "t5" if isinstance(config, t5.T5Config) else "llama"


def _boxed_params(config: Config, key: Array) -> Any:
    if isinstance(config, t5.T5Config):
        return t5.init_params(config, key)
    return llama.init_params(config, key)


@functools.cache
def functions(config: Config) -> tuple[Callable[..., Any], ...]:
    """Makes logits, prefill, decode and embedding, the same objects per config."""
    is_t5 = isinstance(config, t5.T5Config)
    module = t5.module(config) if is_t5 else llama.module(config)

    def logits(
        params: Params,
        prompt: Float[Array, "*b P H"],
        inputs: Int[Array, "B T"],
        targets: Int[Array, "B L"],
        dropout_key: Array | None = None,
    ) -> Any:
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        return module.apply(
            {"params": params}, prompt, inputs, targets, rngs=rngs, method="logits"
        )

    def prefill(
        params: Params,
        prompt: Float[Array, "*b P H"],
        inputs: Int[Array, "B T"],
        length: int,
    ) -> Any:
        return module.apply(
            {"params": params}, prompt, inputs, length, method="prefill"
        )

    def decode(params: Params, cache: Any, tokens: Int[Array, " B"]) -> Any:
        return module.apply({"params": params}, cache, tokens, method="decode")

    def embedding(params: Params) -> Float[Array, "V H"]:
        return params["token_embedder"]["embedding"]

    return logits, prefill, decode, embedding


def init_params(config: Config, key: Array) -> Params:
    """Draws float32 parameters for a config, as a plain tree."""
    return jax.jit(lambda key: nn.unbox(_boxed_params(config, key)))(key)


def logical_axes(config: Config) -> Params:
    """Gives the tree of sharding names, a PartitionSpec per parameter."""
    boxed = jax.eval_shape(lambda: _boxed_params(config, jax.random.key(0)))
    return nn.get_partition_spec(boxed)


def token_loss(logits: Float[Array, "B L V"], targets: Int[Array, "B L"]) -> Array:
    """Averages the cross-entropy over the real target tokens, 0 if there are none."""
    real = targets >= 0
    scores = jnp.take_along_axis(logits, jnp.maximum(targets, 0)[..., None], axis=-1)
    losses = jax.nn.logsumexp(logits, axis=-1) - scores[..., 0]
    return jnp.sum(losses, where=real) / jnp.maximum(jnp.sum(real), 1)

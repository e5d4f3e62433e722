"""Llama, Qwen2, Qwen3: grouped queries, rotary positions, tied or untied head.

A row is [prompt | inputs | padding | targets | padding]. Padding is never seen and
positions count real tokens only, so a row gives the same logits alone and in any
batch. A prompt `[P, H]` runs through the layers once and all rows look at its keys
and values: one copy, whatever the batch.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dtvg_jax.models import attention, layers, ranges, sharding
from dtvg_jax.models.attention import Segment
from dtvg_jax.models.layers import Apart, KeysValues, Stacked
from dtvg_jax.shapes import Params

Angles = tuple[Float[Array, "#b q c"], Float[Array, "#b q c"]]


class Cache(NamedTuple):
    """What decoding keeps between two steps.

    start: positions before the targets, of each row
    step: the number of the next target
    prefix, inputs, past: keys and values of prompt, inputs and targets
    real: which inputs are tokens, not padding
    """

    start: Int[Array, " B"]
    step: Int[Array, ""]
    prefix: Stacked | Apart
    inputs: Stacked | Apart
    real: Bool[Array, "B 1 T"]
    past: Stacked | Apart


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary positions: `kind` is "default", "linear" or "llama3".

    The last three matter for "llama3" only (factor 8 for Llama 3.1, 32 for 3.2).
    """

    theta: ranges.Factor = 10000.0
    kind: str = "default"
    factor: ranges.Factor = 1.0
    low_freq_factor: ranges.Factor = 1.0
    high_freq_factor: ranges.Factor = 4.0
    original_max_position_embeddings: ranges.Size = 8192


@dataclasses.dataclass(frozen=True)
class LlamaConfig:
    """Shape and rules of a Llama; most names are those of Hugging Face's config.

    The head size is its own: heads times head_dim may differ from hidden_size.
    `qkv_bias`, `out_bias`: of attention; Llama has both or neither, Qwen2 the first.
    `qk_norm`: queries and keys are normed head by head before they are rotated (Qwen3).
    """

    vocab_size: ranges.Vocabulary
    hidden_size: ranges.Size
    intermediate_size: ranges.Size
    num_hidden_layers: ranges.Layers
    num_attention_heads: ranges.Size
    num_key_value_heads: ranges.Size
    head_dim: ranges.Size
    rms_norm_eps: ranges.Epsilon = 1e-6
    rope: Rope = Rope()
    tied_head: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    dropout_rate: ranges.Dropout = 0.0


def frequencies(rope: Rope, size: int) -> np.ndarray:
    """Gives the radians per position of each pair of a head, float32 `[size / 2]`.

    "llama3" slows waves longer than the original context by `factor`, keeps short ones
    and goes smoothly between, at all lengths.
    """
    f = 1.0 / rope.theta ** (np.arange(0, size, 2, dtype=np.float64) / size)
    if rope.kind == "linear":
        f = f / rope.factor
    if rope.kind == "llama3":
        waves = rope.original_max_position_embeddings / (2 * math.pi / f)
        low, high = rope.low_freq_factor, rope.high_freq_factor
        smooth = np.clip((waves - low) / (high - low), 0.0, 1.0)
        f = (1 - smooth) * f / rope.factor + smooth * f
    return f.astype(np.float32)


def angles(rope: Rope, size: int, positions: Int[Array, "b q"]) -> Angles:
    """Gives cosines and sines of every position, float32, `c` = size / 2 columns."""
    radians = (
        positions[..., None].astype(jnp.float32) * frequencies(rope, size)[None, None]
    )
    return jnp.cos(radians), jnp.sin(radians)


def rotate(x: Float[Array, "N b g q D"], by: Angles) -> Float[Array, "N b g q D"]:
    """Rotates the pairs (i, i + D/2), as Hugging Face's weights are laid out."""
    cos, sin = (part[None, :, None] for part in by)
    # In float32: bfloat16 would round the angles of far positions.
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = (first * cos - second * sin, second * cos + first * sin)
    return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention; the one key/value head of a group is never repeated."""

    config: LlamaConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b q H"],
        rotation: Angles,
        earlier: Sequence[Segment],
        mask: Bool[Array, "#b q k"],
        past: KeysValues | None,
        index: Int[Array, ""] | None,
    ) -> tuple[Float[Array, "b q H"], KeysValues]:
        c = self.config

        def project(name: str, heads: int) -> Float[Array, "N b g q D"]:
            width, axes = heads * c.head_dim, ("embed", "joined_kv")
            y = layers.Dense(width, axes, c.qkv_bias, name=name)(x)
            y = layers.split_heads(y, c.num_key_value_heads, c.head_dim)
            # Over one head, and before rotation, as Qwen3 was trained.
            if c.qk_norm and name != "value":
                y = layers.RMSNorm(c.rms_norm_eps, "kv", name=f"{name}_norm")(y)
            return y

        query = rotate(project("query", c.num_attention_heads), rotation)
        key = rotate(project("key", c.num_key_value_heads), rotation)[:, :, 0]
        value = project("value", c.num_key_value_heads)[:, :, 0]
        if past is not None and index is not None:
            key = layers.write(past[0], key, index)
            value = layers.write(past[1], value, index)
        y = attention.attend(
            query * c.head_dim**-0.5,
            [*earlier, Segment(key, value, mask)],
            dropout=layers.Dropout(c.dropout_rate),
        )
        out = layers.Dense(x.shape[-1], ("joined_kv", "embed"), c.out_bias, name="out")
        return out(layers.join_heads(y)), (key, value)


class Layer(nn.Module):
    """Self-attention and gated feed-forward, pre-normed and residual."""

    config: LlamaConfig

    def setup(self) -> None:
        c = self.config
        self.pre_attention_layer_norm = layers.RMSNorm(c.rms_norm_eps)
        self.attention = Attention(c)
        self.pre_mlp_layer_norm = layers.RMSNorm(c.rms_norm_eps)
        self.mlp = layers.Mlp(
            c.intermediate_size, ("silu", "linear"), use_bias=c.mlp_bias
        )

    def __call__(
        self,
        x: Float[Array, "b q H"],
        rotation: Angles,
        earlier: Sequence[Segment],
        mask: Bool[Array, "#b q k"],
        past: KeysValues | None = None,
        index: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "b q H"], KeysValues]:
        """Runs the layer; with `past`, on one position that is written at `index`."""
        y, seen = self.attention(
            self.pre_attention_layer_norm(x), rotation, earlier, mask, past, index
        )
        x = x + y
        x = x + self.mlp(self.pre_mlp_layer_norm(x))
        return sharding.constrain(x, "batch", "length", "width"), seen


class Llama(nn.Module):
    """The whole model; its methods are the functions of a backbone.

    With `remat` a layer's inner values are computed again for its gradient, not kept.
    """

    config: LlamaConfig
    remat: bool = False

    def setup(self) -> None:
        c = self.config
        self.token_embedder = layers.Embedder(c.vocab_size, c.hidden_size)
        self.layers = Layer(c)
        self.decoder_norm = layers.RMSNorm(c.rms_norm_eps)
        if not c.tied_head:
            self.logits_dense = layers.Head(c.vocab_size)

    def prefix(
        self, prompt: Float[Array, "P H"] | Float[Array, "B P H"]
    ) -> Stacked | Apart:
        """Runs the prompt alone: what all later positions see of it.

        A prompt `[P, H]` gives keys and values of one row.
        """
        c, length = self.config, prompt.shape[-2]
        x = prompt[None] if prompt.ndim == 2 else prompt
        count = x.shape[0]
        x = sharding.filled(x)
        x = x.astype(self.token_embedder.embedding.dtype)
        if length == 0:
            return nothing(c, count, x.dtype)
        rotation = angles(c.rope, c.head_dim, jnp.arange(length)[None])
        mask = jnp.asarray(np.tri(length, dtype=bool))[None]

        def body(layer: Layer, x: Array, _: None) -> tuple[Array, KeysValues]:
            return layer(x, rotation, [], mask)

        _, seen = self.run(body, sharding.constrain(x, "batch", "length", "width"))
        return jax.tree.map(lambda x: x[..., :count, :, :], seen)

    def after(
        self, prefix: Stacked | Apart, tokens: Int[Array, "B S"]
    ) -> tuple[Float[Array, "B S H"], Stacked | Apart]:
        """Runs tokens after the prefix; their positions count real ones from there."""
        c, real, start = self.config, tokens >= 0, prefix[0][0].shape[2]
        # Padding between inputs and targets takes no position.
        positions = start + jnp.cumsum(real, axis=1) - 1
        rotation = angles(c.rope, c.head_dim, positions)
        order = jnp.asarray(np.tri(tokens.shape[1], dtype=bool))[None]
        mask = order & real[:, None]

        def body(
            layer: Layer, x: Array, prefix: KeysValues
        ) -> tuple[Array, KeysValues]:
            return layer(x, rotation, [Segment(*prefix)], mask)

        return self.run(body, self.token_embedder(tokens), prefix)

    def run(
        self, body: layers.Body[Layer], x: Array, given: PyTree[Array] | None = None
    ) -> tuple[Array, PyTree[Array]]:
        count = self.config.num_hidden_layers
        return layers.run(body, self.layers, count, x, given, remat=self.remat)

    def head(self, x: Float[Array, "B q H"]) -> Float[Array, "B q V"]:
        """Gives float32 logits of the last layer's output."""
        x = self.decoder_norm(x)
        if self.config.tied_head:
            logits = self.token_embedder.attend(x)
        else:
            logits = self.logits_dense(x)
        return sharding.constrain(logits, "batch", "length", "vocab")

    def logits(
        self,
        prefix: Stacked,
        inputs: Int[Array, "B T"],
        targets: Int[Array, "B L"],
    ) -> Float[Array, "B L V"]:
        """Scores every target token given the ones before it; inputs are not empty."""
        tokens = jnp.concatenate([inputs, targets[:, :-1]], axis=1)
        x, _ = self.after(prefix, tokens)
        # The head is the largest product: only positions before a target reach it.
        x = jnp.concatenate([_last(x, inputs), x[:, inputs.shape[1] :]], axis=1)
        return self.head(x)

    def prefill(
        self,
        prompt: Float[Array, "P H"] | Float[Array, "B P H"],
        inputs: Int[Array, "B T"],
        length: int,
    ) -> tuple[Float[Array, "B V"], Cache]:
        """Runs prompt and inputs and scores the first target token of `length`."""
        prefix, real = self.prefix(prompt), inputs >= 0
        x, seen = self.after(prefix, inputs)
        cache = Cache(
            start=prompt.shape[-2] + real.sum(axis=1),
            step=jnp.zeros((), jnp.int32),
            prefix=prefix,
            inputs=seen,
            real=real[:, None],
            past=layers.nothing_yet(seen, length),
        )
        return self.head(_last(x, inputs))[:, 0], cache

    def decode(
        self, cache: Cache, tokens: Int[Array, " B"]
    ) -> tuple[Float[Array, "B V"], Cache]:
        """Scores the token after `tokens` and adds them to the cache."""
        c, step = self.config, cache.step
        rotation = angles(c.rope, c.head_dim, (cache.start + step)[:, None])
        mask = (jnp.arange(cache.past[0][0].shape[2]) <= step)[None, None]

        def body(
            layer: Layer, x: Array, given: tuple[KeysValues, KeysValues, KeysValues]
        ) -> tuple[Array, KeysValues]:
            prefix, inputs, past = given
            earlier = [Segment(*prefix), Segment(*inputs, cache.real)]
            return layer(x, rotation, earlier, mask, past, step)

        given = (cache.prefix, cache.inputs, cache.past)
        x, past = self.run(body, self.token_embedder(tokens[:, None]), given)
        return self.head(x)[:, 0], cache._replace(past=past, step=step + 1)


def _last(x: Float[Array, "B S H"], inputs: Int[Array, "B T"]) -> Float[Array, "B 1 H"]:
    """Picks the row of the last real input token."""
    last = jnp.sum(inputs >= 0, axis=1) - 1
    return jnp.take_along_axis(x, last[:, None, None], axis=1, mode="clip")


def nothing(config: LlamaConfig, rows: int, dtype: DTypeLike) -> Stacked:
    """Makes the keys and values of a prompt without rows."""
    c = config
    shape = (c.num_hidden_layers, c.num_key_value_heads, rows, 0, c.head_dim)
    return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)


def take(prefix: Stacked, rows: Int[Array, " B"]) -> Stacked:
    """Chooses each row's keys and values among those of K prompts."""
    # On a mesh, rows of any lane are on any device.
    whole = (sharding.constrain(x, None, "heads", None, None, None) for x in prefix)
    key, value = (_rows_of(x, rows) for x in whole)
    return key, value


def _rows_of(
    x: Float[Array, "layers N K P D"], rows: Int[Array, " B"]
) -> Float[Array, "layers N B P D"]:
    # In float32: so are then the sums of its gradient over the rows of a lane.
    taken = jnp.take(x.astype(jnp.float32), rows, axis=2, mode="clip")
    return taken.astype(x.dtype)


@functools.cache
def module(config: LlamaConfig, remat: bool = False) -> Llama:
    """Makes the Flax module of a config, one object per config."""
    return Llama(config, remat)


def init_params(config: LlamaConfig, key: Key[Array, ""]) -> Params:
    """Draws float32 parameters, boxed with their sharding names."""
    token = jnp.zeros((1, 1), jnp.int32)
    empty = nothing(config, 1, jnp.float32)
    drawn = module(config).init(key, empty, token, token, method="logits")
    boxed = cast(Params, drawn["params"])
    # An embedding of small values: a tied head would else give huge logits.
    embedding = boxed["token_embedder"]["embedding"]
    boxed["token_embedder"]["embedding"] = jax.tree.map(lambda x: x * 0.02, embedding)
    return boxed

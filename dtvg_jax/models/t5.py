"""T5 v1.0, v1.1 (FLAN, LM-adapted), mT5, umT5, with T5X's parameter names.

Scores are not divided by the root of the head size: T5 has that in its initialiser.
Relative positions are bucketed in NumPy, as constants of the program: an accelerator's
logarithm could put a distance at the edge of a bucket into the next one.
"""

import functools
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from dtvg_jax.models import attention, layers, sharding
from dtvg_jax.models.layers import Apart, KeysValues, Stacked
from dtvg_jax.models.relative_positions import RelativePositions
from dtvg_jax.models.t5_config import T5Config
from dtvg_jax.shapes import Params


class Cache(NamedTuple):
    """What decoding keeps between two steps.

    step: the number of the next target
    memory, past: keys and values of the encoder's output and of the targets
    """

    step: Int[Array, ""]
    memory: Stacked | Apart
    memory_lengths: Int[Array, " B"]
    past: Stacked | Apart


def positions(config: T5Config, *, both: bool) -> RelativePositions:
    """Makes the relative positions of a stack or of a layer."""
    return RelativePositions(
        heads=config.num_heads,
        count=config.relative_attention_num_buckets,
        longest=config.relative_attention_max_distance,
        scale=config.d_model**-0.5,
        both=both,
    )


class Attention(nn.Module):
    """Multi-head attention over keys and values that `project` made."""

    config: T5Config

    def setup(self) -> None:
        c = self.config
        width = c.num_heads * c.d_kv
        self.query = layers.Dense(width, ("embed", "joined_kv"))
        self.key = layers.Dense(width, ("embed", "joined_kv"))
        self.value = layers.Dense(width, ("embed", "joined_kv"))
        self.out = layers.Dense(c.d_model, ("joined_kv", "embed"))
        self.dropout = layers.Dropout(c.dropout_rate)

    def project(self, x: Float[Array, "B k H"]) -> KeysValues:
        """Makes keys and values of `x`, heads first."""
        key, value = (
            layers.split_heads(f(x), self.config.num_heads, self.config.d_kv)[:, :, 0]
            for f in (self.key, self.value)
        )
        return key, value

    def __call__(
        self,
        x: Float[Array, "B q H"],
        seen: attention.Segment,
        bias: Float[Array, "N q k"] | None = None,
    ) -> Float[Array, "B q H"]:
        query = layers.split_heads(
            self.query(x), self.config.num_heads, self.config.d_kv
        )
        y = attention.attend(query, [seen], bias, self.dropout)
        return self.out(layers.join_heads(y))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, pre-normed and residual."""

    config: T5Config

    def setup(self) -> None:
        c = self.config
        if c.bias_per_layer:
            self.relpos_bias = positions(c, both=True)
        self.pre_attention_layer_norm = layers.RMSNorm(c.layer_norm_epsilon)
        self.attention = Attention(c)
        self.pre_mlp_layer_norm = layers.RMSNorm(c.layer_norm_epsilon)
        self.mlp = layers.Mlp(c.d_ff, c.activations, c.dropout_rate)
        self.dropout = layers.Dropout(c.dropout_rate)

    def __call__(
        self,
        x: Float[Array, "B k H"],
        lengths: Int[Array, " B"],
        bias: Float[Array, "N k k"] | None,
    ) -> Float[Array, "B k H"]:
        """Runs the layer, without `bias` by its own relative positions."""
        if bias is None:
            bias = self.relpos_bias(x.shape[1], x.shape[1])
        y = self.pre_attention_layer_norm(x)
        seen = attention.Segment(*self.attention.project(y), lengths=lengths)
        y = self.attention(y, seen, bias)
        x = x + self.dropout(y)
        y = self.mlp(self.pre_mlp_layer_norm(x))
        return sharding.constrain(x + self.dropout(y), "batch", "length", "width")


class DecoderLayer(nn.Module):
    """Self-attention, attention to the encoder and feed-forward, likewise."""

    config: T5Config

    def setup(self) -> None:
        c = self.config
        if c.bias_per_layer:
            self.relpos_bias = positions(c, both=False)
        self.pre_self_attention_layer_norm = layers.RMSNorm(c.layer_norm_epsilon)
        self.self_attention = Attention(c)
        self.pre_cross_attention_layer_norm = layers.RMSNorm(c.layer_norm_epsilon)
        self.encoder_decoder_attention = Attention(c)
        self.pre_mlp_layer_norm = layers.RMSNorm(c.layer_norm_epsilon)
        self.mlp = layers.Mlp(c.d_ff, c.activations, c.dropout_rate)
        self.dropout = layers.Dropout(c.dropout_rate)

    def memory(self, encoded: Float[Array, "B m H"]) -> KeysValues:
        """Makes keys and values of the encoder's output."""
        return self.encoder_decoder_attention.project(encoded)

    def __call__(
        self,
        x: Float[Array, "B q H"],
        memory: attention.Segment,
        bias: Float[Array, "N q k"] | None,
        past: KeysValues | None = None,
        index: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B q H"], KeysValues]:
        """Runs the layer, without `bias` by its own relative positions.

        With `past`, on one position that is written at `index`.
        """
        y = self.pre_self_attention_layer_norm(x)
        seen = self.self_attention.project(y)
        if past is not None and index is not None:
            key, value = (
                layers.write(*pair, index) for pair in zip(past, seen, strict=True)
            )
            seen = key, value
        length = seen[0].shape[2]
        if bias is None:
            bias = layers.row(self.relpos_bias(length, length), index)
        mask = layers.row(jnp.asarray(np.tri(length, dtype=bool))[None], index)
        y = self.self_attention(y, attention.Segment(*seen, mask), bias)
        x = x + self.dropout(y)
        y = self.pre_cross_attention_layer_norm(x)
        x = x + self.dropout(self.encoder_decoder_attention(y, memory))
        y = self.mlp(self.pre_mlp_layer_norm(x))
        x = sharding.constrain(x + self.dropout(y), "batch", "length", "width")
        return x, seen


class Encoder(nn.Module):
    """The encoder's stack of layers."""

    config: T5Config
    remat: bool = False

    def setup(self) -> None:
        c = self.config
        if not c.bias_per_layer:
            self.relpos_bias = positions(c, both=True)
        self.layers = EncoderLayer(c)
        self.encoder_norm = layers.RMSNorm(c.layer_norm_epsilon)
        self.dropout = layers.Dropout(c.dropout_rate)

    def __call__(
        self, x: Float[Array, "B k H"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B k H"]:
        c, length = self.config, x.shape[1]
        bias = None if c.bias_per_layer else self.relpos_bias(length, length)

        def body(layer: EncoderLayer, x: Array, _: None) -> tuple[Array, None]:
            return layer(x, lengths, bias), None

        x = self.dropout(x)
        x, _ = layers.run(body, self.layers, c.num_layers, x, remat=self.remat)
        return self.dropout(self.encoder_norm(x))


class Decoder(nn.Module):
    """The decoder's stack of layers: on whole targets, or position by position."""

    config: T5Config
    remat: bool = False

    def setup(self) -> None:
        c = self.config
        if not c.bias_per_layer:
            self.relpos_bias = positions(c, both=False)
        self.layers = DecoderLayer(c)
        self.decoder_norm = layers.RMSNorm(c.layer_norm_epsilon)
        self.dropout = layers.Dropout(c.dropout_rate)
        if not c.tied_head:
            self.logits_dense = layers.Head(c.vocab_size)

    def bias(
        self, length: int, index: Int[Array, ""] | None = None
    ) -> Float[Array, "N q k"] | None:
        """Gives the relative positions that all layers share, if they do."""
        if self.config.bias_per_layer:
            return None
        return layers.row(self.relpos_bias(length, length), index)

    def __call__(
        self,
        x: Float[Array, "B q H"],
        encoded: Float[Array, "B m H"],
        lengths: Int[Array, " B"],
    ) -> Float[Array, "B q H"]:
        """Runs all positions at once; `lengths` are those of `encoded`."""
        bias = self.bias(x.shape[1])

        def body(layer: DecoderLayer, x: Array, _: None) -> tuple[Array, None]:
            memory = attention.Segment(*layer.memory(encoded), lengths=lengths)
            return layer(x, memory, bias)[0], None

        x, count = self.dropout(x), self.config.num_decoder_layers
        x, _ = layers.run(body, self.layers, count, x, remat=self.remat)
        return self.dropout(self.decoder_norm(x))

    def memory(self, encoded: Float[Array, "B m H"]) -> Stacked | Apart:
        """Makes keys and values of the encoder's output, for `step`."""

        def body(layer: DecoderLayer, x: Array, _: None) -> tuple[Array, KeysValues]:
            return x, layer.memory(x)

        count = self.config.num_decoder_layers
        return layers.run(body, self.layers, count, encoded)[1]

    def step(
        self, x: Float[Array, "B 1 H"], cache: Cache
    ) -> tuple[Float[Array, "B 1 H"], Cache]:
        """Runs the next position and adds it to the cache."""
        index = cache.step
        bias = self.bias(cache.past[0][0].shape[2], index)

        def body(
            layer: DecoderLayer, x: Array, given: tuple[KeysValues, KeysValues]
        ) -> tuple[Array, KeysValues]:
            memory, past = given
            seen = attention.Segment(*memory, lengths=cache.memory_lengths)
            return layer(x, seen, bias, past, index)

        given, count = (cache.memory, cache.past), self.config.num_decoder_layers
        x, past = layers.run(body, self.layers, count, x, given)
        cache = cache._replace(past=past, step=index + 1)
        return self.decoder_norm(x), cache


class T5(nn.Module):
    """The whole model; its methods are the functions of a backbone."""

    config: T5Config
    remat: bool = False  # a layer's inner values are computed again, not kept

    def setup(self) -> None:
        c = self.config
        self.token_embedder = layers.Embedder(c.vocab_size, c.d_model)
        self.encoder = Encoder(c, self.remat)
        self.decoder = Decoder(c, self.remat)

    def encode(
        self,
        prompt: Float[Array, "P H"] | Float[Array, "#B P H"],
        inputs: Int[Array, "B T"],
    ) -> tuple[Float[Array, "B m H"], Int[Array, " B"]]:
        """Encodes prompt and inputs; gives how many positions are real, too."""
        x = layers.prepend(prompt, self.token_embedder(inputs))
        lengths = prompt.shape[-2] + jnp.sum(inputs >= 0, axis=1)
        return self.encoder(x, lengths), lengths

    def head(self, x: Float[Array, "B q H"]) -> Float[Array, "B q V"]:
        """Gives float32 logits of the decoder's output."""
        # T5 1.0 only: its tied embedding is of unit variance, too large for a head.
        if self.config.scale_outputs:
            x = x * self.config.d_model**-0.5
        if self.config.tied_head:
            logits = self.token_embedder.attend(x)
        else:
            logits = self.decoder.logits_dense(x)
        return sharding.constrain(logits, "batch", "length", "vocab")

    def prefix(
        self, prompt: Float[Array, "P H"] | Float[Array, "B P H"]
    ) -> Float[Array, "#B P H"]:
        """Gives the prompt itself: the encoder mixes its rows with the tokens."""
        return prompt[None] if prompt.ndim == 2 else prompt

    def logits(
        self,
        prefix: Float[Array, "#B P H"],
        inputs: Int[Array, "B T"],
        targets: Int[Array, "B L"],
    ) -> Float[Array, "B L V"]:
        """Scores every target token given the ones before it."""
        encoded, lengths = self.encode(prefix, inputs)
        start = jnp.full((targets.shape[0], 1), self.config.decoder_start_id)
        before = jnp.concatenate([start.astype(targets.dtype), targets[:, :-1]], axis=1)
        return self.head(self.decoder(self.token_embedder(before), encoded, lengths))

    def prefill(
        self,
        prompt: Float[Array, "P H"] | Float[Array, "B P H"],
        inputs: Int[Array, "B T"],
        length: int,
    ) -> tuple[Float[Array, "B V"], Cache]:
        """Encodes once and scores the first target token of `length`."""
        encoded, lengths = self.encode(prompt, inputs)
        memory = self.decoder.memory(encoded)
        past = layers.nothing_yet(memory, length)
        cache = Cache(jnp.zeros((), jnp.int32), memory, lengths, past)
        start = self.config.decoder_start_id
        return self.decode(cache, jnp.full(inputs.shape[:1], start, jnp.int32))

    def decode(
        self, cache: Cache, tokens: Int[Array, " B"]
    ) -> tuple[Float[Array, "B V"], Cache]:
        """Scores the token after `tokens` and adds them to the cache."""
        x, cache = self.decoder.step(self.token_embedder(tokens[:, None]), cache)
        return self.head(x)[:, 0], cache


def take(
    prefix: Float[Array, "K P H"], rows: Int[Array, " B"]
) -> Float[Array, "B P H"]:
    """Chooses each row's prompt among K."""
    # On a mesh, rows of any lane are on any device.
    whole = sharding.constrain(prefix, None, None, None)
    return jnp.take(whole, rows, axis=0, mode="clip")


@functools.cache
def module(config: T5Config, remat: bool = False) -> T5:
    """Makes the Flax module of a config, one object per config."""
    return T5(config, remat)


def init_params(config: T5Config, key: Key[Array, ""]) -> Params:
    """Draws float32 parameters by T5's rules, boxed with their sharding names."""
    empty = jnp.zeros((0, config.d_model))
    token = jnp.zeros((1, 1), jnp.int32)
    model = module(config)
    drawn = model.init(key, empty[None], token, token, method="logits")
    boxed = cast(Params, drawn["params"])
    # T5 folds the root of the head size into the query's initialiser.
    for stack in ("encoder", "decoder"):
        for name, part in boxed[stack]["layers"].items():
            if name.endswith("attention"):
                part["query"] = jax.tree.map(
                    lambda x: x * config.d_kv**-0.5, part["query"]
                )
    return boxed

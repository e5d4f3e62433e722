"""The layers that T5 and Llama are made of, with their sharding names.

Parameters take the dtype they are stored in; activations follow it; norms and logits
are float32. Heads come first, `[N, B, ...]`, so that keys shared by all
rows and keys of one row give scores of one layout without a transpose.
"""

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from dtvg_jax.models import sharding

ACTIVATIONS = {
    "relu": nn.relu,
    "gelu": lambda x: nn.gelu(x, approximate=True),  # T5's "gelu_new"
    "silu": nn.silu,
    "linear": lambda x: x,
}

# Stacks of at most this many layers are unrolled: as a loop, a step of the miniature
# takes 1.3 times as long (docs/performance.md).
UNROLLED = 4
# Stacks of at most this many layers are `apart` where a CPU decodes.
APART = 12

# Keys and values of a layer; of one row if all rows share them.
KeysValues = tuple[Float[Array, "N _ _ D"], Float[Array, "N _ _ D"]]
# Those of all layers of a stack, or of each layer.
Stacked = tuple[Float[Array, "layers N _ _ D"], Float[Array, "layers N _ _ D"]]
Apart = tuple[list[Float[Array, "N _ _ D"]], list[Float[Array, "N _ _ D"]]]

Layer = TypeVar("Layer", bound=nn.Module)
# (layer, x, what this layer is given) -> (x, what is kept of this layer).
Body = Callable[[Layer, Array, PyTree], tuple[Array, PyTree]]


def split_heads(
    x: Float[Array, "B q M"], heads: int, size: int
) -> Float[Array, "N B g q D"]:
    """Splits the last axis into `heads` key/value heads, groups and head size."""
    x = x.reshape(*x.shape[:2], heads, -1, size).transpose(2, 0, 3, 1, 4)
    return sharding.constrain(x, "heads", "batch", None, "length", "kv")


def join_heads(x: Float[Array, "N B g q D"]) -> Float[Array, "B q M"]:
    """Undoes `split_heads`."""
    n, b, g, q, d = x.shape
    return x.transpose(1, 3, 0, 2, 4).reshape(b, q, n * g * d)


def write(
    past: Float[Array, "N B k D"], new: Float[Array, "N B 1 D"], index: Int[Array, ""]
) -> Float[Array, "N B k D"]:
    """Puts one position into a cache."""
    return jax.lax.dynamic_update_slice_in_dim(past, new, index, axis=2)


def nothing_yet(seen: Stacked | Apart, length: int) -> Stacked | Apart:
    """Makes a cache of `length` positions, of the form of keys and values."""
    return jax.tree.map(
        lambda x: jnp.zeros((*x.shape[:-2], length, x.shape[-1]), x.dtype), seen
    )


def parameter(
    module: nn.Module,
    name: str,
    init: nn.initializers.Initializer,
    axes: tuple[str, ...],
    shape: tuple[int, ...],
) -> Array:
    """Declares a parameter whose axes are named for sharding, and gathers it.

    It is gathered here, in the body of the layer that reads it, so that only one
    layer's parameters are whole at a time.
    """
    value = module.param(name, nn.with_logical_partitioning(init, axes), shape)
    return sharding.gathered(cast(Array, value), axes)


def row(
    square: Shaped[Array, "n k k"], index: Int[Array, ""] | None
) -> Shaped[Array, "n q k"]:
    """Takes one query's row of a mask or bias; all rows without a (traced) index."""
    if index is None:
        return square
    return jnp.take(square, index[None], axis=1, mode="clip")


def run(
    body: Body[Layer],
    layer: Layer,
    count: int,
    x: Array,
    given: PyTree[Array] | None = None,
    *,
    remat: bool = False,
) -> tuple[Array, PyTree[Array]]:
    """Runs a stack: one body for `count` layers, whose parameters are `[count, ...]`.

    `given` and what is kept of the layers are `[count, ...]` too. With `remat` a
    layer's activations are computed again for gradients, not kept. Where the parameters
    are lists of each layer's arrays, so is what is kept, and nothing is a loop.
    """
    if any(map(_is_list, jax.tree.leaves(layer.variables, is_leaf=_is_list))):
        return _in_a_row(body, layer, count, x, given)
    if remat:
        # Inside a loop XLA cannot merge the two computations, so no barrier is needed.
        body = nn.remat(body, prevent_cse=False)
    elif sharding.gathers():
        # Otherwise the gathered parameters of all layers would be kept for gradients.
        body = nn.remat(body, prevent_cse=False, policy=sharding.keeps)
    looped = remat or sharding.gathers() or count > UNROLLED
    unroll = 1 if looped else count
    scan = nn.scan(
        body,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        length=count,
        unroll=unroll,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
    return cast(tuple[Array, PyTree[Array]], scan(layer, x, given))


def _in_a_row(
    body: Body[Layer], layer: Layer, count: int, x: Array, given: PyTree
) -> tuple[Array, PyTree]:
    """Runs layers that are apart; `given` may be stacked."""
    every = []
    for number in range(count):
        pick = functools.partial(_pick, number)
        one = nn.map_variables(body, "params", trans_in_fn=pick)
        x, kept = one(layer, x, pick(given))
        every.append(kept)
    return x, jax.tree.map(lambda *kept: list(kept), *every)


def _pick(number: int, tree: PyTree) -> PyTree[Array]:
    return jax.tree.map(lambda leaf: leaf[number], tree, is_leaf=_is_list)


def _is_list(leaf: object) -> bool:
    return isinstance(leaf, list)


class Dropout(nn.Module):
    """Zeroes elements at `rate` and scales the rest, if a dropout key is given."""

    rate: float

    @property
    def active(self) -> bool:
        """Tells whether anything is dropped."""
        return self.rate > 0.0 and self.has_rng("dropout")

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        if not self.active:
            return x
        keep = dropout_mask(self.make_rng("dropout"), self.rate, x.shape)
        return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros_like(x))


def dropout_mask(key: Array, rate: float, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """Draws which elements stay, with probability 1 - `rate` to within 1e-5.

    Two 16-bit draws come from each random word: the generator is what dropout costs.
    """
    words = jax.random.bits(key, (*shape[:-1], -(-shape[-1] // 2)), jnp.uint32)
    draws = jax.lax.bitcast_convert_type(words, jnp.uint16)
    draws = draws.reshape(*shape[:-1], -1)[..., : shape[-1]]
    return draws >= jnp.uint16(round(rate * 2**16))


class Dense(nn.Module):
    """A linear map of the last axis; `axes` name the kernel's two for sharding."""

    features: int
    axes: tuple[str, str]
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        shape = (x.shape[-1], self.features)
        init = nn.initializers.normal(x.shape[-1] ** -0.5)
        kernel = parameter(self, "kernel", init, self.axes, shape)
        y = jnp.dot(x, kernel)
        # Ranks are made equal by hand: the tests forbid JAX to promote them.
        if self.use_bias:
            zeros = nn.initializers.zeros
            bias = parameter(self, "bias", zeros, self.axes[1:], (self.features,))
            y = y + jnp.expand_dims(bias, tuple(range(y.ndim - 1)))
        return y


class RMSNorm(nn.Module):
    """Divides by the root mean square, taken in float32 with no centring.

    `axis` names the last axis for sharding; a vector is too short to be spread.
    """

    epsilon: float
    axis: str = "width"

    @nn.compact
    def __call__(self, x: Float[Array, "... H"]) -> Float[Array, "... H"]:
        ones = nn.initializers.ones
        scale = parameter(self, "scale", ones, (self.axis,), (x.shape[-1],))
        # As transformers: float32 until the root, the scale in the dtype of `x`.
        wide = x.astype(jnp.float32)
        power = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(power + self.epsilon)
        return wide.astype(x.dtype) * jnp.expand_dims(scale, tuple(range(x.ndim - 1)))


class Embedder(nn.Module):
    """The token embedding; also the output head where that is tied to it."""

    vocabulary: int
    width: int

    def setup(self) -> None:
        self.embedding = parameter(
            self,
            "embedding",
            nn.initializers.normal(1.0),
            ("vocab", "embed"),
            (self.vocabulary, self.width),
        )

    def __call__(self, tokens: Int[Array, "B q"]) -> Float[Array, "B q H"]:
        # Clipping sends the padding -1 to row 0, which every mask then hides.
        x = jnp.take(self.embedding, tokens, axis=0, mode="clip")
        return sharding.constrain(x, "batch", "length", "width")

    def attend(self, x: Float[Array, "B q H"]) -> Float[Array, "B q V"]:
        """Scores every vocabulary row against `x`, in float32."""
        return jnp.einsum(
            "bqh,vh->bqv", x, self.embedding, preferred_element_type=jnp.float32
        )


class Head(nn.Module):
    """An output head of its own, with float32 logits."""

    vocabulary: int

    @nn.compact
    def __call__(self, x: Float[Array, "B q H"]) -> Float[Array, "B q V"]:
        init = nn.initializers.normal(x.shape[-1] ** -0.5)
        shape = (x.shape[-1], self.vocabulary)
        kernel = parameter(self, "kernel", init, ("embed", "vocab"), shape)
        return jnp.einsum("bqh,hv->bqv", x, kernel, preferred_element_type=jnp.float32)


class Mlp(nn.Module):
    """A feed-forward layer, gated if there are two activations.

    One activation: `wi`; two: `wi_0` is activated by the first, `wi_1` by the second,
    and their product is passed on.
    """

    width: int
    activations: tuple[str, ...]
    dropout_rate: float = 0.0
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B q H"]) -> Float[Array, "B q H"]:
        parts = []
        for i, activation in enumerate(self.activations):
            name = "wi" if len(self.activations) == 1 else f"wi_{i}"
            y = Dense(self.width, ("embed", "mlp"), self.use_bias, name=name)(x)
            parts.append(ACTIVATIONS[activation](y))
        hidden = functools.reduce(jnp.multiply, parts)
        hidden = sharding.constrain(hidden, "batch", "length", "mlp")
        hidden = Dropout(self.dropout_rate)(hidden)
        return Dense(x.shape[-1], ("mlp", "embed"), self.use_bias, name="wo")(hidden)


def prepend(
    prompt: Float[Array, "P H"] | Float[Array, "#B P H"], x: Float[Array, "B T H"]
) -> Float[Array, "B R H"]:
    """Puts prompt rows in front of embedded tokens: R = P + T rows."""
    if prompt.ndim == 2:
        prompt = prompt[None]
    prompt = jnp.broadcast_to(prompt, (x.shape[0], *prompt.shape[1:]))
    x = jnp.concatenate([prompt.astype(x.dtype), x], axis=1)
    return sharding.constrain(x, "batch", "length", "width")

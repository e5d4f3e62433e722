"""Attention over segments of keys: written out, or by cuDNN's fused kernel."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from dtvg_jax.models import layers, sharding

LARGEST_HEAD = 128  # of cuDNN's kernel on every GPU that has it; Hopper takes 256
OLDEST_GPU = 8.0  # Ampere's compute capability: JAX refuses the kernel on older ones

_CUDNN: contextvars.ContextVar[bool | None] = contextvars.ContextVar(
    "cudnn", default=None
)


@contextlib.contextmanager
def kernel(cudnn: bool) -> Iterator[None]:
    """Makes what is traced inside use cuDNN's kernel or not, wherever it will run."""
    token = _CUDNN.set(cudnn)
    try:
        yield
    finally:
        _CUDNN.reset(token)


class Segment(NamedTuple):
    """Keys and values that a query may look at, and which of them are visible.

    With one row (r = 1) the keys and values are shared by all rows of the batch.
    `lengths` count the real keys of each row, those before its padding.
    """

    key: Float[Array, "N r k D"]
    value: Float[Array, "N r k D"]
    mask: Bool[Array, "#b #q k"] | None = None
    lengths: Int[Array, " b"] | None = None


def attend(
    query: Float[Array, "N B g q D"],
    segments: Sequence[Segment],
    bias: Float[Array, "N q k"] | None = None,
    dropout: layers.Dropout | None = None,
) -> Float[Array, "N B g q D"]:
    """Attends over all segments with one softmax, unscaled.

    Segments are never concatenated: a prefix that the rows share stays one copy, and a
    cache of prompt, inputs and targets is used as it is. A row that sees nothing gets
    the mean of the values, not NaN. On an NVIDIA GPU cuDNN's kernel computes bfloat16
    without dropout where it supports the shapes.
    """
    drops = dropout is not None and dropout.active
    if not drops and _has_cudnn() and _fits(query, segments):
        return fused(query, segments, bias, "cudnn")
    scores = [_scores(query, segment, bias) for segment in segments]
    weights = jax.nn.softmax(jnp.concatenate(scores, -1), axis=-1)
    if dropout is not None:
        weights = dropout(weights)
    weights = weights.astype(query.dtype)
    total, start = jnp.zeros_like(query), 0
    for segment in segments:
        stop = start + segment.value.shape[2]
        total = total + _weighted(weights[..., start:stop], segment)
        start = stop
    return total


def _scores(
    query: Float[Array, "N B g q D"],
    segment: Segment,
    bias: Float[Array, "N q k"] | None,
) -> Float[Array, "N B g q k"]:
    """Scores a segment's keys in float32; the hidden ones get its lowest number."""
    key = segment.key
    if key.shape[1] == 1 != query.shape[1]:
        form, key = "nbgqd,nkd->nbgqk", key[:, 0]
    else:
        form = "nbgqd,nbkd->nbgqk"
    # Accumulated in float32: sums of bfloat16 products would lose the small ones.
    scores = jnp.einsum(form, query, key, preferred_element_type=jnp.float32)
    if bias is not None:
        scores = scores + bias.astype(jnp.float32)[:, None, None]
    mask = _visible(segment)
    if mask is None:
        return scores
    # Not -inf, which gives NaN for a row of padding that sees nothing.
    return jnp.where(mask[None, :, None], scores, jnp.finfo(jnp.float32).min)


def _weighted(
    weights: Float[Array, "N B g q k"], segment: Segment
) -> Float[Array, "N B g q D"]:
    """Sums a segment's values by their weights."""
    value = segment.value
    if value.shape[1] == 1 != weights.shape[1]:
        return jnp.einsum("nbgqk,nkd->nbgqd", weights, value[:, 0])
    return jnp.einsum("nbgqk,nbkd->nbgqd", weights, value)


def fused(
    query: Float[Array, "N B g q D"],
    segments: Sequence[Segment],
    bias: Float[Array, "N q k"] | None,
    implementation: Literal["cudnn", "xla"],
) -> Float[Array, "N B g q D"]:
    """Attends by `jax.nn.dot_product_attention`, over the concatenated segments.

    XLA cancels the transposes against those of `layers.split_heads` and `join_heads`.
    """
    heads, rows, groups, length, size = query.shape

    def joined(parts: Sequence[Float[Array, "N _ _ D"]]) -> Float[Array, "B k N D"]:
        whole = [jnp.broadcast_to(x, (heads, rows, *x.shape[2:])) for x in parts]
        return _even(jnp.concatenate(whole, axis=2), 2).transpose(1, 2, 0, 3)

    key = joined([segment.key for segment in segments])
    # Lengths cost no memory, where a mask is a bias of every query and key.
    if len(segments) == 1 and segments[0].mask is None:
        [(first, _, mask, lengths)] = segments
        if lengths is None:
            lengths = jnp.full(rows, first.shape[2], jnp.int32)
    else:
        mask, lengths = _even(_joined_mask(segments, rows, length), 1, 2)[:, None], None
    y = jax.nn.dot_product_attention(
        _even(query, 3)
        .transpose(1, 3, 0, 2, 4)
        .reshape(rows, -1, heads * groups, size),
        key,
        joined([segment.value for segment in segments]),
        bias=None if bias is None else _even(bias.astype(query.dtype), 1, 2)[None],
        mask=mask,
        scale=1.0,
        key_value_seq_lengths=lengths,
        implementation=implementation,
    )
    y = y[:, :length].reshape(rows, length, heads, groups, size)
    # As keys and values lie: where heads do not divide, XLA would ask cuDNN's
    # partitioner for a part of them, and it fails.
    y = sharding.constrain(y, "batch", "length", "heads", None, "kv")
    return y.transpose(2, 0, 3, 1, 4)


def _even(x: Shaped[Array, "..."], *axes: int) -> Shaped[Array, "..."]:
    """Pads axes to even lengths, which cuDNN's gradients need."""
    widths = [(0, x.shape[i] % 2 if i in axes else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths) if any(width for _, width in widths) else x


def _has_cudnn() -> bool:
    chosen = _CUDNN.get()
    if chosen is not None or jax.default_backend() != "gpu":
        return bool(chosen)
    device = jax.local_devices()[0]
    cuda = "cuda" in device.client.platform_version
    return cuda and float(device.compute_capability) >= OLDEST_GPU


def _fits(query: Float[Array, "N B g q D"], segments: Sequence[Segment]) -> bool:
    """Tells whether cuDNN's kernel supports these shapes and is worth using."""
    *_, length, size = query.shape
    # A single position, or a decoder's few targets, where the mask would cost most.
    small = length == 1 or (len(segments) == 1 and segments[0].mask is not None)
    heads = size % 8 == 0 and size <= LARGEST_HEAD
    return query.dtype == jnp.bfloat16 and heads and not small


def _visible(segment: Segment) -> Bool[Array, "#b #q k"] | None:
    """Makes the mask of a segment, if it has one."""
    if segment.lengths is None:
        return segment.mask
    positions = jnp.arange(segment.key.shape[2])[None]
    return (positions < segment.lengths[:, None])[:, None]


def _joined_mask(
    segments: Sequence[Segment], rows: int, length: int
) -> Bool[Array, "B q k"]:
    masks = []
    for segment in segments:
        shape = (rows, length, segment.key.shape[2])
        mask = _visible(segment)
        seen = jnp.ones(shape, bool) if mask is None else jnp.broadcast_to(mask, shape)
        masks.append(seen)
    return jnp.concatenate(masks, axis=2)

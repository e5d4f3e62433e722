"""T5's relative positions: which bucket holds the distance of two positions."""

import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from dtvg_jax.models import layers


def buckets(
    queries: int, keys: int, *, both: bool, count: int, longest: int
) -> np.ndarray:
    """Gives the bucket of key minus query position, int32 `[queries, keys]`.

    Half of the buckets hold one distance each, the others grow as its logarithm up to
    `longest`. With `both`, keys after the query have buckets of their own; without,
    they all fall into bucket 0 (they are masked).
    """
    distance = np.arange(keys)[None, :] - np.arange(queries)[:, None]
    base = np.zeros_like(distance)
    if both:
        count //= 2
        base = np.where(distance > 0, count, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = count // 2
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / exact)
    ratio = ratio / math.log(longest / exact) * (count - exact)
    far = np.minimum(exact + ratio.astype(np.int32), count - 1)
    return (base + np.where(distance < exact, distance, far)).astype(np.int32)


class RelativePositions(nn.Module):
    """A learned score per head and bucket, of a stack or of a layer.

    `scale` is the deviation of the scores when they are drawn; see `buckets` for the
    rest.
    """

    heads: int
    count: int
    longest: int
    scale: float
    both: bool

    @nn.compact
    def __call__(self, queries: int, keys: int) -> Float[Array, "N q k"]:
        table = layers.parameter(
            self,
            "rel_embedding",
            nn.initializers.normal(self.scale),
            ("heads", "relpos_buckets"),
            (self.heads, self.count),
        )
        index = buckets(
            queries, keys, both=self.both, count=self.count, longest=self.longest
        )
        return jnp.take(table, index, axis=1, mode="clip")

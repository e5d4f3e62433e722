"""TIES and DARE: merges of task vectors, here a start that is then tuned.

The target's own vector is merged with those of all its sources, once; the prompt is
tuned from there.
"""

import abc
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dtvg_jax.errors import InputError, Number, Rate
from dtvg_jax.methods.method import Context, Trainables
from dtvg_jax.methods.prompt_tuning import Tuned


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Merged(Tuned):
    """Tunes a prompt from P_init + scale * merge(T_t, T_1, ..., T_S)."""

    scale: Rate = 1.0

    merges_sources = True

    @abc.abstractmethod
    def merge(
        self, vectors: Float[Array, "N P H"], used: Bool[Array, " N"]
    ) -> Float[Array, "P H"]:
        """Makes one vector of those in use."""

    def init(self, context: Context) -> tuple[Trainables, tuple[()]]:
        """Merges."""
        own = context.start - context.p_init
        vectors = jnp.concatenate([own[None], context.sources])
        used = jnp.concatenate([jnp.ones(1, bool), context.available])
        merged = self.merge(vectors, used)
        return {"prompt": context.p_init + self.scale * merged}, ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ties(_Merged):
    """Trims, elects signs, and averages what agrees (arXiv 2306.01708).

    Attributes:
      density: the share of each vector's numbers that is kept, the largest ones.
      scale: lambda, by which the merged vector is multiplied.
    """

    density: float = 0.2

    called = "ties"
    about = "starts from the TIES merge of the target's and all sources' vectors"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.density <= 1:
            raise InputError(f"density = {self.density!r}: it must be in (0, 1]")

    def merge(
        self, vectors: Float[Array, "N P H"], used: Bool[Array, " N"]
    ) -> Float[Array, "P H"]:
        """Averages, number by number, the kept ones of the elected sign."""
        size = vectors[0].size
        kept = max(1, round(self.density * size))
        magnitudes = jnp.abs(vectors).reshape(-1, size)
        least = jnp.sort(magnitudes, axis=1)[:, size - kept, None, None]
        keep = (jnp.abs(vectors) >= least) & used[:, None, None]
        trimmed = jnp.where(keep, vectors, 0)
        elected = jnp.sign(jnp.sum(trimmed, axis=0))
        agree = (jnp.sign(trimmed) == elected[None]) & (trimmed != 0)
        count = jnp.maximum(jnp.sum(agree, axis=0), 1)
        return jnp.sum(trimmed * agree, axis=0) / count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dare(_Merged):
    """Drops numbers of each vector at random, rescales the rest, and adds up.

    (arXiv 2311.03099, with task arithmetic.)

    Attributes:
      drop: the share of numbers that is dropped.
      drop_seed: of the draw, which all lanes share.
      scale: by which the sum is multiplied.
    """

    drop: float = 0.5
    drop_seed: Number = 0

    called = "dare"
    about = "starts from the DARE merge of the target's and all sources' vectors"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.drop < 1:
            raise InputError(f"drop = {self.drop!r}: it must be in [0, 1)")

    def merge(
        self, vectors: Float[Array, "N P H"], used: Bool[Array, " N"]
    ) -> Float[Array, "P H"]:
        """Adds up what is left of the vectors in use."""
        key = jax.random.key(self.drop_seed)
        keep = jax.random.bernoulli(key, 1 - self.drop, vectors.shape)
        return jnp.sum(vectors * (keep & used[:, None, None]), axis=0) / (1 - self.drop)


METHODS = [Ties(), Dare()]

"""The algebra of task prompt vectors (TPVs): similarity, grouping rules, merge.

Pure functions of arrays for one target; lanes are added by `jax.vmap` elsewhere.
Every rule maps similarities to a mask over sources, so a group that changes is a
changed array and never a new program. Letters: S sources, P prompt rows, H width.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dtvg_jax.errors import InputError

# Scores of groups nearer to each other than this share of the largest squared norm or
# similarity differ by float32 rounding only: they are ties, and the smaller group wins.
TIE = 1e-6

MAX_EXHAUSTIVE_SOURCES = 12
EXACT = jax.lax.Precision.HIGHEST  # accelerators would round to bfloat16


class Similarities(NamedTuple):
    """What a grouping rule sees; values only, gradients never pass through it."""

    target: Float[Array, " S"]  # sim(alpha_s T_s, alpha_t T_t)
    gram: Float[Array, "S S"]  # sim(alpha_i T_i, alpha_j T_j)
    available: Bool[Array, " S"]  # False: never chosen (the target itself, say)


Rule = Callable[[Similarities], Bool[Array, " S"]]


def scaled_row_sum(
    scale: Float[Array, "*S P"], vector: Float[Array, "*S P H"]
) -> Float[Array, "*S H"]:
    """Adds up the rows of `scale * vector`: P times the mean row m(a, T)."""
    # One contraction: XLA's CPU backend is slow at sums over the product, many times.
    return jnp.einsum("...p,...ph->...h", scale, vector, precision=EXACT)


def similarity(
    scale_a: Float[Array, " P"],
    vector_a: Float[Array, "P H"],
    scale_b: Float[Array, " P"],
    vector_b: Float[Array, "P H"],
) -> Float[Array, ""]:
    """Multiplies the scaled mean rows of two TPVs (paper: 1/P^2 <sum_i, sum_j>).

    The released code divides by H as well, which changes neither sign nor order.
    """
    sum_a, sum_b = scaled_row_sum(scale_a, vector_a), scaled_row_sum(scale_b, vector_b)
    return jnp.sum(sum_a * sum_b) / vector_a.shape[0] ** 2


def similarities(
    target_scale: Float[Array, " P"],
    target: Float[Array, "P H"],
    source_scales: Float[Array, "S P"],
    sources: Float[Array, "S P H"],
    available: Bool[Array, " S"],
) -> Similarities:
    """Measures all sources against the target and against each other."""
    target_sum = scaled_row_sum(target_scale, target)
    sums = scaled_row_sum(source_scales, sources)
    # A product and a sum, not a matrix product: duplicates then get equal values to the
    # last bit. P comes last, because XLA multiplies by 1/P, which float32 rounds: a
    # similarity of 0, which still counts as similar, would come out below 0.
    square = target.shape[0] ** 2
    to_target = jnp.sum(sums * target_sum[None, :], axis=-1) / square
    gram = jnp.einsum("ih,jh->ij", sums, sums, precision=EXACT) / square
    return jax.lax.stop_gradient(Similarities(to_target, gram, available))


def merge(
    p_init: Float[Array, "P H"],
    target_scale: Float[Array, " P"],
    target: Float[Array, "P H"],
    group: Bool[Array, " S"],
    source_scales: Float[Array, "S P"],
    sources: Float[Array, "S P H"],
) -> Float[Array, "P H"]:
    """Adds up P_mix = P_init + alpha_t T_t + sum over the group of alpha_s T_s."""
    scales = group[:, None] * source_scales
    added = jnp.einsum("sp,sph->ph", scales, sources, precision=EXACT)
    return p_init + target_scale[:, None] * target + added


def group_target_similarity(
    seen: Similarities, group: Bool[Array, " S"]
) -> Float[Array, ""]:
    """Averages the target similarity over a group; 0 for the empty group."""
    return jnp.sum(seen.target * group) / jnp.maximum(jnp.sum(group), 1)


def knowledge_consistency(
    seen: Similarities, group: Bool[Array, " S"]
) -> Float[Array, ""]:
    """Averages similarity over ordered pairs of members; 0 for fewer than two."""
    size = jnp.sum(group)
    inside = (group[:, None] & group[None, :]) & ~jnp.eye(group.size, dtype=bool)
    return jnp.sum(seen.gram * inside) / jnp.maximum(size * (size - 1), 1)


def _kept(seen: Similarities) -> Bool[Array, " S"]:
    return seen.available & (seen.target >= 0)


def _largest(seen: Similarities) -> Float[Array, ""]:
    """Gives the largest squared norm or similarity of the sources kept."""
    values = jnp.maximum(jnp.diagonal(seen.gram), seen.target)
    return jnp.max(jnp.where(_kept(seen), values, 0), initial=0)


def released(seen: Similarities) -> Bool[Array, " S"]:
    """Takes the first most consistent prefix of the ranking (default; released code).

    Sources with similarity >= 0 are ranked, best first, ties by source order; prefix k
    scores the mean similarity over its ordered pairs (0 for k = 1).
    """
    count = seen.target.size
    if count == 0:
        return seen.available
    kept = _kept(seen)
    order = jnp.argsort(jnp.where(kept, -seen.target, jnp.inf), stable=True)
    gram = seen.gram[order][:, order]
    with_earlier = jnp.sum(jnp.tril(gram, -1), axis=1)
    k = np.arange(1, count + 1)
    consistency = 2 * jnp.cumsum(with_earlier) / np.maximum(k * (k - 1), 1)
    score = jnp.where(k <= jnp.sum(kept), consistency, -jnp.inf)
    last = jnp.argmax(score >= jnp.max(score) - TIE * _largest(seen))
    rank = jnp.argsort(order)
    return kept & (rank <= last)


def target_only(seen: Similarities) -> Bool[Array, " S"]:
    """Takes no source."""
    return jnp.zeros_like(seen.available)


def all_sources(seen: Similarities) -> Bool[Array, " S"]:
    """Takes every available source."""
    return seen.available


def positive_similarity(seen: Similarities) -> Bool[Array, " S"]:
    """Takes every source with similarity >= 0 to the target."""
    return _kept(seen)


def max_consistency(seen: Similarities) -> Bool[Array, " S"]:
    """Takes the most consistent pair, if its consistency is positive.

    Among all subsets of two or more that is the best one: a mean over pairs never
    exceeds its largest pair. Ties go to the pair that comes first in source order.
    """
    count = seen.target.size
    if count < 2:
        return jnp.zeros_like(seen.available)
    pairs = seen.available[:, None] & seen.available[None, :]
    gram = jnp.where(jnp.triu(pairs, 1), seen.gram, -jnp.inf)
    row, column = jnp.divmod(jnp.argmax(gram), count)
    index = np.arange(count)
    return ((index == row) | (index == column)) & (jnp.max(gram) > 0)


def greedy(weight: float) -> Rule:
    """Grows the group while TS + weight * KC grows, best addition first.

    Starts from the source most similar to the target; only sources with similarity >= 0
    are candidates (the paper's objective, searched greedily).
    """

    def rule(seen: Similarities) -> Bool[Array, " S"]:
        kept, tie = _kept(seen), TIE * _largest(seen)

        def add(
            _: Int[Array, ""], carry: tuple[Bool[Array, " S"], Float[Array, ""]]
        ) -> tuple[Bool[Array, " S"], Float[Array, ""]]:
            group, score = carry
            size = jnp.sum(group) + 1
            similar = jnp.sum(seen.target * group) + seen.target
            inside = (group[:, None] & group[None, :]) & ~jnp.eye(
                group.size, dtype=bool
            )
            with_new = 2 * jnp.sum(seen.gram * group[None, :], axis=1)
            pairs = jnp.sum(seen.gram * inside) + with_new
            objective = similar / size + weight * pairs / jnp.maximum(
                size * (size - 1), 1
            )
            objective = jnp.where(kept & ~group, objective, -jnp.inf)
            best = jnp.argmax(objective)
            better = objective[best] > score + tie
            grown = group | (np.arange(group.size) == best)
            return (
                jnp.where(better, grown, group),
                jnp.where(better, objective[best], score),
            )

        empty = (jnp.zeros_like(kept), jnp.array(-jnp.inf, seen.target.dtype))
        return jax.lax.fori_loop(0, kept.size, add, empty)[0] if kept.size else kept

    return rule


def exhaustive(weight: float, most: int = MAX_EXHAUSTIVE_SOURCES) -> Rule:
    """Takes the subset with the highest TS + weight * KC of all 2^S, S <= `most`.

    Only subsets of sources with similarity >= 0 count; ties go to the smaller subset,
    then to source order. Raises InputError for more sources.
    """

    def rule(seen: Similarities) -> Bool[Array, " S"]:
        subsets = _subsets(seen.target.size, most)
        sizes = subsets.sum(axis=1)
        similar = jnp.sum(subsets * seen.target[None, :], axis=1)
        off_diagonal = seen.gram * (1 - np.eye(seen.target.size))
        rows = jnp.einsum("ns,st->nt", subsets, off_diagonal, precision=EXACT)
        pairs = jnp.sum(rows * subsets, axis=1)
        objective = similar / np.maximum(sizes, 1)
        objective += weight * pairs / np.maximum(sizes * (sizes - 1), 1)
        allowed = ~jnp.any((subsets > 0) & ~_kept(seen)[None, :], axis=1)
        # The empty subset comes first in the table and is for no candidates only.
        objective = jnp.where(allowed & (sizes > 0), objective, -jnp.inf)
        best = jnp.argmax(objective >= jnp.max(objective) - TIE * _largest(seen))
        return jnp.asarray(subsets > 0)[best]

    return rule


def _subsets(count: int, most: int) -> Float[np.ndarray, "N {count}"]:
    """Lists all subsets of `count` sources as rows of 0 and 1, small ones first."""
    if count > most:
        raise InputError(
            f"the rule 'exhaustive' looks at all subsets and takes at most "
            f"{most} sources, not {count}; 'greedy' has no limit"
        )
    bits = (np.arange(2**count)[:, None] >> np.arange(count)[None, :]) & 1
    order = np.lexsort([*(-bits.T[::-1]), bits.sum(axis=1)])
    return bits[order].astype(np.float32)

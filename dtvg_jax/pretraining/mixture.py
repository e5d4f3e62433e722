"""Draws what is pretrained on: bases, label maps, the curriculum, batches of ids.

A *base* is one skill in one layout; a *label map* is one way of writing its classes.
The first map of a base is its canonical one. The batch of a step is a pure function of
(seed, step, the bases' weights), so a resumed run draws the same.
"""

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int

from dtvg_jax.errors import Bounds, InputError

Fraction = Annotated[float, Bounds(0, 1)]
Encode = Callable[[list[str]], list[list[int]]]
Ids: TypeAlias = Int[Array, "*shape"] | Int[np.ndarray, "*shape"]


class Batch(NamedTuple):
    """The rows of a step, shortest first; -1 where there is no token."""

    base: Ids  # [B], index of each row's base
    inputs: tuple[Ids, ...]  # [b, t] for each bucket; all b make B
    map: Ids  # [B], index of each row's label map
    targets: Ids  # [B, L]


class Row(NamedTuple):
    """A drawn example."""

    base: int  # index among the bases
    label_map: str
    text: str
    target: str


@runtime_checkable
class Base(Protocol):
    """What the trainer asks of a base; where it comes from is bound in gin."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def maps(self) -> Sequence[str]: ...
    @property
    def early(self) -> bool: ...
    @property
    def weight(self) -> float: ...

    def example(self, rng: random.Random, label_map: str) -> tuple[str, str]: ...


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """When what is shown; times are fractions of the run.

    Early bases alone until `all_bases`, canonical maps alone until `maps_from`, then a
    ramp up to `maps_share` of the rows with another map at `maps_full`. Classes with
    balanced maps from the start are never learned: averaged over maps, what a class
    teaches cancels.
    """

    all_bases: Fraction = 0.3
    maps_from: Fraction = 0.4
    maps_full: Fraction = 0.55
    maps_share: Fraction = 0.7
    least_weight: Fraction = 0.15  # of a base that is known

    def share(self, fraction: float) -> float:
        """Returns the share of rows with another map than the canonical one."""
        ramp = (fraction - self.maps_from) / (self.maps_full - self.maps_from)
        return self.maps_share * min(max(ramp, 0.0), 1.0)


def map_names(bases: Sequence[Base]) -> tuple[str, ...]:
    """Lists the label maps of all bases; the order is the order of the cue rows."""
    return tuple(dict.fromkeys(name for base in bases for name in base.maps))


def base_weights(
    bases: Sequence[Base],
    accuracy: Float[np.ndarray, " N"],
    fraction: float,
    plan: Curriculum,
) -> Float[np.ndarray, " N"]:
    """Weighs bases by what is still to be learned of them, zero before their time."""
    chance = np.array([1 / len(b.classes) if b.classes else 0.0 for b in bases])
    missing = 1 - (accuracy - chance) / (1 - chance)
    weights = np.array([b.weight for b in bases]) * np.clip(
        missing, plan.least_weight, 1.0
    )
    if fraction < plan.all_bases:
        weights = weights * np.array([b.early for b in bases])
    if not weights.sum() > 0:
        raise InputError("no base has `early` set, so there is nothing to start with")
    return weights / weights.sum()


def draw(
    bases: Sequence[Base],
    weights: Float[np.ndarray, " N"],
    share: float,
    seed: int,
    step: int,
    size: int,
) -> list[Row]:
    """Draws the rows of a step; `share` of them have another map than the first."""
    rng = random.Random(f"{seed}/{step}")
    edges = np.cumsum(weights)
    rows = []
    for _ in range(size):
        index = min(int(np.searchsorted(edges, rng.random())), len(bases) - 1)
        base = bases[index]
        label_map = base.maps[0]
        if len(base.maps) > 1 and rng.random() < share:
            label_map = base.maps[1 + int(rng.random() * (len(base.maps) - 1))]
        rows.append(Row(index, label_map, *base.example(rng, label_map)))
    return rows


def tokens(
    rows: Sequence[Row],
    maps: Sequence[str],
    encode: Encode,
    eos: int,
    buckets: Sequence[tuple[int, int]],
    target_length: int,
) -> Batch:
    """Makes arrays of rows, shortest first, in buckets of (rows, tokens).

    A row that is too long for its bucket or whose target is too long is left out: its
    targets are all -1.
    """
    inputs = [ids + [eos] for ids in encode([row.text for row in rows])]
    targets = [ids + [eos] for ids in encode([row.target for row in rows])]
    order = sorted(range(len(rows)), key=lambda i: len(inputs[i]))
    limits = [length for count, length in buckets for _ in range(count)]
    if len(limits) != len(rows):
        raise InputError(f"buckets hold {len(limits)} rows, the batch {len(rows)}")
    fits = [
        len(inputs[i]) <= limit and len(targets[i]) <= target_length
        for i, limit in zip(order, limits, strict=True)
    ]
    parts, start = [], 0
    for count, length in buckets:
        part = [inputs[i] for i in order[start : start + count]]
        parts.append(_padded(part, length))
        start += count
    wanted = [targets[i] if fit else [] for i, fit in zip(order, fits, strict=True)]
    return Batch(
        base=np.array([rows[i].base for i in order], np.int32),
        inputs=tuple(parts),
        map=np.array([maps.index(rows[i].label_map) for i in order], np.int32),
        targets=_padded(wanted, target_length),
    )


def _padded(rows: Sequence[list[int]], length: int) -> Int[np.ndarray, "B {length}"]:
    """Truncates rows to `length` and fills them up with -1."""
    made = np.full((len(rows), length), -1, np.int32)
    for place, row in enumerate(rows):
        made[place, : len(row)] = row[:length]
    return made

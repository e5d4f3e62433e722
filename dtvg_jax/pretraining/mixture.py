"""What is drawn when: bases, label maps, the curriculum, batches of token ids.

A *base* is one skill in one layout; a *label map* is one way of writing its classes.
The first map of a base is its canonical one. The batch of a step is a pure function of
(seed, step, the bases' weights), so a resumed run draws the same.
"""

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from dtvg_jax.errors import InputError

Encode = Callable[[list[str]], list[list[int]]]
Batch = dict[str, Any]


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
    balanced maps from the start are never learnt: averaged over maps, what a class
    teaches cancels.
    """

    all_bases: float = 0.3
    maps_from: float = 0.4
    maps_full: float = 0.55
    maps_share: float = 0.7
    least_weight: float = 0.15  # of a base that is known

    def share(self, fraction: float) -> float:
        """Returns the share of rows with another map than the canonical one."""
        ramp = (fraction - self.maps_from) / (self.maps_full - self.maps_from)
        return self.maps_share * min(max(ramp, 0.0), 1.0)


def map_names(bases: Sequence[Base]) -> tuple[str, ...]:
    """Lists the label maps of all bases; the order is the order of the cue rows."""
    return tuple(dict.fromkeys(name for base in bases for name in base.maps))


def base_weights(
    bases: Sequence[Base], accuracy: np.ndarray, fraction: float, plan: Curriculum
) -> np.ndarray:
    """Weighs bases by what is still to be learnt of them, zero before their time."""
    chance = np.array([1 / len(b.classes) if b.classes else 0.0 for b in bases])
    missing = 1 - (accuracy - chance) / (1 - chance)
    weights = np.array([b.weight for b in bases]) * np.clip(
        missing, plan.least_weight, 1.0
    )
    if fraction < plan.all_bases:
        weights = weights * np.array([b.early for b in bases])
    if not weights.sum() > 0:
        raise InputError("no base has `early` set, so there is nothing to start with.")
    return weights / weights.sum()


def draw(
    bases: Sequence[Base],
    weights: np.ndarray,
    share: float,
    seed: int,
    step: int,
    size: int,
) -> list[tuple[int, str, str, str]]:
    """Draws the rows of a step: base index, map name, input text, target text."""
    rng = random.Random(f"{seed}/{step}")
    edges = np.cumsum(weights)
    rows = []
    for _ in range(size):
        index = min(int(np.searchsorted(edges, rng.random())), len(bases) - 1)
        base = bases[index]
        label_map = base.maps[0]
        if len(base.maps) > 1 and rng.random() < share:
            label_map = base.maps[1 + int(rng.random() * (len(base.maps) - 1))]
        rows.append((index, label_map, *base.example(rng, label_map)))
    return rows


def tokens(
    rows: Sequence[tuple[int, str, str, str]],
    maps: Sequence[str],
    encode: Encode,
    eos: int,
    buckets: Sequence[tuple[int, int]],
    target_length: int,
) -> Batch:
    """Turns rows into arrays, shortest first, cut into buckets of (rows, tokens).

    A row that is too long for its bucket or whose target is too long is left out: its
    targets are all -1.
    """
    inputs = [ids + [eos] for ids in encode([row[2] for row in rows])]
    targets = [ids + [eos] for ids in encode([row[3] for row in rows])]
    order = sorted(range(len(rows)), key=lambda i: len(inputs[i]))
    limits = [length for count, length in buckets for _ in range(count)]
    if len(limits) != len(rows):
        raise InputError(f"buckets hold {len(limits)} rows, the batch {len(rows)}.")
    goal = np.full((len(rows), target_length), -1, np.int32)
    for place, (i, limit) in enumerate(zip(order, limits, strict=True)):
        if len(inputs[i]) <= limit and len(targets[i]) <= target_length:
            goal[place, : len(targets[i])] = targets[i]
    parts, start = [], 0
    for count, length in buckets:
        part = np.full((count, length), -1, np.int32)
        for place, i in enumerate(order[start : start + count]):
            part[place, : len(inputs[i])] = inputs[i][:length]
        parts.append(part)
        start += count
    return {
        "inputs": tuple(parts),
        "targets": goal,
        "base": np.array([rows[i][0] for i in order], np.int32),
        "map": np.array([maps.index(rows[i][1]) for i in order], np.int32),
    }

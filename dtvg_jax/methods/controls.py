"""Controls of what vectors are worth: random, shuffled, and another seed's.

Each groups and merges as `Grouped` does, with any rule, but with other vectors in
place of the sources'. A gain that remains is not due to what the sources know.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dtvg_jax.errors import InputError
from dtvg_jax.methods.dtvg import Grouped
from dtvg_jax.methods.method import PER_LANE, Vectors


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Control(Grouped):
    instead: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The alias, or the name of the control."""
        return self.alias or self.called

    @property
    def description(self) -> str:
        """Says what stands in place of the sources' vectors."""
        return f"control: {self.rule} with {self.instead}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomVectors(_Control):
    """Normal vectors, each of the norm of a source's."""

    called = "random_vectors"
    instead = "random vectors of the sources' norms"

    def vectors(self, learned: Vectors, seed: int) -> Vectors:
        """Draws the vectors of a seed."""
        # The stream is its own: a seed also draws P_init and the order of the data.
        drawn = np.random.default_rng([seed, 1]).normal(size=learned.shape)
        return (drawn * (_norms(learned) / _norms(drawn))).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShuffledRows(_Control):
    """The sources' vectors, the rows of each in another order."""

    called = "shuffled_rows"
    instead = "the sources' vectors, their rows shuffled"

    def vectors(self, learned: Vectors, seed: int) -> Vectors:
        """Shuffles rows, those of each vector by themselves."""
        generator = np.random.default_rng([seed, 2])
        return np.stack([generator.permutation(vector) for vector in learned])


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherSeedVectors(_Control):
    """The sources' vectors that the job's next seed learned, from another P_init."""

    called = "other_seed_vectors"
    instead = "the sources' vectors of another seed"
    bare_vectors: bool = dataclasses.field(default=True, metadata=PER_LANE)

    def check(self, sources: Sequence[str], seeds: Sequence[int]) -> None:
        """Raises InputError where there is no other seed."""
        super().check(sources, seeds)
        if len(seeds) < 2:
            raise InputError(
                f"method {self.full_name!r} takes vectors of another seed: give the "
                "job at least two seeds"
            )

    def source_seed(self, seed: int, seeds: Sequence[int]) -> int:
        """Names the next seed; the first comes after the last."""
        return seeds[(list(seeds).index(seed) + 1) % len(seeds)]


def _norms(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=(1, 2), keepdims=True)


METHODS = [RandomVectors(), ShuffledRows(), OtherSeedVectors()]

"""Means, spreads and paired intervals of small samples."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtrit


class Spread(NamedTuple):
    """A mean and the sample standard deviation; None where one value has none."""

    mean: float
    sd: float | None


class Interval(NamedTuple):
    """A mean difference and the ends of its interval, None for fewer than two pairs."""

    mean: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def within_noise(self) -> bool:
        """True where the interval holds 0, or where there is no interval."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def spread(values: Sequence[float | int]) -> Spread:
    """Takes mean and standard deviation (n - 1) of one value or more."""
    # fsum rounds once, so the order of the rows does not show in the last digits.
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Spread(mean, None)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Spread(mean, math.sqrt(squares / (len(values) - 1)))


def paired_interval(
    differences: Sequence[float | int], level: float = 0.95
) -> Interval:
    """Takes the paired t interval: mean +- t(n - 1) * sd / sqrt(n) of the differences.

    Assumes independent pairs; those of one task or one seed are not quite, so read it
    as a measure of noise and not as a proof.
    """
    count = len(differences)
    mean, sd = spread(differences)
    if sd is None:
        return Interval(mean, None, None, count)
    half = float(stdtrit(count - 1, 0.5 + level / 2)) * sd / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)

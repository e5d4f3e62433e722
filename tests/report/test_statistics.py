"""Means, spreads and intervals, worked out by hand."""

import math

import pytest

from dtvg_jax.report.statistics import paired_interval, spread


@pytest.mark.parametrize(
    "values, mean, sd",
    [
        ([4.0], 4.0, None),
        ([1.0, 3.0], 2.0, math.sqrt(2)),
        ([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 5.0, math.sqrt(32 / 7)),
        ([5.0, 5.0, 5.0], 5.0, 0.0),
    ],
)
def test_spread(values, mean, sd):
    assert spread(values) == pytest.approx((mean, sd))


# Half widths from a printed t table: t(0.975) is 12.706, 4.303, 3.182 for 1, 2, 3
# degrees of freedom.
@pytest.mark.parametrize(
    "differences, mean, half, noise",
    [
        ([1.0, 3.0], 2.0, 12.706 * math.sqrt(2) / math.sqrt(2), True),
        ([1.0, 2.0, 3.0], 2.0, 4.303 * 1 / math.sqrt(3), True),
        ([4.0, 5.0, 6.0], 5.0, 4.303 * 1 / math.sqrt(3), False),
        ([-4.0, -5.0, -6.0], -5.0, 4.303 * 1 / math.sqrt(3), False),
        ([1.0, 3.0, 2.0, 6.0], 3.0, 3.182 * math.sqrt(14 / 3) / 2, True),
        ([0.0, 0.0], 0.0, 0.0, True),
    ],
)
def test_paired_interval(differences, mean, half, noise):
    found = paired_interval(differences)
    assert found.pairs == len(differences)
    expected = (mean, mean - half, mean + half)
    assert found[:3] == pytest.approx(expected, abs=2e-3)
    assert found.within_noise is noise


def test_one_pair_has_no_interval():
    found = paired_interval([3.0])
    assert found == (3.0, None, None, 1) and found.within_noise

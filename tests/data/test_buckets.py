"""Buckets of lengths: the least that holds a row, never above the bound."""

import pytest

from dtvg_jax.data import buckets


@pytest.mark.parametrize(
    ("length", "bound", "want"),
    [
        (0, 512, 32),
        (1, 512, 32),
        (32, 512, 32),
        (33, 512, 48),
        (130, 256, 192),
        (257, 512, 384),
        # Lengths between the last bucket below the bound and the bound.
        (65, 77, 77),
        (5, 8, 8),
        (513, 1024, 1024),
        (1024, 1024, 1024),
    ],
)
def test_the_least_bucket_that_holds_a_row(length: int, bound: int, want: int) -> None:
    assert buckets.bucket(length, bound) == want


def test_a_length_above_the_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="9 tokens do not fit into 8"):
        buckets.bucket(9, 8)

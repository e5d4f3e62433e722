"""P_init follows the reference's random numbers."""

import numpy as np
import pytest

from dtvg_jax.errors import InputError
from dtvg_jax.methods import initial_prompt


def test_ids_are_those_of_the_reference():
    expected = [1078, 2889, 2303, 2301, 107, 4026, 4133, 3206, 1183, 3831]
    assert initial_prompt.p_init_ids(32128, 100, 42)[:10].tolist() == expected


def test_small_vocabulary_gives_different_rows():
    ids = initial_prompt.p_init_ids(40, 40, 3)
    assert sorted(ids.tolist()) == list(range(40))


def test_rows_are_rows_of_the_embedding():
    embedding = np.arange(60, dtype=np.float32).reshape(20, 3)
    rows = initial_prompt.p_init(embedding, 4, 0)
    np.testing.assert_array_equal(rows, embedding[initial_prompt.p_init_ids(20, 4, 0)])


@pytest.mark.parametrize("length", [0, 41])
def test_impossible_lengths_are_named(length):
    with pytest.raises(InputError, match=f"prompt_length = {length}.*1 to 40"):
        initial_prompt.p_init_ids(40, length, 0)

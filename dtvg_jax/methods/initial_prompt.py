"""P_init: the start that all tasks of a seed share."""

import numpy as np
from jaxtyping import Array, Float, Int

from dtvg_jax.errors import InputError

CANDIDATES = 5000


def p_init_ids(
    vocabulary_size: int, length: int, seed: int
) -> Int[np.ndarray, " {length}"]:
    """Draws the vocabulary ids of P_init's rows, all different.

    Raises InputError if the vocabulary has fewer ids than rows are asked for.
    """
    candidates = min(CANDIDATES, vocabulary_size)
    if not 0 < length <= candidates:
        raise InputError(
            f"prompt_length = {length}: P_init takes different rows of the first "
            f"{candidates} vocabulary entries, so give 1 to {candidates}"
        )
    generator = np.random.RandomState(seed)
    # The reference's model builds the prompt twice and trains the second one: seed 42
    # starts 1078 2889 2303.
    generator.permutation(candidates)
    return generator.permutation(candidates)[:length]


def p_init(
    embedding: Float[Array, "V H"] | Float[np.ndarray, "V H"], length: int, seed: int
) -> Float[np.ndarray, "{length} H"]:
    """Takes P_init from the backbone's input embedding, float32."""
    ids = p_init_ids(embedding.shape[0], length, seed)
    return np.asarray(embedding[ids], np.float32)

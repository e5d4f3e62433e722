"""P_init: the start that all tasks of a seed share."""

import numpy as np
from jaxtyping import Array, Float

from dtvg_jax.errors import InputError

CANDIDATES = 5000


def p_init_ids(vocabulary_size: int, length: int, seed: int) -> np.ndarray:
    """Draws the vocabulary ids of P_init's rows, [P], all different.

    As the reference: the second permutation of NumPy's legacy generator (its model
    builds the prompt twice); seed 42 starts 1078 2889 2303. Raises InputError if the
    vocabulary has fewer ids than rows are asked for.
    """
    candidates = min(CANDIDATES, vocabulary_size)
    if not 0 < length <= candidates:
        raise InputError(
            f"prompt_length = {length}: P_init takes different rows of the first "
            f"{candidates} vocabulary entries, so give 1 to {candidates}"
        )
    generator = np.random.RandomState(seed)
    generator.permutation(candidates)
    return generator.permutation(candidates)[:length]


def p_init(
    embedding: Float[Array, "V H"], length: int, seed: int
) -> Float[np.ndarray, "P H"]:
    """Takes P_init from the backbone's input embedding, float32."""
    ids = p_init_ids(embedding.shape[0], length, seed)
    return np.asarray(embedding[ids], np.float32)

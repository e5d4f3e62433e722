"""The generated bases and their vocabulary, by a name that gin files can rely on.

`tasks.miniature` would be a user's own folder where that comes first on Python's path.
"""

from dtvg_jax.data import catalogue
from dtvg_jax.pretraining.mixture import Base


def bases() -> tuple[Base, ...]:
    """Lists what to pretrain on; the order is the order of the cue rows."""
    return catalogue.module("miniature.bases").bases()


def vocabulary_model() -> bytes:
    """Builds the SentencePiece model in which every word is one piece."""
    return catalogue.module("miniature.vocabulary").vocabulary_model()

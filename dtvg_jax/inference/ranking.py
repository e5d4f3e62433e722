"""Rank classification: the answer to a row is the label of the largest likelihood."""

import enum
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dtvg_jax.data import batches, catalogue
from dtvg_jax.errors import InputError, unknown
from dtvg_jax.inference import decoding
from dtvg_jax.inference.decoding import Prompt
from dtvg_jax.models.backbone import Backbone, Vocabulary, token_log_probabilities
from dtvg_jax.shapes import Params

Rank = Callable[[Params, Prompt, Array, Array], Array]


class Scoring(enum.StrEnum):
    """How a row is answered: by decoding, or by comparing the task's labels."""

    GREEDY = "greedy"
    RANK = "rank"


def check_scoring(scoring: str) -> None:
    """Raises InputError for what is neither of the two."""
    if scoring not in list(Scoring):
        raise unknown("scoring", scoring, Scoring)


def make_rank(backbone: Backbone) -> Rank:
    """Builds rank(params, prompt, inputs [B, T], labels [B, C, L]) -> [B, C].

    It gives log p of each label: the sum over its tokens and the end. A label that is
    all padding gets -inf.
    """

    def one(
        params: Params,
        prompt: Prompt,
        inputs: Int[Array, "B T"],
        targets: Int[Array, "B L"],
    ) -> Float[Array, " B"]:
        before = decoding.before_rows(params, prompt, inputs)
        logits = backbone.logits(params, before, inputs, targets, None)
        total = jnp.sum(token_log_probabilities(logits, targets), axis=-1)
        return jnp.where(jnp.any(targets >= 0, axis=-1), total, -jnp.inf)

    return jax.jit(jax.vmap(one, in_axes=(None, None, None, 1), out_axes=1))


def checked(task: str, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """Gives the labels of a task; raises InputError where its answers are free."""
    if labels is None:
        described = ", or describe its labels (docs/own_task.md)"
        raise InputError(
            f"the answers of {task} are no fixed labels, so they cannot be ranked: use "
            f"--scoring=greedy{'' if task in catalogue.known() else described}"
        )
    return labels


def label_ids(
    vocabulary: Vocabulary, labels: Sequence[Sequence[str]]
) -> Int[np.ndarray, "N C L"]:
    """Gives the ids of N lists of labels, each label with its end."""
    tokens = [
        [[*row, vocabulary.eos_id] for row in vocabulary.encode(list(texts))]
        for texts in labels
    ]
    longest = max(len(row) for rows in tokens for row in rows)
    shape = (len(labels), max(map(len, labels)), longest)
    ids = np.full(shape, batches.PADDING, np.int32)
    for n, rows in enumerate(tokens):
        for c, row in enumerate(rows):
            ids[n, c, : len(row)] = row
    return ids


def likeliest(labels: Sequence[str], scores: Float[np.ndarray, "rows C"]) -> list[str]:
    """Gives the label of the largest likelihood for each row; the first of equal."""
    return [labels[int(best)] for best in np.argmax(scores, axis=1)]

"""The tasks of GLUE. MNLI's test split is the matched set, its validation the other."""

import functools

import tensorflow as tf

from . import formats
from .registration import Convention, register, register_labels

_PREMISE = ("premise", "hypothesis")
_SENTENCES = ("sentence1", "sentence2")

register_labels("mnli", _PREMISE)
register_labels("qnli", ("question", "sentence"))
register_labels("qqp", ("question1", "question2"))
register_labels("sst2", ("sentence",))
register_labels("rte", _SENTENCES)
register_labels("mrpc", _SENTENCES)
register_labels("cola", ("sentence",))


def _stsb(steps: int, rounded: tf.DType) -> Convention:
    texts = functools.partial(
        formats.similarity, prefix="stsb", steps=steps, rounded=rounded
    )
    return Convention((texts,), _SENTENCES)


# Targets are rounded to 0.2, as in T5, and scored against the similarities themselves.
# The reference means to, but rounds to 0.1, and scores against the rounded ones.
register(
    "stsb",
    digits=_stsb(5, tf.float32),
    reference=_stsb(10, tf.float64),
)

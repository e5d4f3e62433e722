"""The tasks of GLUE. MNLI's test split is the matched set, its validation the other."""

import functools

import tensorflow as tf

from tasks import formats, metrics, postprocess
from tasks.registration import register, register_labels

_PREMISE = ("premise", "hypothesis")
_SENTENCES = ("sentence1", "sentence2")

register_labels("mnli", _PREMISE, metrics.accuracy)
register_labels("qnli", ("question", "sentence"), metrics.accuracy)
register_labels("qqp", ("question1", "question2"), metrics.accuracy, metrics.f1)
register_labels("sst2", ("sentence",), metrics.accuracy)
register_labels("rte", _SENTENCES, metrics.accuracy)
register_labels("mrpc", _SENTENCES, metrics.accuracy, metrics.f1)
register_labels("cola", ("sentence",), metrics.matthews_correlation)

# The reference rounds to 0.1, in double precision; T5 to 0.2, in single.
register(
    "stsb",
    digits=functools.partial(
        formats.similarity, prefix="stsb", steps=10, rounded=tf.float64
    ),
    words=functools.partial(
        formats.similarity, prefix="stsb", steps=5, rounded=tf.float32
    ),
    postprocess_fn=postprocess.label,
    metric_fns=[metrics.pearson, metrics.spearmanr],
)

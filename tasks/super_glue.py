"""The tasks of SuperGLUE. CB's digits 1 and 2 mean the reverse of MNLI's."""

import functools

from tasks import formats, metrics, postprocess
from tasks.registration import register, register_labels

register_labels(
    "superglue-boolq",
    ("question", "passage"),
    metrics.accuracy,
    words_prefix="boolq",
)
register_labels(
    "superglue-cb",
    ("premise", "hypothesis"),
    metrics.accuracy,
    metrics.f1_multiclass,
    words_prefix="cb",
)
register_labels(
    "superglue-wic",
    ("sentence1", "sentence2", "word"),
    metrics.accuracy,
    words_prefix="wic",
)

# Training has a row for every answer; evaluation one for every query, with all answers.
register(
    "superglue-record",
    digits=functools.partial(formats.record, prefix="superglue-record record query:"),
    words=functools.partial(formats.record, prefix="record query:"),
    postprocess_fn=postprocess.answers,
    metric_fns=[metrics.squad],
    train_map=formats.row_per_answer,
)

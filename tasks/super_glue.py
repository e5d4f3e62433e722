"""The tasks of SuperGLUE. CB's digits 1 and 2 mean the reverse of MNLI's."""

import functools

from tasks import formats, metrics, postprocess
from tasks.registration import register, register_labels
from tasks.table import TRUTH

_DIGITS = ("0", "1")

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
register(
    "superglue-multirc",
    digits=functools.partial(
        formats.multirc, prefix="superglue-multirc", labels=_DIGITS
    ),
    words=functools.partial(formats.multirc, prefix="multirc", labels=TRUTH),
    postprocess_fn=postprocess.grouped_label,
    metric_fns=[metrics.multirc],
)
register(
    "superglue-wsc.fixed",
    digits=functools.partial(
        formats.coreference, prefix="superglue-wsc.fixed", labels=_DIGITS
    ),
    words=functools.partial(formats.coreference, prefix="wsc", labels=TRUTH),
    postprocess_fn=postprocess.label,
    metric_fns=[metrics.accuracy],
)

"""Answers as spans of a context: SQuAD. Evaluation knows all gold answers of a row."""

from tasks import formats, metrics, postprocess
from tasks.registration import register

register(
    "squad",
    digits=formats.question,
    words=formats.question_t5,
    postprocess_fn=postprocess.answers,
    metric_fns=[metrics.squad],
)

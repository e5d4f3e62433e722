"""Answers as spans of a context: SQuAD and four data sets in the form of MRQA.

Evaluation knows all gold answers of a row.
"""

import functools

from tasks import formats, metrics, postprocess
from tasks.registration import register


def _register(name: str, features: tuple[str, ...] | None = None) -> None:
    register(
        name,
        digits=functools.partial(formats.question, task=name),
        words=formats.question_t5,
        postprocess_fn=postprocess.answers,
        metric_fns=[metrics.squad],
        features=features,
    )


# Rows of MRQA carry lists of tokens several times the size of their text.
_MRQA = ("question", "context", "answers")

_register("squad")
_register("nq", _MRQA)
_register("hotpotqa", _MRQA)
_register("newsqa", _MRQA)
_register("searchqa", _MRQA)

"""Answers as spans of a context: SQuAD and four data sets in the form of MRQA.

Evaluation knows all gold answers of a row; the reference only the target. With SQuAD
that is not the first answer, but the printed structure that holds them.
"""

import functools

from . import formats
from .registration import Convention, register


def _register(name: str, features: tuple[str, ...] | None = None) -> None:
    form = formats.question_of_structure if name == "squad" else formats.question
    asked = ("question", "context")
    register(
        name,
        digits=Convention((functools.partial(formats.question, task=name),), asked),
        words=Convention((formats.question_t5,), asked),
        reference=Convention((functools.partial(form, task=name),), asked),
        features=features,
    )


# Rows of MRQA carry lists of tokens several times the size of their text.
_MRQA = ("question", "context", "answers")

_register("squad")
_register("nq", _MRQA)
_register("hotpotqa", _MRQA)
_register("newsqa", _MRQA)
_register("searchqa", _MRQA)

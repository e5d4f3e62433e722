"""The tasks of SuperGLUE. CB's digits 1 and 2 mean the reverse of MNLI's."""

import functools
from collections.abc import Sequence

from . import formats
from .registration import Convention, register, register_labels
from .task_info import TRUTH

_DIGITS = ("0", "1")

register_labels(
    "superglue-boolq",
    ("question", "passage"),
    words_prefix="boolq",
)
register_labels(
    "superglue-cb",
    ("premise", "hypothesis"),
    words_prefix="cb",
)
register_labels(
    "superglue-wic",
    ("sentence1", "sentence2", "word"),
    words_prefix="wic",
)


_QUERY = ("query", "entities", "passage")


def _record(prefix: str) -> Convention:
    texts = functools.partial(formats.record, prefix=prefix)
    return Convention((texts,), _QUERY, formats.row_per_answer)


# Training has a row for every answer; evaluation one for every query, with all answers.
# The reference evaluates, too, on a row for every answer, which alone is right.
register(
    "superglue-record",
    digits=_record("superglue-record record query:"),
    words=_record("record query:"),
    reference=Convention(
        (
            formats.row_per_answer,
            functools.partial(formats.record, prefix="superglue-record record query:"),
        ),
        _QUERY,
    ),
)


def _multirc(prefix: str, labels: Sequence[str]) -> Convention:
    texts = functools.partial(formats.multirc, prefix=prefix, labels=labels)
    return Convention((texts,), ("question", "answer", "paragraph"))


for _name in ("superglue-multirc", "superglue-multirc-by-paragraph"):
    register(
        _name,
        digits=_multirc("superglue-multirc", _DIGITS),
        words=_multirc("multirc", TRUTH),
    )


def _coreference(prefix: str, labels: Sequence[str]) -> Convention:
    texts = functools.partial(formats.coreference, prefix=prefix, labels=labels)
    spans = ("span1_text", "span1_index", "span2_text", "span2_index")
    return Convention((texts,), ("text", *spans))


register(
    "superglue-wsc.fixed",
    digits=_coreference("superglue-wsc.fixed", _DIGITS),
    words=_coreference("wsc", TRUTH),
)

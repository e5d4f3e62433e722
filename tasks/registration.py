"""How a task of the catalogue becomes three SeqIO tasks, one of each convention.

Digits as labels; words as labels, as T5 has them; and the reference with its bugs and
shortcuts (docs/tasks.md), which is that of digits for most tasks.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import seqio
import tensorflow as tf

from . import formats, scoring, splits
from .task_info import CONVENTIONS, KNOWN

Preprocessor = Callable[[tf.data.Dataset], tf.data.Dataset]

# Bytes need no file; a backbone's own vocabulary takes their place before training.
FEATURES = {
    "inputs": seqio.Feature(seqio.ByteVocabulary()),
    "targets": seqio.Feature(seqio.ByteVocabulary()),
}


class Convention(NamedTuple):
    """How a task is formatted.

    texts: makes texts of raw rows, one preprocessor or several.
    train_map: see `tasks.splits.SplitSource`.
    """

    texts: tuple[Preprocessor, ...]
    train_map: Preprocessor | None = None


def register(
    name: str,
    digits: Convention,
    words: Convention | None = None,
    reference: Convention | None = None,
    features: Sequence[str] | None = None,
) -> None:
    """Register the task `name` in every convention; one not given is that of digits.

    Args:
      name: the task's name in the catalogue.
      digits: the convention of labels as digits.
      words: that of T5.
      reference: that of the reference.
      features: see `tasks.splits.SplitSource`.
    """
    info = KNOWN[name]
    forms = {"digits": digits, "words": words, "reference": reference}
    for style, suffix in CONVENTIONS.items():
        form = forms[style] or digits
        scored = scoring.scoring(info, style)
        seqio.TaskRegistry.add(
            info.seqio_name + suffix,
            source=splits.SplitSource(info, form.train_map, features),
            preprocessors=[
                *form.texts,
                seqio.preprocessors.tokenize,
                # Where T5's tasks have it: what a cache keeps does not depend on the
                # lengths of a run.
                seqio.CacheDatasetPlaceholder(),
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features=FEATURES,
            postprocess_fn=scored.postprocess,
            metric_fns=list(scored.metrics),
        )


def register_labels(
    name: str,
    fields: formats.Fields,
    *,
    words_prefix: str | None = None,
    words_fields: formats.Fields | None = None,
    reference_fields: formats.Fields | None = None,
) -> None:
    """Register a classification task.

    Args:
      name: the task's name in the catalogue.
      fields: see `tasks.formats.label`; in the reference's order.
      words_prefix: T5's name of the task, where it is another one.
      words_fields: those of the form with words, where they are not the same in
        alphabetical order.
      reference_fields: what the reference shows, where that is a bug.
    """
    words = KNOWN[name].labels
    assert words is not None
    numbers = [str(digit) for digit in range(len(words))]

    def convention(
        prefix: str, fields: formats.Fields, labels: Sequence[str]
    ) -> Convention:
        texts = functools.partial(
            formats.label, prefix=prefix, fields=fields, labels=labels
        )
        return Convention((texts,))

    register(
        name,
        digits=convention(name, fields, numbers),
        words=convention(words_prefix or name, words_fields or sorted(fields), words),
        reference=convention(name, reference_fields or fields, numbers),
    )

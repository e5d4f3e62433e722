"""Registers a task of the catalogue as three SeqIO tasks, one for each convention.

Digits as labels; words as labels, as T5 has them; and the reference with its bugs and
shortcuts (docs/tasks.md), which is that of digits for most tasks.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
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


class Described(NamedTuple):
    """What SeqIO does not know of a task.

    fields: the fields of a raw row that its input is made of
    labels: the texts that its target can be; None: any text
    """

    fields: tuple[str, ...]
    labels: tuple[str, ...] | None = None


DESCRIBED: dict[str, Described] = {}  # by the name of the SeqIO task


def describe(
    task: str, fields: Iterable[str], labels: Iterable[str] | None = None
) -> None:
    """Describe a SeqIO task that is registered; see `Described`.

    A line for `predict` then has these fields only, and answers can be ranked.

    Raises:
      ValueError: where there is no such task, no field, or no choice of labels.
    """
    if task not in seqio.TaskRegistry.names():
        raise ValueError(
            f"describe: there is no SeqIO task {task!r}: register it first"
        )
    shown, texts = tuple(fields), None if labels is None else tuple(labels)
    if not shown:
        raise ValueError(f"describe: {task!r} needs at least one field")
    if texts is not None and not (
        len(set(texts)) == len(texts) > 1 and all(isinstance(t, str) for t in texts)
    ):
        raise ValueError(f"describe: labels of {task!r} must be several texts: {texts}")
    DESCRIBED[task] = Described(shown, texts)


class Convention(NamedTuple):
    """How a task is formatted.

    texts: makes texts of raw rows, one preprocessor or several.
    fields: see `Described`.
    train_map: see `tasks.splits.SplitSource`.
    """

    texts: tuple[Preprocessor, ...]
    fields: tuple[str, ...]
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
        describe(info.seqio_name + suffix, form.fields, scored.labels)


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

    def convention(style: str, prefix: str, fields: formats.Fields) -> Convention:
        texts = functools.partial(
            formats.label,
            prefix=prefix,
            fields=fields,
            labels=scoring.labels(KNOWN[name], style) or (),
        )
        shown = fields.values() if isinstance(fields, Mapping) else fields
        return Convention((texts,), tuple(dict.fromkeys(shown)))

    register(
        name,
        digits=convention("digits", name, fields),
        words=convention("words", words_prefix or name, words_fields or sorted(fields)),
        reference=convention("reference", name, reference_fields or fields),
    )

"""How a task of the catalogue becomes two SeqIO tasks, of digits and of words."""

import functools
from collections.abc import Callable, Sequence

import seqio
import tensorflow as tf

from tasks import formats, postprocess, splits
from tasks.table import TASKS

Preprocessor = Callable[[tf.data.Dataset], tf.data.Dataset]

# Bytes need no file; a backbone's own vocabulary takes their place before training.
FEATURES = {
    "inputs": seqio.Feature(seqio.ByteVocabulary()),
    "targets": seqio.Feature(seqio.ByteVocabulary()),
}


def register(
    name: str,
    digits: Preprocessor,
    words: Preprocessor,
    postprocess_fn: Callable,
    metric_fns: Sequence[Callable],
    train_map: Preprocessor | None = None,
    features: Sequence[str] | None = None,
) -> None:
    """Register the task `name` as the reference words it, and `_words` as T5 does.

    Args:
      name: the task's name in the catalogue.
      digits: makes texts of raw rows as the reference does.
      words: makes texts of raw rows as T5 does.
      postprocess_fn: one of `tasks.postprocess`.
      metric_fns: some of `tasks.metrics`.
      train_map: see `tasks.splits.SplitSource`.
      features: see there.
    """
    info = TASKS[name]
    for suffix, texts in (("", digits), ("_words", words)):
        seqio.TaskRegistry.add(
            info.seqio_name + suffix,
            source=splits.SplitSource(info, train_map, features),
            preprocessors=[
                texts,
                seqio.preprocessors.tokenize,
                seqio.preprocessors.append_eos_after_trim,
            ],
            output_features=FEATURES,
            postprocess_fn=postprocess_fn,
            metric_fns=list(metric_fns),
        )


def register_labels(
    name: str,
    fields: formats.Fields,
    *metric_fns: Callable,
    words_prefix: str | None = None,
    words_fields: formats.Fields | None = None,
) -> None:
    """Register a classification task.

    Args:
      name: the task's name in the catalogue.
      fields: see `tasks.formats.label`; in the reference's order.
      *metric_fns: some of `tasks.metrics`.
      words_prefix: T5's name of the task, where it is another one.
      words_fields: those of the form with words, where they are not the same in
        alphabetical order.
    """
    labels = TASKS[name].labels
    assert labels is not None
    digits = functools.partial(
        formats.label,
        prefix=name,
        fields=fields,
        labels=[str(digit) for digit in range(len(labels))],
    )
    words = functools.partial(
        formats.label,
        prefix=words_prefix or name,
        fields=words_fields or sorted(fields),
        labels=labels,
    )
    register(name, digits, words, postprocess.label, metric_fns)

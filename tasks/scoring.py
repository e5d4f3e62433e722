"""How the predictions of each task are scored; no SeqIO or TensorFlow here.

A job finds the functions by the name of its task: no file names code to be called.
"""

from collections.abc import Callable
from typing import NamedTuple

from . import metrics, postprocess
from .task_info import SPAN, TEXT, TaskInfo


class Scoring(NamedTuple):
    """What makes scores of decoded texts.

    postprocess: one of `tasks.postprocess`.
    metrics: SeqIO metric functions, of (targets, predictions).
    labels: the texts that a target can be; None where answers are free.
    """

    postprocess: Callable
    metrics: tuple[Callable, ...]
    labels: tuple[str, ...] | None = None


def labels(info: TaskInfo, convention: str) -> tuple[str, ...] | None:
    """Give the label texts of a task in a convention; None where answers are free."""
    if info.labels is None or convention == "words":
        return info.labels
    return tuple(str(digit) for digit in range(len(info.labels)))


def scoring(info: TaskInfo, convention: str) -> Scoring:
    """Give the functions that score a task of the catalogue in a convention.

    Answers are scored against all gold answers, in the reference against the target.
    """
    reference = convention == "reference"
    answers = postprocess.target if reference else postprocess.answers
    if info.metrics == TEXT:
        # Its libraries take a second to import, which other tasks need not wait for.
        from . import generation_metrics as texts

        return Scoring(answers, (texts.bleu, texts.rouge, texts.meteor))
    if info.metrics == SPAN and info.labels is None:
        return Scoring(answers, (metrics.squad,))
    texts_of_labels = labels(info, convention)
    if info.metrics == SPAN:  # labels of answers, several to a question
        if reference:  # one by one: no exact match over those of a question
            return Scoring(postprocess.label, (metrics.f1,), texts_of_labels)
        return Scoring(postprocess.grouped_label, (metrics.multirc,), texts_of_labels)
    # STS-B's gold answers are the similarities; the reference's are rounded.
    rounded = info.labels is not None or reference
    label = postprocess.label if rounded else postprocess.number
    functions = tuple(getattr(metrics, name) for name in info.metrics)
    return Scoring(label, functions, texts_of_labels)

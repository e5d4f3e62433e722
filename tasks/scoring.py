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
    """

    postprocess: Callable
    metrics: tuple[Callable, ...]


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
    if info.metrics == SPAN:  # labels of answers, several to a question
        if reference:  # one by one: no exact match over those of a question
            return Scoring(postprocess.label, (metrics.f1,))
        return Scoring(postprocess.grouped_label, (metrics.multirc,))
    # STS-B's gold answers are the similarities; the reference's are rounded.
    rounded = info.labels is not None or reference
    label = postprocess.label if rounded else postprocess.number
    return Scoring(label, tuple(getattr(metrics, name) for name in info.metrics))

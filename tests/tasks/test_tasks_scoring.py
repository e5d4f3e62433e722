"""The functions that score each task, by its name alone."""

import pytest
import seqio

from tasks import all as registered  # noqa: F401 registers the tasks
from tasks import generation_metrics, metrics, postprocess, scoring, task_info

TEXTS = (generation_metrics.bleu, generation_metrics.rouge, generation_metrics.meteor)
SIMILARITY = (metrics.pearson, metrics.spearmanr)


@pytest.mark.parametrize(
    "task, digits, reference",
    [
        (
            "mrpc",
            (postprocess.label, (metrics.accuracy, metrics.f1)),
            (postprocess.label, (metrics.accuracy, metrics.f1)),
        ),
        (
            "superglue-cb",
            (postprocess.label, (metrics.accuracy, metrics.f1_multiclass)),
            (postprocess.label, (metrics.accuracy, metrics.f1_multiclass)),
        ),
        (
            "stsb",
            (postprocess.number, SIMILARITY),
            (postprocess.label, SIMILARITY),
        ),
        (
            "squad",
            (postprocess.answers, (metrics.squad,)),
            (postprocess.target, (metrics.squad,)),
        ),
        (
            "superglue-multirc-by-paragraph",
            (postprocess.grouped_label, (metrics.multirc,)),
            (postprocess.label, (metrics.f1,)),
        ),
        ("e2e", (postprocess.answers, TEXTS), (postprocess.target, TEXTS)),
    ],
)
def test_functions_by_hand(task, digits, reference):
    info = task_info.KNOWN[task]
    assert scoring.scoring(info, "digits")[:2] == digits
    assert scoring.scoring(info, "words")[:2] == digits
    assert scoring.scoring(info, "reference")[:2] == reference


@pytest.mark.parametrize("style", task_info.CONVENTIONS)
@pytest.mark.parametrize("task", task_info.KNOWN)
def test_seqio_has_the_same_functions(task, style):
    info = task_info.KNOWN[task]
    task = seqio.TaskRegistry.get(info.seqio_name + task_info.CONVENTIONS[style])
    found = scoring.scoring(info, style)
    assert task.postprocessor is found.postprocess
    assert tuple(task.predict_metric_fns) == found.metrics

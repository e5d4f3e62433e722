"""The tasks of GLUE. MNLI's test split is the matched set, its validation the other."""

from tasks import metrics
from tasks.registration import register_labels

_PREMISE = ("premise", "hypothesis")
_SENTENCES = ("sentence1", "sentence2")

register_labels("mnli", _PREMISE, metrics.accuracy)
register_labels("qnli", ("question", "sentence"), metrics.accuracy)
register_labels("qqp", ("question1", "question2"), metrics.accuracy, metrics.f1)
register_labels("sst2", ("sentence",), metrics.accuracy)
register_labels("rte", _SENTENCES, metrics.accuracy)
register_labels("mrpc", _SENTENCES, metrics.accuracy, metrics.f1)
register_labels("cola", ("sentence",), metrics.matthews_correlation)

"""Texts on data: E2E, CommonGen and WebNLG, in the form of the GEM benchmark.

There is no convention of T5 for them: the task with `_words` is the same.
"""

import functools

from tasks import formats, generation_metrics, postprocess
from tasks.registration import register


def _register(name: str, opening: str, feature: str, separator: str = "") -> None:
    texts = functools.partial(
        formats.text,
        opening=f"{name} {opening}:",
        feature=feature,
        separator=separator,
    )
    register(
        name,
        digits=texts,
        words=texts,
        postprocess_fn=postprocess.answers,
        metric_fns=[
            generation_metrics.bleu,
            generation_metrics.rouge,
            generation_metrics.meteor,
        ],
    )


_register("e2e", "meaning_representation", "meaning_representation")
_register("common_gen", "concepts", "concepts", separator=" ")
_register("web_nlg", "triples", "input", separator=" && ")

"""Texts on data: E2E, CommonGen and WebNLG, in the form of the GEM benchmark.

All conventions are the same, but that the reference scores against the target alone.
"""

import functools

from . import formats, generation_metrics, postprocess
from .registration import Convention, register


def _register(name: str, opening: str, feature: str, separator: str = "") -> None:
    texts = functools.partial(
        formats.text,
        opening=f"{name} {opening}:",
        feature=feature,
        separator=separator,
    )
    scores = (
        generation_metrics.bleu,
        generation_metrics.rouge,
        generation_metrics.meteor,
    )
    digits = Convention((texts,), postprocess.answers, scores)
    reference = digits._replace(postprocess_fn=postprocess.target)
    register(name, digits=digits, reference=reference)


_register("e2e", "meaning_representation", "meaning_representation")
_register("common_gen", "concepts", "concepts", separator=" ")
_register("web_nlg", "triples", "input", separator=" && ")

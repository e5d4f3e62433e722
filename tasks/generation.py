"""Texts on data: E2E, CommonGen and WebNLG, in the form of the GEM benchmark.

All conventions have the same texts.
"""

import functools

from . import formats
from .registration import Convention, register


def _register(name: str, opening: str, feature: str, separator: str = "") -> None:
    texts = functools.partial(
        formats.text,
        opening=f"{name} {opening}:",
        feature=feature,
        separator=separator,
    )
    register(name, digits=Convention((texts,), (feature,)))


_register("e2e", "meaning_representation", "meaning_representation")
_register("common_gen", "concepts", "concepts", separator=" ")
_register("web_nlg", "triples", "input", separator=" && ")

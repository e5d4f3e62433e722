"""Turns decoded texts and examples into what metrics compare, without SeqIO.

A function takes SeqIO's arguments: `text` decoded by the model's vocabulary, `example`
a row as NumPy values, `is_target` where the gold answer is asked for. Gold answers are
read from the example, not from decoded ids: those would have lost what the vocabulary
lacks and what was truncated.
"""

from collections.abc import Mapping
from typing import Any

Example = Mapping[str, Any]


def label(text: str, example: Example | None = None, is_target: bool = False) -> str:
    """Return the label's text, without space around it."""
    if is_target and example is not None:
        text = _text(example["targets_pretokenized"])
    return text.strip()


def number(text: str, example: Example | None = None, is_target: bool = False) -> str:
    """Return the similarity itself, not the rounded one, or the predicted text."""
    if is_target and example is not None:
        return _text(example["similarity"])
    return text.strip()


def grouped_label(
    text: str, example: Example | None = None, is_target: bool = False
) -> str | dict[str, str]:
    """Return the gold label with the `group` it counts in, or the predicted label."""
    found = label(text, example, is_target)
    if is_target and example is not None:
        return {"label": found, "group": _text(example["group"])}
    return found


def answers(
    text: str, example: Example | None = None, is_target: bool = False
) -> str | list[str]:
    """Return all gold answers of the row, or the predicted text without space around.

    Gold answers are in the field `answers`, formatted as the target is.
    """
    if is_target and example is not None:
        return [_text(answer) for answer in example["answers"]]
    return text.strip()


def target(
    text: str, example: Example | None = None, is_target: bool = False
) -> str | list[str]:
    """Return the target as the only gold answer, or the predicted text."""
    found = label(text, example, is_target)
    return [found] if is_target else found


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value

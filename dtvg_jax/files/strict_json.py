"""Parses strict JSON, within bounds that all other code can rely on."""

import codecs
import collections
import json
import math
from typing import Any, TypeAlias

from dtvg_jax.errors import InputError

# What a JSON object is until its fields are read and checked.
JsonObject: TypeAlias = dict[str, object]

DEEPEST = 100  # levels
TOO_DEEP = f"it has more than {DEEPEST} levels"
MOST_DIGITS = 40


def parse_json(text: str | bytes, where: str, remedy: str = "") -> object:
    """Parses JSON by the letter of its standard: no NaN, no name twice in an object.

    Raises InputError, which begins with `where` (a file, and its line if it has lines),
    for anything else, and for values that cannot be written again or overwhelm other
    code: half a surrogate pair, more than 40 digits, more than 100 levels.
    """
    try:
        text = decoded(text) if isinstance(text, bytes) else text
        content = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
        _check_depth(content)
        if "\\u" in text:
            _check_surrogates(content)
    except RecursionError:
        reason = TOO_DEEP
    except ValueError as error:
        reason = str(error)
    else:
        return content
    ending = f": {remedy}" if remedy else ""
    raise InputError(f"{where} is not JSON ({reason}){ending}")


def decoded(content: bytes) -> str:
    """Decodes UTF-8 with or without its mark; raises UnicodeError for other text."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnicodeError("it begins with the mark of UTF-16: save it as UTF-8")
    if b"\0" in content:
        raise UnicodeError(
            f"byte {content.index(0)} is NUL, as in UTF-16 or binary files"
        )
    return content.decode("utf-8-sig")


def _object(pairs: list[tuple[str, object]]) -> JsonObject:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = collections.Counter(name for name, _ in pairs)
        raise ValueError(f"the name {counts.most_common(1)[0][0]!r} is there twice")
    return made


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not a JSON value")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _whole(text: str) -> int:
    # The largest that is met is the 1e30 by which transformers means no limit.
    if len(text) > MOST_DIGITS:
        raise ValueError(f"the number {text[:10]}... has {len(text)} digits")
    return int(text)


def _check_depth(content: object) -> None:
    level: list[Any] = [[content]]  # of lists and dicts
    for _ in range(DEEPEST + 1):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise ValueError(TOO_DEEP)


def _check_surrogates(content: object) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])[1:-1]
        raise ValueError(f"{half} is half of a surrogate pair") from None

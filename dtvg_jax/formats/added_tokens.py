"""Tokens that JSON files next to a vocabulary add to it.

transformers splits them off a text before the vocabulary sees the rest, so a vocabulary
without them gives other ids.
"""

import pathlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dtvg_jax import files
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
ADDED_TOKENS, SPECIAL_TOKENS = "added_tokens.json", "special_tokens_map.json"
# Every T5 has them; texts of a task do not.
OF_T5 = re.compile(r"<pad>|</s>|<unk>|<extra_id_\d+>")


class AddedToken(NamedTuple):
    """The text of a token, and the file that names it."""

    text: str
    path: pathlib.Path


def check(folder: pathlib.Path, knows: Callable[[str], bool]) -> None:
    """Raises InputError for a token beside a vocabulary that does not know it."""
    for name in (TOKENIZER_CONFIG, ADDED_TOKENS, SPECIAL_TOKENS):
        for token in listed(folder / name):
            if not knows(token.text):
                raise InputError(
                    f"{token.path} adds the token {token.text!r}, which the vocabulary "
                    f"beside it does not have: save the tokenizer again with "
                    f"transformers, which puts it into {TOKENIZER}, or remove it"
                )


def listed(path: pathlib.Path) -> Iterator[AddedToken]:
    """Lists the tokens that a file names; none where there is no such file."""
    content = files.read_json(path) if path.exists() else {}
    for value in _values(path.name, content):
        for text in _texts(value):
            yield AddedToken(text, path)


def _values(name: str, content: JsonObject) -> list[object]:
    if name == TOKENIZER:
        return [content.get("added_tokens")]
    if name == ADDED_TOKENS:
        return list(content)
    if name == SPECIAL_TOKENS:
        return list(content.values())
    decoder = content.get("added_tokens_decoder")
    more = content.get("extra_special_tokens")
    return [
        *(
            list(one.values()) if isinstance(one, dict) else one
            for one in (decoder, more)
        ),
        content.get("additional_special_tokens"),
        *(value for key, value in content.items() if key.endswith("_token")),
    ]


def _texts(value: object) -> Iterator[str]:
    """Finds the texts of a token, which is text or an object, or of a list of them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and isinstance(text := value.get("content"), str):
        yield text
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)

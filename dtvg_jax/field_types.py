"""Are the values of a dataclass or named tuple of the types that it declares?"""

import collections.abc
import types
import typing
from typing import Any

from dtvg_jax.errors import InputError

WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    bytes: "bytes",
    collections.abc.Sequence: "a list",
    tuple: "a list",
    type(None): "None",
}


def check(made: Any, path: str = "") -> None:
    """Raises InputError for the first field, of it or of what it holds, that is not.

    Only plain types are looked at: numbers, text, None, lists of these.
    """
    if not hasattr(type(made), "__dataclass_fields__") and not hasattr(made, "_fields"):
        return
    for name, hint in typing.get_type_hints(type(made)).items():
        value = getattr(made, name)
        if not _fits(value, hint):
            raise InputError(f"{path}{name} = {value!r}: it must be {_words(hint)}")
        check(value, f"{path}{name}.")


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if origin is collections.abc.Sequence or origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and inner[-1:] != (...,):
            pairs = zip(value, inner, strict=False)
            return len(value) == len(inner) and all(_fits(v, h) for v, h in pairs)
        return all(_fits(one, inner[0]) for one in value)
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin) if origin in WORDS else True


def _words(hint: Any) -> str:
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_words(one) for one in inner)
    origin = typing.get_origin(hint) or hint
    of = {int: " of whole numbers", float: " of numbers", str: " of texts"}
    return WORDS.get(origin, str(hint)) + (of.get(inner[0], "") if inner else "")

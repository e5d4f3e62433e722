"""What a user sees instead of a traceback, and how a job is asked to stop."""

import collections.abc
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping


class InputError(ValueError):
    """Says what is wrong with what the user gave, where, and what would be right."""


class Stopped(BaseException):
    """Raised by a check when a job is to stop; its state is saved on its way out."""


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Gives ": did you mean 'x'?" for the known name nearest to `name`, or nothing."""
    near = difflib.get_close_matches(str(name), list(known), 1, cutoff)
    return f": did you mean {near[0]!r}?" if near else ""


def unknown(what: str, name: object, known: Iterable[str]) -> InputError:
    """Makes the error for a name that is not among the known ones."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {what} {name!r}: {hint}known are {', '.join(known)}")


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    bytes: "bytes",
    collections.abc.Sequence: "a list",
    tuple: "a list",
    collections.abc.Mapping: "an object",
    type(None): "None",
}


def check_field_types(made: object, path: str = "") -> None:
    """Raises InputError for the first field that is not of its declared type.

    `made` is a dataclass or named tuple, and so may be its fields. Only plain types
    are looked at: numbers, text, None, lists of these.
    """
    if not hasattr(type(made), "__dataclass_fields__") and not hasattr(made, "_fields"):
        return
    for name, hint in typing.get_type_hints(type(made)).items():
        value = getattr(made, name)
        check_type(f"{path}{name}", value, hint)
        check_field_types(value, f"{path}{name}.")


def check_type(name: str, value: object, hint: object) -> None:
    """Raises InputError where `value`, called `name`, is not of the type `hint`."""
    if not _fits(value, hint):
        raise InputError(f"{name} = {value!r}: it must be {_words(hint)}")


def check_least(made: object, least: Mapping[str, int]) -> None:
    """Raises InputError for a field that is no whole number, or less than `least`.

    A field that may be None, and is, is right.
    """
    for name, bound in least.items():
        value = getattr(made, name)
        right = type(value) is int and value >= bound
        if not right and not _is_absent(made, name):
            raise InputError(
                f"{name} = {value!r}: it must be a whole number >= {bound}"
            )


def check_rates(made: object, names: Iterable[str]) -> None:
    """Raises InputError for a field that is no finite number >= 0.

    A field that may be None, and is, is right.
    """
    for name in names:
        value = getattr(made, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        right = number and 0 <= value < math.inf
        if not right and not _is_absent(made, name):
            raise InputError(f"{name} = {value!r}: it must be a number >= 0")


def _is_absent(made: object, name: str) -> bool:
    """Tells whether a field is None, and may be."""
    hint = typing.get_type_hints(type(made))[name]
    return getattr(made, name) is None and _fits(None, hint)


def _fits(value: object, hint: object) -> bool:
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is collections.abc.Sequence or origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and inner[-1:] != (...,):
            pairs = zip(value, inner, strict=False)
            return len(value) == len(inner) and all(_fits(v, h) for v, h in pairs)
        return all(_fits(one, inner[0]) for one in value)
    if origin is collections.abc.Mapping:
        return isinstance(value, dict) and all(
            _fits(one, inner[1]) for one in value.values()
        )
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    checked = origin in _WORDS or dataclasses.is_dataclass(origin)
    return isinstance(value, origin) if isinstance(origin, type) and checked else True


def _words(hint: object) -> str:
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_words(one) for one in inner)
    origin = typing.get_origin(hint) or hint
    if origin is typing.Literal:
        return " or ".join(map(repr, inner))
    if dataclasses.is_dataclass(origin):
        return "an object"
    of = {int: " of whole numbers", float: " of numbers", str: " of texts"}
    return _WORDS.get(origin, str(hint)) + (of.get(inner[0], "") if inner else "")

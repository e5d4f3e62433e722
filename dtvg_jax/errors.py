"""What a user sees instead of a traceback, and how a job is asked to stop."""

import collections.abc
import dataclasses
import difflib
import signal
import types
import typing
from collections.abc import Iterable


class InputError(ValueError):
    """Says what is wrong with what the user gave, where, and what would be right."""


class Stopped(BaseException):
    """Raised when a command is to stop, because of a signal of this number.

    With `resumes`, a check raised it, and the state is saved on its way out.
    """

    def __init__(self, number: int = signal.SIGINT, resumes: bool = False):
        super().__init__(number)
        self.number, self.resumes = number, resumes


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


def refuse_repeats(name: str, values: Iterable[object]) -> None:
    """Raises InputError for the first of the values, called `name`, that comes twice."""
    values = list(values)
    if twice := [value for value in values if values.count(value) > 1]:
        raise InputError(f"{name} names {twice[0]!r} twice")


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

"""What a user sees instead of a traceback, and how a job is asked to stop."""

import collections.abc
import dataclasses
import difflib
import functools
import math
import pathlib
import sysconfig
import traceback
import types
import typing
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class InputError(ValueError):
    """Says what is wrong with what the user gave, where, and what would be right."""


class Stopped(BaseException):
    """Raised by a check when a job is to stop; its state is saved on its way out."""


class Bounds(NamedTuple):
    """The range of a finite number, both ends in it: `Annotated[int, Bounds(1, 9)]`."""

    least: float
    most: float = math.inf

    def allow(self, value: object) -> bool:
        """Tells whether a value is a number in the range."""
        if not isinstance(value, int | float):
            return False
        return self.least <= value <= self.most and value != math.inf

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"of at least {self.least:,}"
        return f"from {self.least:,} to {self.most:,}"


Count: typing.TypeAlias = typing.Annotated[int, Bounds(1)]
Number: typing.TypeAlias = typing.Annotated[int, Bounds(0)]  # of a step, or a seed
Rate: typing.TypeAlias = typing.Annotated[float, Bounds(0)]


def shown(value: object) -> str:
    """Formats a value for a message: its repr, truncated to 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Gives ": did you mean 'x'?" for the known name nearest to `name`, or ""."""
    near = difflib.get_close_matches(str(name), list(known), 1, cutoff)
    return f": did you mean {near[0]!r}?" if near else ""


def unknown(what: str, name: object, known: Iterable[str]) -> InputError:
    """Makes the error for a name that is not among the known ones."""
    known = list(map(str, known))  # of an enum, the texts
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {what} {name!r}: {hint}known are {', '.join(known)}")


def refuse_repeats(name: str, values: Iterable[object], hint: str = "") -> None:
    """Raises InputError, which ends with `hint`, for the first value given twice."""
    values = list(values)
    if twice := [value for value in values if values.count(value) > 1]:
        raise InputError(f"{name} names {twice[0]!r} twice{hint}")


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


_PLURALS = {
    int: " of whole numbers",
    float: " of numbers",
    str: " of texts",
    collections.abc.Sequence: " of lists",
}


def check_field_types(made: object, path: str = "") -> None:
    """Raises InputError for the first field that is not of its declared type.

    `made` is a dataclass or named tuple, and so may be its fields. Only plain types
    are looked at: numbers, also within `Bounds`, text, None, lists of these.
    """
    if not hasattr(type(made), "__dataclass_fields__") and not hasattr(made, "_fields"):
        return
    for name, hint in type_hints(type(made)).items():
        value = getattr(made, name)
        check_type(f"{path}{name}", value, hint)
        check_field_types(value, f"{path}{name}.")


@functools.cache  # A log has a record per lane and step.
def type_hints(cls: type) -> Mapping[str, object]:
    """Gives the declared type of each field, with its `Bounds`."""
    return typing.get_type_hints(cls, include_extras=True)


def check_type(name: str, value: object, hint: object) -> None:
    """Raises InputError where `value`, called `name`, is not of the type `hint`."""
    if not _fits(value, hint):
        raise InputError(f"{name} = {shown(value)}: it must be {_words(hint)}")


def _fits(value: object, hint: object) -> bool:
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if origin is typing.Annotated:
        bounds = [one for one in inner[1:] if isinstance(one, Bounds)]
        return _fits(value, inner[0]) and all(one.allow(value) for one in bounds)
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
    if origin is typing.Annotated:
        return " ".join([_words(inner[0]), *map(str, inner[1:])])
    if dataclasses.is_dataclass(origin):
        return "an object"
    held = inner[origin is collections.abc.Mapping] if inner else None
    return _WORDS.get(origin, str(hint)) + _of(held)


def _of(held: object) -> str:
    """Says what a list or object holds: " of numbers of at least 0"."""
    kind, inner = typing.get_origin(held) or held, typing.get_args(held)
    if kind is typing.Annotated:
        return " ".join([_of(inner[0]), *map(str, inner[1:])])
    return _PLURALS.get(kind, "") + (
        _of(inner[0]) if inner and kind in _PLURALS else ""
    )


def describe(error: BaseException) -> str:
    """Describes an exception of a user's code, and the line of that code it is from.

    Frames of libraries and of this package are left out.
    """
    paths = sysconfig.get_paths()
    here = pathlib.Path(__file__).parent
    others = (paths["stdlib"], paths["purelib"], str(here), str(here.parent / "tasks"))
    frames = traceback.extract_tb(error.__traceback__)
    places = [
        f" ({pathlib.Path(frame.filename).name}, line {frame.lineno})"
        for frame in frames
        if not frame.filename.startswith((*others, "<"))
    ]
    first = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first}{places[-1] if places else ''}"

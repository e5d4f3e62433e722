"""Files: written whole or not at all, and checked when they are read."""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import typing
from collections.abc import Iterator
from typing import TypeAlias, TypeVar

from dtvg_jax.errors import InputError, check_type

# What a JSON object is until its fields are read and checked.
JsonObject: TypeAlias = dict[str, object]

Record = TypeVar("Record")  # a dataclass

SEAL = "sha256"  # the field of a sealed JSON object that holds its digest


def expand(path: str | os.PathLike[str]) -> pathlib.Path:
    """Makes a path of what a user gave; `~` is the home folder."""
    return pathlib.Path(path).expanduser()


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all, and onto the disk before returning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes JSON whole or not at all; NaN and infinity raise ValueError."""
    write_bytes(path, json_bytes(content))


def json_bytes(content: object) -> bytes:
    """Gives the bytes that `write_json` writes."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def read_json(path: pathlib.Path, remedy: str = "restore it") -> JsonObject:
    """Reads a JSON object.

    Raises InputError, which ends with `remedy`, for a file that is absent, unreadable,
    no UTF-8, no JSON or no object.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: {remedy}") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): {remedy}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): {remedy}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object: {remedy}")
    return content


def seal(content: JsonObject) -> JsonObject:
    """Adds the digest by which `unseal` notices that a value was changed."""
    return {**content, SEAL: _digest(content)}


def unseal(content: JsonObject, where: object, remedy: str) -> JsonObject:
    """Takes the digest off; raises InputError where it is not that of the content."""
    inner = {name: value for name, value in content.items() if name != SEAL}
    if content.get(SEAL) != _digest(inner):
        raise InputError(f"{where} is not as it was written: {remedy}")
    return inner


def _digest(content: JsonObject) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def sha256(path: pathlib.Path) -> str:
    """Digests a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: pathlib.Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: pathlib.Path, *, wait: bool) -> Iterator[None]:
    """Holds a lock file; the system frees it when the process ends, however that is.

    Without `wait`, raises BlockingIOError where another process holds it.
    """
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def record(cls: type[Record], content: object, where: str) -> Record:
    """Makes a dataclass, and those among its fields, of a JSON object.

    A field with a default may be absent, and a field of the file that the dataclass
    lacks is left out: a newer version of the file may have more. Raises InputError,
    which begins with `where`, for a missing field or a value of another type.
    """
    if not isinstance(content, dict):
        raise InputError(f"{where} is {content!r}: it must be a JSON object")
    hints, values = _hints(cls), {}
    for field in dataclasses.fields(typing.cast(type, cls)):
        if field.name in content:
            hint, place = hints[field.name], f"{where}: {field.name}"
            values[field.name] = _value(hint, content[field.name], place)
            # Before the record is made: where tests check signatures, making it raises.
            check_type(place, values[field.name], hint)
        elif (
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ):
            raise InputError(f"{where}: the field {field.name!r} is missing")
    return cls(**values)


# Cached, since a log has a record per lane and step.
_hints = functools.cache(typing.get_type_hints)


def _value(hint: object, value: object, where: str) -> object:
    """Makes the records that a value holds: one, a list, or the values of an object."""
    if isinstance(value, dict) and dataclasses.is_dataclass(hint):
        return record(typing.cast(type, hint), value, where)
    inner = typing.get_args(hint)
    if (
        isinstance(value, dict)
        and len(inner) == 2
        and dataclasses.is_dataclass(inner[1])
    ):
        return {
            key: _value(inner[1], one, f"{where}.{key}") for key, one in value.items()
        }
    if isinstance(value, list) and inner:
        return tuple(
            _value(inner[0], one, f"{where}[{i}]") for i, one in enumerate(value)
        )
    if isinstance(value, dict):
        options = [one for one in inner if dataclasses.is_dataclass(one)]
        return _value(options[0], value, where) if options else value
    return value

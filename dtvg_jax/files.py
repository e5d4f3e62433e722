"""Files: written whole or not at all, and checked when they are read."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import TypeAlias

from dtvg_jax.errors import InputError

# What a JSON object is until its fields are read and checked.
JsonObject: TypeAlias = dict[str, object]


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

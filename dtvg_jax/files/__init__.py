"""Files: written whole or not at all, and checked when they are read."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import socket
import stat
import sys
import time
import typing
from collections.abc import Callable, Iterator
from typing import IO, TypeVar

from dtvg_jax.errors import InputError, check_type, shown, type_hints
from dtvg_jax.files import remote
from dtvg_jax.files.remote import Path as Path
from dtvg_jax.files.strict_json import JsonObject as JsonObject
from dtvg_jax.files.strict_json import decoded
from dtvg_jax.files.strict_json import parse_json as parse_json

Record = TypeVar("Record")  # a dataclass

SEAL = "sha256"  # the field of a sealed JSON object that holds its digest
TEXT_LIMIT = 2**26  # bytes; a vocabulary's tokenizer.json has half of that

WAIT = 0.2  # seconds between two looks at a lock that another process holds


def expand(path: str | os.PathLike[str]) -> Path:
    """Makes a path of a user's text: `~` is the home folder; see `remote` for gs://.

    Raises InputError for an empty text, a value that is not a path, and an address
    that cannot be used.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise InputError(
            f"{path!r} is not a path: give a file or folder ('.' is this one)"
        )
    found = remote.of_address(str(os.fspath(path)))
    return pathlib.Path(path).expanduser() if found is None else found


def expand_local(path: str | os.PathLike[str], what: str) -> pathlib.Path:
    """Makes a path like `expand`; raises InputError where `what` is at an address."""
    found = expand(path)
    if not isinstance(found, pathlib.Path):
        raise InputError(f"{path}: {what} must be on a local or mounted disk")
    return found


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, and onto the disk before returning."""
    for guard in remote.guards:
        guard(path)
    put(path, content)


def put(path: Path, content: bytes) -> None:
    """Writes like `write_bytes`, whoever holds the folder."""
    if not isinstance(path, pathlib.Path):
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path), open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Adds the file's name to an OSError raised inside that has none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_json(path: Path, content: object) -> None:
    """Writes JSON whole or not at all; NaN and infinity raise ValueError."""
    write_bytes(path, json_bytes(content))


def json_bytes(content: object) -> bytes:
    """Gives the bytes that `write_json` writes."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def check_regular(path: Path, remedy: str = "restore it") -> int:
    """Gives the size of a file in bytes, without opening it.

    Raises InputError for what is absent, out of reach or not a regular file: opening a
    named pipe would block, and a device may have no end.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: {remedy}") from None
    except (OSError, ValueError) as error:  # ValueError for a path with a NUL in it
        raise _unreadable(path, error, remedy) from None
    if not isinstance(found, os.stat_result):  # of an object in a store
        is_folder, is_file, size = found.is_directory, True, found.length
    else:
        mode, size = found.st_mode, found.st_size
        is_folder, is_file = stat.S_ISDIR(mode), stat.S_ISREG(mode)
    if is_folder:
        raise InputError(f"{path} is a folder, not a file: {remedy}")
    if not is_file:
        raise InputError(f"{path} is a pipe, socket or device, not a file: {remedy}")
    return size


def read_bytes(
    path: Path, limit: int = TEXT_LIMIT, remedy: str = "restore it"
) -> bytes:
    """Reads a file of at most `limit` bytes; see `check_regular` for what is raised."""
    size = check_regular(path, remedy)
    if size > limit:
        raise InputError(
            f"{path} has {size:,} bytes, and at most {limit:,} are read: {remedy}"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error, remedy) from None


def read_text(path: Path, limit: int = TEXT_LIMIT, remedy: str = "restore it") -> str:
    """Reads UTF-8; a byte order mark is left out.

    Raises InputError like `read_bytes`, and for another encoding.
    """
    try:
        return decoded(read_bytes(path, limit, remedy))
    except UnicodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}): {remedy}") from None


def read_json(path: Path, remedy: str = "restore it") -> JsonObject:
    """Reads a JSON object.

    Raises InputError, which ends with `remedy`, like `read_text` and `parse_json`, and
    for JSON other than an object.
    """
    content = parse_json(read_text(path, remedy=remedy), str(path), remedy)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object: {remedy}")
    return content


def seal(content: JsonObject) -> JsonObject:
    """Adds the digest by which `unseal` notices that a value was changed."""
    return {**content, SEAL: _digest(content)}


def unseal(content: JsonObject, where: object, remedy: str) -> JsonObject:
    """Removes the digest; raises InputError if it does not match the content."""
    inner = {name: value for name, value in content.items() if name != SEAL}
    if content.get(SEAL) != _digest(inner):
        raise InputError(f"{where} is not as it was written: {remedy}")
    return inner


def _digest(content: JsonObject) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_record(path: Path, cls: type[Record], remedy: str = "restore it") -> Record:
    """Reads a JSON object as a dataclass; raises like `read_json` and `record`."""
    return record(cls, read_json(path, remedy), str(path))


def private_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """Makes a folder, if it is missing, for files that are trusted when read back.

    Raises InputError if other users could have put them there, and OSError if the
    folder cannot be made.
    """
    path = expand_local(path, "the cache folder")
    path.mkdir(0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise InputError(
            f"the cache folder {path} belongs to another user, who could put a program "
            "of theirs into it: choose a folder of your own (cache_dir)"
        )
    if found.st_mode & 0o022:
        raise InputError(
            f"other users can write into the cache folder {path}, and could put a "
            f"program of theirs into it: `chmod go-w {path}` if its files are yours, "
            "or choose another folder (cache_dir)"
        )
    return path


def sha256(path: pathlib.Path) -> str:
    """Digests a file's content; raises like `check_regular`."""
    check_regular(path)
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
def locked(
    path: pathlib.Path, *, wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Holds a lock file; the system frees it when the process ends, however it ends.

    While another process holds it, prints on standard error which one, and calls
    `wait`, which may raise, until it is free. Without `wait`, raises BlockingIOError.
    """
    with open(path, "a+") as file:
        announced = False
        while not _flock(file):
            if wait is None:
                raise BlockingIOError
            if not announced:
                print(
                    f"waiting for {holder(path)}, which holds {path}", file=sys.stderr
                )
                announced = True
            time.sleep(WAIT)
            wait()
        with contextlib.suppress(OSError):  # the disk may be full
            file.truncate(0)
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}")
            file.flush()
        yield


def holder(path: pathlib.Path) -> str:
    """Says which process holds a lock file, and since when."""
    with contextlib.suppress(OSError, ValueError):
        if (owner := path.read_text(encoding="utf-8")).startswith("process "):
            return owner
    return "another process"


def _flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def record(cls: type[Record], content: object, where: str) -> Record:
    """Makes a dataclass, and those among its fields, from a JSON object.

    A field with a default may be absent, and fields that the dataclass lacks are
    ignored: a newer version of the file may have more. Raises InputError,
    which begins with `where`, for a missing field or a value of another type.
    """
    if not isinstance(content, dict):
        raise InputError(f"{where} is {shown(content)}: it must be a JSON object")
    hints, values = type_hints(cls), {}
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


def _value(hint: object, value: object, where: str) -> object:
    """Makes the dataclasses in a value: itself, in a list, or an object's values."""
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


def _unreadable(path: Path, error: OSError | ValueError, remedy: str) -> InputError:
    message = error.strerror if isinstance(error, OSError) else None
    reason = message or str(error).partition("\n")[0]
    return InputError(f"{path} cannot be read ({reason}): {remedy}")

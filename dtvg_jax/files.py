"""Files: written whole or not at all, and checked when they are read."""

import codecs
import collections
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import math
import os
import pathlib
import re
import socket
import stat
import sys
import time
import typing
from collections.abc import Callable, Iterator
from typing import IO, Any, TypeAlias, TypeVar

from dtvg_jax.errors import InputError, check_type, shown, type_hints

# What a JSON object is until its fields are read and checked.
JsonObject: TypeAlias = dict[str, object]

Record = TypeVar("Record")  # a dataclass

SEAL = "sha256"  # the field of a sealed JSON object that holds its digest
TEXT_LIMIT = 2**26  # bytes; a vocabulary's tokenizer.json has half of that
DEEPEST = 100  # levels of JSON
TOO_DEEP = f"it has more than {DEEPEST} levels"
MOST_DIGITS = 40

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")

WAIT = 0.2  # seconds between two looks at a lock that another process holds


def expand(path: str | os.PathLike[str]) -> pathlib.Path:
    """Makes a path of what a user gave; `~` is the home folder.

    Raises InputError for what is no path, for nothing: no folder is meant by it, and
    for an address such as gs://bucket/x, which would become the local folder "gs:".
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise InputError(
            f"{path!r} is no path: give a file or folder ('.' is this one)"
        )
    if address := _ADDRESS.match(str(os.fspath(path))):
        raise InputError(
            f"{path} is an address, and {address['scheme']}:// is not supported: give "
            "the path of a local or mounted folder"
        )
    return pathlib.Path(path).expanduser()


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file whole or not at all, and onto the disk before returning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path), open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: pathlib.Path | str) -> Iterator[None]:
    """Says which file it was where the system refuses to write or to read on."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes JSON whole or not at all; NaN and infinity raise ValueError."""
    write_bytes(path, json_bytes(content))


def json_bytes(content: object) -> bytes:
    """Gives the bytes that `write_json` writes."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def check_regular(path: pathlib.Path, remedy: str = "restore it") -> int:
    """Gives the size of a file in bytes, without opening it.

    Raises InputError for what is absent, out of reach or no regular file: to open a
    named pipe waits for ever, and a device may have no end.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: {remedy}") from None
    except (OSError, ValueError) as error:  # ValueError for a path with a NUL in it
        raise _unreadable(path, error, remedy) from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError(f"{path} is a folder, not a file: {remedy}")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is a pipe, socket or device, not a file: {remedy}")
    return found.st_size


def read_bytes(
    path: pathlib.Path, limit: int = TEXT_LIMIT, remedy: str = "restore it"
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


def read_text(
    path: pathlib.Path, limit: int = TEXT_LIMIT, remedy: str = "restore it"
) -> str:
    """Reads UTF-8; a byte order mark is left out.

    Raises InputError like `read_bytes`, and for another encoding.
    """
    try:
        return _decoded(read_bytes(path, limit, remedy))
    except UnicodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}): {remedy}") from None


def read_json(path: pathlib.Path, remedy: str = "restore it") -> JsonObject:
    """Reads a JSON object.

    Raises InputError, which ends with `remedy`, like `read_text` and `parse_json`, and
    for JSON that is no object.
    """
    content = parse_json(read_text(path, remedy=remedy), str(path), remedy)
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


def read_record(
    path: pathlib.Path, cls: type[Record], remedy: str = "restore it"
) -> Record:
    """Reads a JSON object as a dataclass; raises like `read_json` and `record`."""
    return record(cls, read_json(path, remedy), str(path))


def parse_json(text: str | bytes, where: str, remedy: str = "") -> object:
    """Parses JSON as its standard has it: no NaN, no name twice in an object.

    Raises InputError, which begins with `where` (a file, and its line if it has lines),
    for anything else, and for what could not be written again or would break what
    looks at it: half a surrogate pair, endless digits, more than 100 levels.
    """
    try:
        text = _decoded(text) if isinstance(text, bytes) else text
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


def private_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """Makes a folder, where it is missing, for files that are believed when read back.

    Raises InputError where other users could have put them there, and OSError where
    the folder cannot be made.
    """
    path = expand(path)
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
    """Digests a file's content; raises like `check_regular` where it is no file."""
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
    """Holds a lock file; the system frees it when the process ends, however that is.

    While another process holds it, `wait` is called again and again and may raise;
    without it, raises BlockingIOError. Who is waited for is said on standard error.
    """
    with open(path, "a+") as file:
        said = False
        while not _flock(file):
            if wait is None:
                raise BlockingIOError
            if not said:
                print(
                    f"waiting for {holder(path)}, which holds {path}", file=sys.stderr
                )
                said = True
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
        if (said := path.read_text(encoding="utf-8")).startswith("process "):
            return said
    return "another process"


def _flock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def record(cls: type[Record], content: object, where: str) -> Record:
    """Makes a dataclass, and those among its fields, of a JSON object.

    A field with a default may be absent, and a field of the file that the dataclass
    lacks is left out: a newer version of the file may have more. Raises InputError,
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


def _unreadable(
    path: pathlib.Path, error: OSError | ValueError, remedy: str
) -> InputError:
    reason = error.strerror if isinstance(error, OSError) else error
    return InputError(f"{path} cannot be read ({reason}): {remedy}")


def _decoded(content: bytes) -> str:
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

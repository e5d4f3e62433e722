"""Lines of a user's file as requests to a model, and what is wrong with a bad one."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from dtvg_jax.data import catalogue, raw_rows
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.store import entries


class Request(NamedTuple):
    """One line: what to answer, or why it cannot be answered."""

    line: int
    entry: str | None = None  # of the store; None: without a prompt
    task: str | None = None
    text: str | None = None  # the whole input
    row: dict[str, str] | None = None  # to be formatted by the task
    error: str | None = None


class Defaults(NamedTuple):
    """What holds for lines that do not say it themselves."""

    entry: str | None
    entries: dict[str, str]  # by task: the entry that a line of that task gets
    known: frozenset[str]  # all entries
    label_style: str


def parse(number: int, line: bytes, defaults: Defaults) -> Request:
    """Reads a line: a JSON object, or else plain text that is the input itself."""
    # Editors on Windows begin a file with a byte order mark.
    encoding = "utf-8-sig" if number == 1 else "utf-8"
    try:
        return _parse(number, line.decode(encoding).strip("\r\n"), defaults)
    except UnicodeDecodeError as error:
        return Request(number, error=f"not UTF-8 at byte {error.start + 1}")
    except InputError as error:
        return Request(number, error=str(error))


def _parse(number: int, text: str, defaults: Defaults) -> Request:
    if not text.strip():
        raise InputError("the line is empty")
    if not text.lstrip().startswith("{"):
        return Request(number, _entry(None, None, defaults), None, text)
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise InputError("not JSON that can be read: it is nested too deeply") from None
    except ValueError as error:  # Python refuses to read numbers of 4,300 digits
        raise InputError(f"not JSON that can be read: {error}") from None
    task = given.pop("task", None)
    if task is not None:
        task = str(task).removeprefix("dtvg_")
        if task not in {entries.parse(name).task for name in defaults.known}:
            catalogue.check_task(task)
    entry = _entry(given.pop("prompt", None), task, defaults)
    task = task or (entries.parse(entry).task if entry else None)
    if "inputs" in given:
        return Request(number, entry, task, _text(given, "inputs"))
    if task is None:
        raise InputError('the line has neither "task" nor "inputs"')
    _, fields = raw_rows.preprocessor(task, defaults.label_style)
    return Request(number, entry, task, None, {f: _text(given, f) for f in fields})


def _entry(named: object, task: str | None, defaults: Defaults) -> str | None:
    entry = named or defaults.entries.get(task or "") or defaults.entry
    if entry is not None and str(entry) not in defaults.known:
        raise InputError(f"there is no prompt {entry!r} in the store")
    if entry is None and defaults.known:
        raise InputError(
            f'the store has no prompt of {task}: name one by "prompt"'
            if task
            else 'the line names neither "task" nor "prompt", and there is no --prompt'
        )
    return None if entry is None else str(entry)


def _text(given: JsonObject, field: str) -> str:
    if field not in given:
        raise InputError(f"the field {field!r} is missing")
    text = given[field]
    if not isinstance(text, str):
        raise InputError(f"the field {field!r} is {text!r}: it must be text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the field {field!r} has half of a surrogate pair at character "
            f"{error.start + 1}: it is no text"
        ) from None
    return text


def format_rows(requests: Sequence[Request], label_style: str) -> list[Request]:
    """Formats the rows among the requests as inputs, those of one task at once."""
    made = list(requests)
    rows = [i for i, request in enumerate(requests) if request.row is not None]
    for task in dict.fromkeys(requests[i].task for i in rows):
        mine = [i for i in rows if requests[i].task == task]
        texts = raw_rows.texts(
            str(task), label_style, [requests[i].row or {} for i in mine]
        )
        for i, text in zip(mine, texts, strict=True):
            made[i] = requests[i]._replace(text=text)
    return made

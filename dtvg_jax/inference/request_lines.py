"""Lines of a user's file as requests to a model, and what is wrong with a bad one."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from dtvg_jax.data import catalogue, raw_rows
from dtvg_jax.errors import InputError


class Request(NamedTuple):
    """One line: what to answer, or why it cannot be answered."""

    line: int
    entry: str | None = None  # of the store; None: without a prompt
    task: str | None = None
    text: str | None = None  # worded already
    row: dict[str, str] | None = None  # to be worded by the task
    error: str | None = None


class Defaults(NamedTuple):
    """What holds for lines that do not say it themselves."""

    entry: str | None
    entries: dict[str, str]  # by task: the entry that a line of that task gets
    known: frozenset[str]  # all entries
    label_style: str


def parse(number: int, line: bytes, defaults: Defaults) -> Request:
    """Reads a line: a JSON object, or else plain text that is the input itself."""
    try:
        return _parse(number, line.decode().strip("\r\n"), defaults)
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
    task = given.pop("task", None)
    if task is not None:
        task = str(task).removeprefix("dtvg_")
        catalogue.check_task(task)
    entry = _entry(given.pop("prompt", None), task, defaults)
    task = task or (entry.split("/")[0] if entry else None)
    if "inputs" in given:
        return Request(number, entry, task, _text(given, "inputs"))
    if task is None:
        raise InputError('the line has neither "task" nor "inputs"')
    _, fields = raw_rows.preprocessor(task, defaults.label_style)
    return Request(number, entry, task, None, {f: _text(given, f) for f in fields})


def _entry(named: Any, task: str | None, defaults: Defaults) -> str | None:
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


def _text(given: dict[str, Any], field: str) -> str:
    if field not in given:
        raise InputError(f"the field {field!r} is missing")
    if not isinstance(given[field], str):
        raise InputError(f"the field {field!r} is {given[field]!r}: it must be text")
    return given[field]


def word(requests: Sequence[Request], label_style: str) -> list[Request]:
    """Words the rows among the requests, those of one task at once."""
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

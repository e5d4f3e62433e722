"""Lines of a user's file as requests to a model, and what is wrong with a bad one."""

import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dtvg_jax import files
from dtvg_jax.data import catalogue, raw_rows
from dtvg_jax.errors import InputError, shown
from dtvg_jax.files import JsonObject
from dtvg_jax.inference import ranking
from dtvg_jax.inference.ranking import Scoring
from dtvg_jax.store import entries

LONGEST = 2**20  # bytes of a line; all but its first tokens would be truncated


class Request(NamedTuple):
    """One line: what to answer, or why it cannot be answered."""

    line: int
    entry: str | None = None  # of the store; None: without a prompt
    task: str | None = None
    text: str | None = None  # the whole input
    row: raw_rows.Row | None = None  # to be formatted by the task
    labels: tuple[str, ...] = ()  # one of which is the answer; none: it is decoded
    error: str | None = None


class Defaults(NamedTuple):
    """What holds for lines that do not say it themselves."""

    entry: str | None
    entries: dict[str, str]  # by task: the entry that a line of that task gets
    known: frozenset[str]  # all entries
    label_style: str
    tasks_module: str = catalogue.ALL  # registers tasks that the catalogue lacks
    scoring: Scoring = Scoring.GREEDY


def split(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Yields the lines of a file; of one that is too long, enough to refuse it."""
    with file:
        while line := file.readline(LONGEST + 1):
            rest = line
            while len(rest) > LONGEST and not rest.endswith(b"\n"):
                rest = file.readline(LONGEST + 1)
            yield line


def parse(number: int, line: bytes, defaults: Defaults) -> Request:
    """Reads a line: a JSON object, or else plain text that is the input itself."""
    try:
        request = _parse(number, _decode(line), defaults)
        return request._replace(labels=_labels(request, defaults))
    except InputError as error:
        return Request(number, error=str(error))


def _decode(line: bytes) -> str:
    if len(line) > LONGEST:
        raise InputError(f"the line has more than {LONGEST:,} bytes")
    try:
        # Editors on Windows begin a file with a byte order mark.
        text = line.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start + 1}") from None
    if not text.strip():
        raise InputError("the line is empty")
    return raw_rows.text(text, "the line")


def _parse(number: int, text: str, defaults: Defaults) -> Request:
    given = _object(text)
    if given is None:
        return Request(number, _entry(None, None, defaults), None, text)
    task = _optional_text(given, "task")
    if task is not None:
        task = task.removeprefix("dtvg_")
        if task not in {entries.parse(name).task for name in defaults.known}:
            catalogue.check_task(task, defaults.tasks_module)
    entry = _entry(_optional_text(given, "prompt"), task, defaults)
    task = task or (entries.parse(entry).task if entry else None)
    if "inputs" in given:
        inputs = raw_rows.text(given["inputs"], "the field 'inputs'")
        return Request(number, entry, task, inputs)
    if task is None:
        raise InputError('the line has neither "task" nor "inputs"')
    form = raw_rows.form(task, defaults.label_style, defaults.tasks_module)
    return Request(number, entry, task, None, raw_rows.row(form, given))


def _labels(request: Request, defaults: Defaults) -> tuple[str, ...]:
    """Gives the labels that are ranked: those of the line's task or of its prompt's."""
    if defaults.scoring == Scoring.GREEDY:
        return ()
    of_entry = entries.parse(request.entry).task if request.entry else None
    task = request.task or of_entry
    if task is None:
        raise InputError('the line names no "task", whose labels could be ranked')
    found = raw_rows.labels(task, defaults.label_style, defaults.tasks_module)
    return ranking.checked(task, found)


def _object(text: str) -> JsonObject | None:
    """Gives the JSON object of a line, or None where it is plain text."""
    first = text.lstrip()[0]
    if first not in '{["':
        return None
    try:
        content = files.parse_json(text, "the line")
    except InputError as error:
        if first != "{":  # a text may begin with a quotation
            return None
        raise InputError(str(error).replace("line 1 column", "column")) from None
    if not isinstance(content, dict):
        raise InputError('the line is JSON but not an object: give {"inputs": TEXT}')
    return content


def _entry(named: str | None, task: str | None, defaults: Defaults) -> str | None:
    if named is not None and named not in defaults.known:
        raise InputError(f"there is no prompt {shown(named)} in the store")
    entry = named or defaults.entries.get(task or "") or defaults.entry
    if entry is None and defaults.known:
        raise InputError(
            f'the store has no prompt of {task}: name one by "prompt"'
            if task
            else 'the line names neither "task" nor "prompt", and there is no --prompt'
        )
    return entry


def _optional_text(given: JsonObject, field: str) -> str | None:
    value = given.get(field)
    return None if value is None else raw_rows.text(value, f"the field {field!r}")


def format_rows(requests: Sequence[Request], defaults: Defaults) -> list[Request]:
    """Formats the rows among the requests as inputs, those of one task at once."""
    made = list(requests)
    rows = [i for i, request in enumerate(requests) if request.row is not None]
    for task in dict.fromkeys(requests[i].task for i in rows):
        mine = [i for i in rows if requests[i].task == task]
        form = raw_rows.form(str(task), defaults.label_style, defaults.tasks_module)
        given = [requests[i].row or {} for i in mine]
        for i, text in zip(mine, _texts(form, given), strict=True):
            made[i] = (
                requests[i]._replace(error=str(text))
                if isinstance(text, InputError)
                else requests[i]._replace(text=text)
            )
    return made


def _texts(
    form: raw_rows.Form, rows: Sequence[raw_rows.Row]
) -> Sequence[str | InputError]:
    """Formats rows; a row that its task cannot format spoils no other."""
    try:
        return raw_rows.inputs(form, rows)
    except InputError as error:
        if len(rows) == 1:
            return [error]
        half = len(rows) // 2
        return [*_texts(form, rows[:half]), *_texts(form, rows[half:])]

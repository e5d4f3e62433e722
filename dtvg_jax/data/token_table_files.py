"""A token table on disk: written whole or not at all, and checked when read back.

A table is a folder:

    inputs.npy  input_offsets.npy     int32 ids of all rows end to end; row i is
    targets.npy target_offsets.npy    ids[offsets[i] : offsets[i + 1]], offsets int64
    golds.jsonl                       the gold answer of row i in line i
    meta.json                         a `TableMetadata`, sealed

Nothing in it names code. A table that is damaged or belongs to another request is made
again.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Int

from dtvg_jax import files
from dtvg_jax.data import spelling, tokenise
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.models.backbone import Vocabulary

ARRAYS = ("inputs", "input_offsets", "targets", "target_offsets")
_FILES = (*(f"{name}.npy" for name in ARRAYS), "golds.jsonl")
_REMEDY = "it has to be made again"


class Origin(NamedTuple):
    """Which table it is; its key is a digest of `request`."""

    task: str
    split: str
    request: JsonObject


@dataclasses.dataclass(frozen=True)
class TableMetadata:
    """The record in meta.json.

    `split_digest` identifies the rows' texts and their order, whatever the vocabulary
    and the lengths; `files` has a digest of every other file. `targets_unreadable`
    counts the rows whose target the vocabulary cannot decode to the same text.
    """

    task: str
    split: str
    lengths: Sequence[int]  # the most tokens of an input and of a target
    rows: int
    longest_input: int
    longest_target: int
    inputs_truncated: int
    targets_truncated: int
    targets_unreadable: int
    split_digest: str
    files: dict[str, str]
    request: JsonObject


class Stored(NamedTuple):
    """A table as it is read back; arrays are mapped into memory, read-only."""

    metadata: TableMetadata
    arrays: dict[str, Int[np.ndarray, " ids"]]


class _Column(NamedTuple):
    """The ids of one feature as they are written, and where each row ends."""

    file: BinaryIO
    ends: array


@dataclasses.dataclass
class _Seen:
    """What is counted while rows stream through; `classes` are ids by target."""

    rows: int = 0
    inputs_truncated: int = 0
    targets_truncated: int = 0
    targets_unreadable: int = 0
    classes: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    # Any: hashlib names no public type for its digests.
    members: Any = dataclasses.field(default_factory=hashlib.sha256)


def write(
    folder: pathlib.Path,
    rows: Iterable[tokenise.TextRow],
    vocabulary: Vocabulary,
    lengths: tuple[int, int],
    origin: Origin,
    check: Callable[[], None] = lambda: None,
    *,
    free_answers: bool = False,
) -> None:
    """Tokenises `rows` into the table `folder`, which appears only when complete.

    Rows stream through in chunks, so memory grows by no more than 8 bytes of offsets
    per row. A second process that wants the same table waits for the first and uses
    its work; `check` is called meanwhile and may raise to stop. With `free_answers`
    targets are texts, not classes, and different ones may have the same ids.

    Raises:
      InputError: where there are no rows, classes are the same ids, or the folder
        cannot be written.
    """
    building = folder.with_name(folder.name + ".building")
    with writable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(folder.with_name(folder.name + ".lock"), wait=check):
            if _is_sound(folder, origin.request):
                return
            # We hold the lock, so whatever is there was damaged or left by a killed
            # process; a process that has mapped its files keeps them.
            _remove(folder)
            _remove(building)
            building.mkdir()
            try:
                _fill(building, rows, vocabulary, lengths, origin, free_answers)
                os.rename(building, folder)
                files.sync(folder.parent)
            finally:
                shutil.rmtree(building, ignore_errors=True)


def read(folder: pathlib.Path, request: JsonObject) -> Stored:
    """Reads a table after comparing every file with its digest.

    Raises:
      InputError: where the folder is not the table of `request`, as it was written.
    """
    meta = folder / "meta.json"
    content = files.unseal(files.read_json(meta, _REMEDY), meta, _REMEDY)
    metadata = files.record(TableMetadata, content, str(meta))
    if metadata.request != request:
        raise InputError(
            f"the token table {folder} belongs to another request: {_REMEDY}"
        )
    try:
        changed = [
            name
            for name in _FILES
            if files.sha256(folder / name) != metadata.files[name]
        ]
        if changed:
            raise ValueError(f"{' and '.join(changed)} changed")
        arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in ARRAYS}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"the token table {folder} is damaged ({error}): {_REMEDY}"
        ) from None
    return Stored(metadata, arrays)


def read_golds(folder: pathlib.Path) -> list[tokenise.Gold]:
    """Reads the gold answers of all rows."""
    with (folder / "golds.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _is_sound(folder: pathlib.Path, request: JsonObject) -> bool:
    try:
        read(folder, request)
    except InputError:
        return False
    return True


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def writable(path: pathlib.Path) -> Iterator[None]:
    """Converts an OSError raised inside into an InputError about the cache folder."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the token table {path} cannot be written: {error.strerror or error}; "
            "choose a cache folder that is writable and has room"
        ) from error


def _fill(
    building: pathlib.Path,
    rows: Iterable[tokenise.TextRow],
    vocabulary: Vocabulary,
    lengths: tuple[int, int],
    origin: Origin,
    free_answers: bool,
) -> None:
    """Writes all files of a table, the metadata last, and syncs them to the disk."""
    seen, inputs, targets = _write_rows(building, rows, vocabulary, lengths)
    where = f"the split '{origin.split}' of task '{origin.task}'"
    if seen.rows == 0:
        raise InputError(
            f"{where} has no rows: prepare its data again, or choose another split"
        )
    if not free_answers:
        spelling.check_classes(seen.classes, seen.rows, vocabulary, where)
    metadata = TableMetadata(
        **origin._asdict(),
        lengths=lengths,
        rows=seen.rows,
        longest_input=_write_offsets(building / "input_offsets.npy", inputs),
        longest_target=_write_offsets(building / "target_offsets.npy", targets),
        inputs_truncated=seen.inputs_truncated,
        targets_truncated=seen.targets_truncated,
        targets_unreadable=seen.targets_unreadable,
        split_digest=seen.members.hexdigest(),
        files={name: files.sha256(building / name) for name in _FILES},
    )
    sealed = files.seal(dataclasses.asdict(metadata))
    files.write_json(building / "meta.json", sealed)
    for path in [*building.iterdir(), building]:
        files.sync(path)


def _write_rows(
    building: pathlib.Path,
    rows: Iterable[tokenise.TextRow],
    vocabulary: Vocabulary,
    lengths: tuple[int, int],
) -> tuple[_Seen, _Column, _Column]:
    """Writes ids and gold answers chunk by chunk; returns what was counted meanwhile.

    The columns of inputs and targets are closed, and know where their rows end.
    """
    seen = _Seen()
    with (
        _column(building / "inputs.npy") as inputs,
        _column(building / "targets.npy") as targets,
        (building / "golds.jsonl").open("w", encoding="utf-8") as golds,
    ):
        for chunk in tokenise.chunks(rows):
            tokens = tokenise.tokenise(chunk, vocabulary, lengths)
            known = _spelling(chunk, vocabulary)
            _append(inputs, tokens.inputs)
            _append(targets, tokens.targets)
            for row in chunk:
                gold = spelling.spelled(row.gold, known)
                golds.write(json.dumps(gold, ensure_ascii=False) + "\n")
            _count(seen, chunk, tokens, known)
    return seen, inputs, targets


def _count(
    seen: _Seen,
    chunk: Sequence[tokenise.TextRow],
    tokens: tokenise.TokenRows,
    known: spelling.Spelling,
) -> None:
    """Adds a chunk to what was seen."""
    seen.rows += len(chunk)
    seen.inputs_truncated += sum(tokens.inputs_truncated)
    seen.targets_truncated += sum(tokens.targets_truncated)
    seen.targets_unreadable += sum(known[row.targets] is None for row in chunk)
    if len(seen.classes) <= spelling.MOST_CLASSES:
        texts = (row.targets for row in chunk)
        seen.classes |= dict(zip(texts, tokens.targets, strict=True))
    for row in chunk:
        seen.members.update(json.dumps([row.inputs, row.targets]).encode() + b"\n")


def _spelling(
    chunk: Sequence[tokenise.TextRow], vocabulary: Vocabulary
) -> spelling.Spelling:
    golds = (text for row in chunk for text in spelling.texts_of(row.gold))
    return spelling.spelling([*(row.targets for row in chunk), *golds], vocabulary)


def _write_offsets(path: pathlib.Path, column: _Column) -> int:
    """Writes where rows begin and end; returns the length of the longest row."""
    offsets = np.frombuffer(column.ends, np.int64)
    np.save(path, offsets)
    return int(np.diff(offsets).max())


@contextlib.contextmanager
def _column(path: pathlib.Path) -> Iterator[_Column]:
    # NumPy pads the header of an .npy file so that the first axis can grow: it is
    # written for 0 ids, and overwritten when their number is known.
    ends = array("q", [0])
    with path.open("wb") as file:
        _write_header(file, 0)
        yield _Column(file, ends)
        file.seek(0)
        _write_header(file, ends[-1])


def _write_header(file: BinaryIO, length: int) -> None:
    header = {"descr": "<i4", "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)


def _append(column: _Column, rows: Sequence[Sequence[int]]) -> None:
    for row in rows:
        column.ends.append(column.ends[-1] + len(row))
    flat = np.fromiter((i for row in rows for i in row), np.dtype("<i4"))
    column.file.write(flat.tobytes())

"""A token table on disk: written whole or not at all, and checked when read back.

A table is a folder:

    inputs.npy  input_offsets.npy     int32 ids of all rows end to end; row i is
    targets.npy target_offsets.npy    ids[offsets[i] : offsets[i + 1]], offsets int64
    golds.jsonl                       the gold answer of row i in line i
    meta.json                         a `TableMetadata`
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
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Int

from dtvg_jax import errors, files
from dtvg_jax.data import tokenise
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.models.backbone import Vocabulary

ARRAYS = ("inputs", "input_offsets", "targets", "target_offsets")
_FILES = (*(f"{name}.npy" for name in ARRAYS), "golds.jsonl")
_REMEDY = "delete that folder and it will be made again"


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How predictions on a table are scored.

    metrics: functions as "module:name", see `catalogue.stored_name`.
    postprocess: the same of the postprocessor, None where there is none.
    metric_names: the values that count, primary metric first; None: all.
    """

    metrics: tuple[str, ...]
    postprocess: str | None = None
    metric_names: tuple[str, ...] | None = None


class Origin(NamedTuple):
    """What a table is made of; `request` is all that its key is a digest of."""

    task: str
    split: str
    scoring: Scoring
    request: JsonObject


@dataclasses.dataclass(frozen=True)
class TableMetadata:
    """What is known of a table.

    `split_digest` tells the rows' texts and their order, whatever the vocabulary and
    the lengths; `files` has a digest of every other file.
    """

    task: str
    split: str
    scoring: Scoring
    rows: int
    longest_input: int
    longest_target: int
    inputs_truncated: int
    targets_truncated: int
    split_digest: str
    files: dict[str, str]
    request: JsonObject


class _Column(NamedTuple):
    """The ids of one feature as they are written, and where each row ends."""

    file: BinaryIO
    ends: array


def write(
    folder: pathlib.Path,
    rows: Iterable[tokenise.TextRow],
    vocabulary: Vocabulary,
    lengths: tuple[int, int],
    origin: Origin,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Tokenises `rows` into the table `folder`, which appears only when complete.

    Rows stream through in chunks, so memory does not grow with their number (but for
    8 bytes a row of offsets). A second process that wants the same table waits for the
    first and uses its work; `check` is called meanwhile and may raise to stop.

    Raises:
      InputError: where there are no rows, or the folder cannot be written.
    """
    building = folder.with_name(folder.name + ".building")
    with _writable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(folder.with_name(folder.name + ".lock"), wait=check):
            if folder.exists():
                return
            # With the lock in hand, whatever lies there was left by a killed process.
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            try:
                _fill(building, rows, vocabulary, lengths, origin)
                os.rename(building, folder)
                files.sync(folder.parent)
            finally:
                shutil.rmtree(building, ignore_errors=True)


def read_metadata(folder: pathlib.Path) -> TableMetadata:
    """Reads a table's metadata after comparing every other file with its digest.

    Raises:
      InputError: where the folder is not what was once written there.
    """
    content = files.read_json(folder / "meta.json", _REMEDY)
    try:
        metadata = _parse(content)
        damaged = [f for f in _FILES if files.sha256(folder / f) != metadata.files[f]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"meta.json or a file it names ({error})") from None
    if damaged:
        raise _damaged(folder, ", ".join(damaged))
    return metadata


def read_arrays(folder: pathlib.Path) -> dict[str, Int[np.ndarray, " ids"]]:
    """Maps a table's arrays into memory, read only."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}


def read_golds(folder: pathlib.Path) -> list[tokenise.Gold]:
    """Reads the gold answers of all rows."""
    with (folder / "golds.jsonl").open() as lines:
        return [json.loads(line) for line in lines]


def _parse(content: JsonObject) -> TableMetadata:
    """Makes the record; TypeError or KeyError where fields are missing or unknown."""
    scoring = content["scoring"]
    if not isinstance(scoring, dict):
        raise TypeError(f"scoring = {scoring!r}")
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in scoring.items()}
    fields = content | {"scoring": Scoring(**frozen)}  # pyright: ignore
    metadata = TableMetadata(**fields)  # pyright: ignore[reportArgumentType]
    errors.check_field_types(metadata)
    return metadata


def _damaged(folder: pathlib.Path, what: str) -> InputError:
    return InputError(f"The token table {folder} is damaged in {what}: {_REMEDY}.")


@contextlib.contextmanager
def _writable(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"The token table {path} cannot be written: {error.strerror or error}. "
            "Choose a cache folder that is writable and has room."
        ) from error


def _fill(
    building: pathlib.Path,
    rows: Iterable[tokenise.TextRow],
    vocabulary: Vocabulary,
    lengths: tuple[int, int],
    origin: Origin,
) -> None:
    truncated = np.zeros(2, int)
    members = hashlib.sha256()
    with (
        _column(building / "inputs.npy") as inputs,
        _column(building / "targets.npy") as targets,
        (building / "golds.jsonl").open("w") as golds,
    ):
        for chunk in tokenise.chunks(rows):
            tokens = tokenise.tokenise(chunk, vocabulary, lengths)
            _append(inputs, tokens.inputs)
            _append(targets, tokens.targets)
            truncated += (sum(tokens.inputs_truncated), sum(tokens.targets_truncated))
            for row in chunk:
                golds.write(json.dumps(row.gold, ensure_ascii=False) + "\n")
                members.update(json.dumps([row.inputs, row.targets]).encode() + b"\n")
    if len(inputs.ends) == 1:
        raise InputError(
            f"The split '{origin.split}' of task '{origin.task}' has no rows: "
            "prepare its data again, or choose another split."
        )
    metadata = TableMetadata(
        **origin._asdict(),
        rows=len(inputs.ends) - 1,
        longest_input=_write_offsets(building / "input_offsets.npy", inputs),
        longest_target=_write_offsets(building / "target_offsets.npy", targets),
        inputs_truncated=int(truncated[0]),
        targets_truncated=int(truncated[1]),
        split_digest=members.hexdigest(),
        files={name: files.sha256(building / name) for name in _FILES},
    )
    files.write_json(building / "meta.json", dataclasses.asdict(metadata))
    for path in [*building.iterdir(), building]:
        files.sync(path)


def _write_offsets(path: pathlib.Path, column: _Column) -> int:
    """Writes where rows begin and end; returns the length of the longest row."""
    offsets = np.frombuffer(column.ends, np.int64)
    np.save(path, offsets)
    return int(np.diff(offsets).max())


@contextlib.contextmanager
def _column(path: pathlib.Path) -> Iterator[_Column]:
    # NumPy pads the header of an .npy file so that the first axis can still grow:
    # it is written for no rows, and over again when the number of ids is known.
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

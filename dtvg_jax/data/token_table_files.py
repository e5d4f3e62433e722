"""A token table on disk: written whole or not at all, and checked when read back.

A table is a folder:

    inputs.npy  input_offsets.npy     int32 ids of all rows end to end; row i is
    targets.npy target_offsets.npy    ids[offsets[i] : offsets[i + 1]], offsets int64
    golds.jsonl                       the gold answer of row i in line i
    meta.json                         what made it, and a digest of every other file
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from dtvg_jax.data import tokenise
from dtvg_jax.errors import InputError

ARRAYS = ("inputs", "input_offsets", "targets", "target_offsets")
_FILES = (*(f"{name}.npy" for name in ARRAYS), "golds.jsonl")


def write(
    folder: pathlib.Path,
    rows: Iterable[tokenise.TextRow],
    vocabulary: tokenise.Tokeniser,
    lengths: tuple[int, int],
    meta: dict[str, Any],
) -> None:
    """Tokenises `rows` into the table `folder`, which appears only when complete.

    Rows stream through in chunks, so memory does not grow with their number (but for
    8 bytes a row of offsets). `meta` is kept with counts and digests added.
    A second process that wants the same table waits for the first and uses its work.

    Raises:
      InputError: where there are no rows, or the folder cannot be written.
    """
    building = folder.with_name(folder.name + ".building")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(folder.name + ".lock")):
            if folder.exists():
                return
            # With the lock in hand, whatever lies there was left by a killed process.
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            try:
                _fill(building, rows, vocabulary, lengths, meta)
                os.rename(building, folder)
                _sync(folder.parent)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_note(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes a small JSON file beside the tables, whole or not at all.

    Raises:
      InputError: where the folder cannot be written.
    """
    writing = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writing.write_text(json.dumps(content))
        _sync(writing)
        os.replace(writing, path)
    except OSError as error:
        raise _unwritable(path, error) from error


def read_meta(folder: pathlib.Path) -> dict[str, Any]:
    """Reads a table's meta.json after comparing every other file with its digest.

    Raises:
      InputError: where the folder is not what was once written there.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text())
        damaged = [f for f in _FILES if _digest(folder / f) != meta["files"][f]]
    except (OSError, ValueError, KeyError) as error:
        damaged = [f"meta.json or a file it names ({error})"]
        meta = {}
    if damaged:
        raise InputError(
            f"The token table {folder} is damaged in {', '.join(damaged)}: "
            "delete that folder and it will be made again."
        )
    return meta


def read_arrays(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Maps the four arrays of a table into memory, read only."""
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}


def read_golds(folder: pathlib.Path) -> list[Any]:
    """Reads the gold answers of all rows."""
    with (folder / "golds.jsonl").open() as lines:
        return [json.loads(line) for line in lines]


def _unwritable(path: pathlib.Path, error: OSError) -> InputError:
    return InputError(
        f"The token table {path} cannot be written: {error.strerror or error}. "
        "Choose a cache folder that is writable and has room."
    )


def _fill(
    building: pathlib.Path,
    rows: Iterable[tokenise.TextRow],
    vocabulary: tokenise.Tokeniser,
    lengths: tuple[int, int],
    meta: dict[str, Any],
) -> None:
    ends = {"input": array("q", [0]), "target": array("q", [0])}
    cut = {"inputs_cut": 0, "targets_cut": 0}
    members = hashlib.sha256()
    with (
        _array_file(building / "inputs.npy", ends["input"]) as inputs,
        _array_file(building / "targets.npy", ends["target"]) as targets,
        (building / "golds.jsonl").open("w") as golds,
    ):
        for chunk in tokenise.chunks(rows):
            tokens = tokenise.tokenise(chunk, vocabulary, lengths)
            _append(inputs, tokens.inputs, ends["input"])
            _append(targets, tokens.targets, ends["target"])
            cut["inputs_cut"] += tokens.inputs_cut
            cut["targets_cut"] += tokens.targets_cut
            for row in chunk:
                golds.write(json.dumps(row.gold, ensure_ascii=False) + "\n")
                members.update(json.dumps([row.inputs, row.targets]).encode() + b"\n")
    if len(ends["input"]) == 1:
        raise InputError(
            f"The split '{meta['split']}' of task '{meta['task']}' has no rows: "
            "prepare its data again, or choose another split."
        )
    counts: dict[str, int] = {"rows": len(ends["input"]) - 1, **cut}
    for name, values in ends.items():
        offsets = np.frombuffer(values, np.int64)
        np.save(building / f"{name}_offsets.npy", offsets)
        counts[f"longest_{name}"] = int(np.diff(offsets).max())
    files = {name: _digest(building / name) for name in _FILES}
    meta = meta | counts | {"split_digest": members.hexdigest(), "files": files}
    (building / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    for path in [*building.iterdir(), building]:
        _sync(path)


@contextlib.contextmanager
def _array_file(path: pathlib.Path, ends: array) -> Iterator[BinaryIO]:
    # NumPy pads the header of an .npy file so that the first axis can still grow:
    # it is written for no rows, and over again when the number of ids is known.
    with path.open("wb") as file:
        _write_header(file, 0)
        yield file
        file.seek(0)
        _write_header(file, ends[-1])


def _write_header(file: BinaryIO, length: int) -> None:
    header = {"descr": "<i4", "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, header)


def _append(file: BinaryIO, rows: Sequence[Sequence[int]], ends: array) -> None:
    for row in rows:
        ends.append(ends[-1] + len(row))
    flat = np.fromiter((i for row in rows for i in row), np.dtype("<i4"))
    file.write(flat.tobytes())


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

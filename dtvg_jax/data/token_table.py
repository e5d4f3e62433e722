"""Token tables: a split of a task, tokenised once and mapped into memory.

A table is keyed by a digest of everything that made it, all of it known without SeqIO:
a second start reads its tables in milliseconds and never imports TensorFlow.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dtvg_jax import files
from dtvg_jax.data import catalogue, fingerprints, source, token_table_files, tokenise
from dtvg_jax.data.token_table_files import TableMetadata
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject

FORMAT = 2  # raise it when the same text would give another table

_log = logging.getLogger(__name__)

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class TokenTable:
    """The rows of one split as ids; row i is `inputs[input_offsets[i]:...[i + 1]]`."""

    inputs: Int[np.ndarray, " inputs"]
    input_offsets: Int[np.ndarray, " offsets"]
    targets: Int[np.ndarray, " targets"]
    target_offsets: Int[np.ndarray, " offsets"]
    metadata: TableMetadata
    folder: pathlib.Path

    @property
    def name(self) -> str:
        """The task's name, as the catalogue or the user's module has it."""
        return self.metadata.task

    @property
    def split(self) -> str:
        return self.metadata.split

    def __len__(self) -> int:
        return len(self.input_offsets) - 1

    @functools.cached_property
    def golds(self) -> list[tokenise.Gold]:
        """The gold answer of every row, as the task's postprocessor made it."""
        return token_table_files.read_golds(self.folder)[: len(self)]


@dataclasses.dataclass(frozen=True)
class TableSettings:
    """What the tables of a run have in common.

    Attributes:
      vocabulary: the backbone's.
      lengths: (T, L), the most ids of an input and of a target.
      cache_dir: where tables are kept; any number of jobs may share it.
      tfds_data_dir: where TensorFlow Datasets lie prepared; None for tasks that read
        something else.
      label_style: "digits", "words" or "reference", for tasks of the catalogue.
      tasks_module: its import registers the tasks that the catalogue lacks.
    """

    vocabulary: tokenise.Tokeniser
    lengths: tuple[int, int]
    cache_dir: Path
    tfds_data_dir: Path | None = None
    label_style: str = "digits"
    tasks_module: str = catalogue.ALL


class _Task(NamedTuple):
    """A task by its name in SeqIO, the module that registers it, and its metrics."""

    seqio_name: str
    tasks_module: str
    info: catalogue.TaskInfo | None


def token_table(
    task: str, split: str, settings: TableSettings, shots: source.Shots | None = None
) -> TokenTable:
    """Opens the token table of a split, making it where the cache has none.

    Args:
      task: a name of the catalogue, such as "superglue-rte", or a SeqIO task that
        `settings.tasks_module` registers.
      split: "train", "validation" or "test".
      settings: see there.
      shots: to take k rows of the split; None for all.

    Raises:
      InputError: for an unknown task or split, missing data, or an unusable cache.
    """
    _check_lengths(settings.lengths, settings.vocabulary)
    found = _find(task, settings)
    request = _request(task, split, found, settings, shots)
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    part = "-".join([split, *map(str, shots or ())])
    folder = pathlib.Path(settings.cache_dir, f"{found.seqio_name}-{part}-{key[:16]}")
    if not folder.is_dir():
        _log.info("tokenising %s %s into %s", task, split, folder)
        opened = _open(found, settings)
        scoring = source.scoring(
            opened, None if found.info is None else found.info.metrics
        )
        token_table_files.write(
            folder,
            source.text_rows(opened, split, shots),
            settings.vocabulary,
            settings.lengths,
            token_table_files.Origin(task, split, scoring, request),
        )
    return read_table(folder)


def head(table: TokenTable, rows: int | None) -> TokenTable:
    """Keeps the first rows of a table, all of them for None."""
    if rows is None:
        return table
    return dataclasses.replace(
        table,
        input_offsets=table.input_offsets[: rows + 1],
        target_offsets=table.target_offsets[: rows + 1],
    )


def read_table(folder: pathlib.Path) -> TokenTable:
    """Opens a table that was written before, after checking its files."""
    metadata = token_table_files.read_metadata(folder)
    arrays = token_table_files.read_arrays(folder)
    return TokenTable(**arrays, metadata=metadata, folder=folder)


def _check_lengths(lengths: tuple[int, int], vocabulary: tokenise.Tokeniser) -> None:
    needed = 1 + len(vocabulary.prefix_ids) + tokenise.suffix_length(vocabulary)
    for length, least, what in zip(
        lengths, (needed, 1), ("inputs", "targets"), strict=True
    ):
        if length < least:
            raise InputError(
                f"A length of {length} for {what} leaves no room for their text: "
                f"it must be at least {least} with this vocabulary."
            )


def _find(task: str, settings: TableSettings) -> _Task:
    catalogue.check_label_style(settings.label_style)
    catalogue.check_task(task, settings.tasks_module)
    info = catalogue.known().get(task)
    if info is None:
        return _Task(task, settings.tasks_module, None)
    # A name of the catalogue means its own task, whatever else is registered.
    return _Task(catalogue.seqio_name(info, settings.label_style), catalogue.ALL, info)


def _open(task: _Task, settings: TableSettings) -> source.Task:
    return source.open_task(task.seqio_name, task.tasks_module, settings.tfds_data_dir)


def _request(
    task: str,
    split: str,
    found: _Task,
    settings: TableSettings,
    shots: source.Shots | None,
) -> JsonObject:
    """Names everything that the content of a table depends on."""
    vocabulary = settings.vocabulary
    code = fingerprints.code_digest(found.tasks_module)
    if found.info is not None:
        reads = fingerprints.Reads(found.info.builder)
    else:
        reads = _own_reads(found, split, code, settings)
    return {
        "format": FORMAT,
        "task": task,
        "seqio_name": found.seqio_name,
        "split": split,
        "label_style": settings.label_style,
        "lengths": list(settings.lengths),
        "code": code,
        "shots": shots and list(shots),
        "vocabulary": vocabulary.digest,
        "vocabulary_size": vocabulary.size,
        "prefix_ids": list(vocabulary.prefix_ids),
        "input_suffix": vocabulary.input_suffix,
        "eos_id": vocabulary.eos_id,
        "source": reads._asdict(),
        "data": fingerprints.data_digest(reads, settings.tfds_data_dir),
    }


def _own_reads(
    found: _Task, split: str, code: str, settings: TableSettings
) -> fingerprints.Reads:
    # What a task outside the catalogue reads is known only to SeqIO: it is asked once
    # and kept beside the tables, for as long as the code of the task stays the same.
    note = pathlib.Path(
        settings.cache_dir, f"{found.seqio_name}-{split}-{code[:16]}.source.json"
    )
    if not note.exists():
        reads = source.reads(_open(found, settings), split)
        token_table_files.write_note(note, reads._asdict())
    return fingerprints.parse_reads(files.read_json(note, "delete it"))

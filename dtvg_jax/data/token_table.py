"""Token tables: a split of a task, tokenised once and mapped into memory.

A table is keyed by a digest of everything that made it. For tasks of the catalogue all
of it is known without SeqIO: a second start reads its tables in milliseconds and never
imports TensorFlow. A task of a user may depend on anything, so its rows are the key.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from dtvg_jax.data import catalogue, fingerprints, source, token_table_files, tokenise
from dtvg_jax.data.token_table_files import TableMetadata
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.models.backbone import Vocabulary

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

    vocabulary: Vocabulary
    lengths: tuple[int, int]
    cache_dir: Path
    tfds_data_dir: Path | None = None
    label_style: str = "digits"
    tasks_module: str = catalogue.ALL


class _Opened(NamedTuple):
    """A task that SeqIO has opened: its rows, made anew by each call, and scoring."""

    rows: Callable[[], Iterator[tokenise.TextRow]]
    scoring: token_table_files.Scoring


def token_table(
    task: str,
    split: str,
    settings: TableSettings,
    shots: source.Shots | None = None,
    check: Callable[[], None] = lambda: None,
) -> TokenTable:
    """Opens the token table of a split, making it where the cache has none.

    Args:
      task: a name of the catalogue, such as "superglue-rte", or a SeqIO task that
        `settings.tasks_module` registers.
      split: "train", "validation" or "test".
      settings: see there.
      shots: to take k rows of the split; None for all.
      check: called while another process makes the table; may raise to stop.

    Raises:
      InputError: for an unknown task or split, missing data, or an unusable cache.
    """
    _check_lengths(settings.lengths, settings.vocabulary)
    catalogue.check_label_style(settings.label_style)
    catalogue.check_task(task, settings.tasks_module)
    # A name of the catalogue means its own task, whatever else is registered.
    info = catalogue.known().get(task)
    request = _request(task, split, settings, shots)
    if info is not None:
        request |= _of_catalogue(info, settings)
        opened = None
    else:
        opened = _open(task, split, settings, shots, None)
        request |= _of_rows(opened)
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    part = "-".join([task, split, *map(str, shots or ())])
    folder = pathlib.Path(settings.cache_dir, f"{part}-{key[:16]}")
    if not folder.is_dir():
        _log.info("tokenising %s %s into %s", task, split, folder)
        opened = opened or _open(task, split, settings, shots, info)
        token_table_files.write(
            folder,
            opened.rows(),
            settings.vocabulary,
            settings.lengths,
            token_table_files.Origin(task, split, opened.scoring, request),
            check,
        )
    return read_table(folder)


def _open(
    task: str,
    split: str,
    settings: TableSettings,
    shots: source.Shots | None,
    info: catalogue.TaskInfo | None,
) -> _Opened:
    """Finds a task with SeqIO, which takes seconds to import."""
    name, module = task, settings.tasks_module
    if info is not None:
        name, module = catalogue.seqio_name(info, settings.label_style), catalogue.ALL
    opened = source.open_task(name, module, settings.tfds_data_dir)
    source.check_present(opened, split, settings.tfds_data_dir)
    return _Opened(
        functools.partial(source.text_rows, opened, split, shots),
        source.scoring(opened, None if info is None else info.metrics),
    )


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


def _check_lengths(lengths: tuple[int, int], vocabulary: Vocabulary) -> None:
    needed = 1 + len(vocabulary.prefix_ids) + tokenise.suffix_length(vocabulary)
    for length, least, what in zip(
        lengths, (needed, 1), ("inputs", "targets"), strict=True
    ):
        if length < least:
            raise InputError(
                f"A length of {length} for {what} leaves no room for their text: "
                f"it must be at least {least} with this vocabulary."
            )


def _request(
    task: str, split: str, settings: TableSettings, shots: source.Shots | None
) -> JsonObject:
    """Names what the content of any table depends on."""
    vocabulary = settings.vocabulary
    return {
        "format": FORMAT,
        "task": task,
        "split": split,
        "lengths": list(settings.lengths),
        "shots": shots and list(shots),
        "vocabulary": vocabulary.digest,
        "vocabulary_size": vocabulary.size,
        "prefix_ids": list(vocabulary.prefix_ids),
        "input_suffix": vocabulary.input_suffix,
        "eos_id": vocabulary.eos_id,
    }


def _of_catalogue(info: catalogue.TaskInfo, settings: TableSettings) -> JsonObject:
    """Names what a table of the catalogue depends on; SeqIO is not needed for it."""
    return {
        "seqio_name": catalogue.seqio_name(info, settings.label_style),
        "code": fingerprints.code_digest(),
        "data": fingerprints.data_digest(info.builder, settings.tfds_data_dir),
    }


def _of_rows(opened: _Opened) -> JsonObject:
    """Names what a table of another task depends on: its rows, whatever makes them.

    Such a task may read files, other modules or the environment; so its rows are made
    at every start, and nothing that changed is missed.
    """
    digest = hashlib.sha256()
    for row in opened.rows():
        digest.update(json.dumps(row).encode() + b"\n")
    scoring = json.dumps(dataclasses.asdict(opened.scoring))
    return {"rows": digest.hexdigest(), "scoring": scoring}

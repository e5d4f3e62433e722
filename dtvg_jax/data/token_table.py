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

from dtvg_jax import files
from dtvg_jax.data import catalogue, fingerprints, source, token_table_files, tokenise
from dtvg_jax.data.token_table_files import TableMetadata
from dtvg_jax.errors import InputError
from dtvg_jax.files import JsonObject
from dtvg_jax.models.backbone import Vocabulary

FORMAT = 3  # raise it when the same text would give another table

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
    scoring: catalogue.Scoring

    @property
    def name(self) -> str:
        """The task's name, as the catalogue or the user's module has it."""
        return self.metadata.task

    @property
    def split(self) -> str:
        return self.metadata.split

    @property
    def lengths(self) -> tuple[int, int]:
        """The most tokens of inputs and of targets, to which they were truncated."""
        inputs, targets = self.metadata.lengths
        return inputs, targets

    def __len__(self) -> int:
        return len(self.input_offsets) - 1

    @functools.cached_property
    def input_lengths(self) -> Int[np.ndarray, " rows"]:
        """The ids of each row's input, with prefix, suffix and end."""
        return np.diff(self.input_offsets)

    @functools.cached_property
    def target_lengths(self) -> Int[np.ndarray, " rows"]:
        """The ids of each row's target, with the end."""
        return np.diff(self.target_offsets)

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
      cache_dir: where tables are kept, in its folder `token_tables`; any number of
        jobs may share it.
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


class Losses(NamedTuple):
    """Shares of a table's rows, 0 to 1, that lost something when they became ids.

    inputs_truncated, targets_truncated: texts longer than the lengths
    targets_unreadable: targets that the vocabulary cannot decode to the same text, so
        that no answer can equal them
    """

    inputs_truncated: float
    targets_truncated: float
    targets_unreadable: float


class _Opened(NamedTuple):
    """A table's own part of the request, a function to its rows, and its scoring."""

    request: JsonObject
    rows: Callable[[], Iterator[tokenise.TextRow]]
    scoring: catalogue.Scoring


def token_table(
    task: str,
    split: str,
    settings: TableSettings,
    shots: source.Shots | None = None,
    check: Callable[[], None] = lambda: None,
) -> TokenTable:
    """Opens the token table of a split, making it where the cache has none.

    Args:
      task: a name of the catalogue, such as "superglue-cb", or a SeqIO task that
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
    opened = (
        _of_user(task, split, settings, shots)
        if info is None
        else _of_catalogue(info, split, settings, shots)
    )
    request = _request(task, split, settings, shots) | opened.request
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    part = "-".join([task, split, *map(str, shots or ())])
    folder = _cache(settings) / f"{part}-{key[:16]}"
    table = _find(folder, request, opened.scoring)
    if table is None:
        _log.info("tokenising %s %s into %s", task, split, folder)
        token_table_files.write(
            folder,
            opened.rows(),
            settings.vocabulary,
            settings.lengths,
            token_table_files.Origin(task, split, request),
            check,
            free_answers=info is not None and info.labels is None,
        )
        table = read_table(folder, request, opened.scoring)
    log_losses(table, settings.lengths)
    return table


def head(table: TokenTable, rows: int | None) -> TokenTable:
    """Keeps the first rows of a table, all of them for None."""
    if rows is None:
        return table
    return dataclasses.replace(
        table,
        input_offsets=table.input_offsets[: rows + 1],
        target_offsets=table.target_offsets[: rows + 1],
    )


def read_table(
    folder: pathlib.Path, request: JsonObject, scoring: catalogue.Scoring
) -> TokenTable:
    """Opens a table that was written before, and checks its files."""
    stored = token_table_files.read(folder, request)
    return TokenTable(
        **stored.arrays, metadata=stored.metadata, folder=folder, scoring=scoring
    )


def losses(table: TokenTable) -> Losses:
    """Gives the losses of the whole split, also for a table's `head`."""
    found = table.metadata
    counts = found.inputs_truncated, found.targets_truncated, found.targets_unreadable
    return Losses(*(count / found.rows for count in counts))


def _check_lengths(lengths: tuple[int, int], vocabulary: Vocabulary) -> None:
    needed = 1 + len(vocabulary.prefix_ids) + tokenise.suffix_length(vocabulary)
    for length, least, what in zip(
        lengths, (needed, 1), ("inputs", "targets"), strict=True
    ):
        if length < least:
            raise InputError(
                f"a length of {length} for {what} leaves no room for their text: "
                f"it must be at least {least} with this vocabulary"
            )


def _request(
    task: str, split: str, settings: TableSettings, shots: source.Shots | None
) -> JsonObject:
    """Gives what the content of any table depends on."""
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


def _of_catalogue(
    info: catalogue.TaskInfo,
    split: str,
    settings: TableSettings,
    shots: source.Shots | None,
) -> _Opened:
    """Gives what a table of the catalogue depends on; SeqIO only makes its rows."""
    name = catalogue.seqio_name(info, settings.label_style)
    data_dir = settings.tfds_data_dir
    request: JsonObject = {
        "seqio_name": name,
        "code": fingerprints.code_digest(),
        "data": fingerprints.data_digest(info.builder, data_dir),
    }

    def rows() -> Iterator[tokenise.TextRow]:
        task = source.open_task(name, catalogue.ALL, data_dir)
        return source.text_rows(task, split, shots)

    return _Opened(request, rows, catalogue.scoring(info, settings.label_style))


def _of_user(
    name: str, split: str, settings: TableSettings, shots: source.Shots | None
) -> _Opened:
    """Gives what a table of another task depends on: its rows, whatever makes them.

    Such a task may read files, other modules or the environment, so its rows are made
    at every start, and no change is missed.
    """
    data_dir = settings.tfds_data_dir
    opened = source.open_task(name, settings.tasks_module, data_dir)
    task = source.with_local_files(opened, split, settings.cache_dir)
    source.check_present(task, split, data_dir)
    rows = functools.partial(source.text_rows, task, split, shots)
    digest = hashlib.sha256()
    for row in rows():
        digest.update(json.dumps(row).encode() + b"\n")
    return _Opened({"rows": digest.hexdigest()}, rows, source.scoring(task))


def _cache(settings: TableSettings) -> pathlib.Path:
    with token_table_files.writable(pathlib.Path(settings.cache_dir)):
        cache = files.private_folder(settings.cache_dir)
        return files.private_folder(cache / "token_tables")


def _find(
    folder: pathlib.Path, request: JsonObject, scoring: catalogue.Scoring
) -> TokenTable | None:
    """Opens a table of the cache; None if there is none or it is damaged."""
    if not folder.exists():
        return None
    try:
        return read_table(folder, request, scoring)
    except InputError as error:
        _log.warning("%s, which is done now", error)
        return None


def log_losses(table: TokenTable, lengths: tuple[int, int]) -> None:
    """Logs what the rows of a split lost, if any did, in one line."""
    lost = losses(table)
    lines = [
        f"{100 * share:.3g} % of {what}"
        for share, what in (
            (lost.inputs_truncated, f"inputs are truncated to {lengths[0]} tokens"),
            (lost.targets_truncated, f"targets are truncated to {lengths[1]}"),
            (lost.targets_unreadable, "targets cannot be given back by the vocabulary"),
        )
        if share > 0
    ]
    if lines:
        _log.warning("%s %s: %s", table.name, table.split, ", ".join(lines))

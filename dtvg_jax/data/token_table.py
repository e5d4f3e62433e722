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
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dtvg_jax.data import catalogue, fingerprints, source, token_table_files, tokenise
from dtvg_jax.errors import InputError

FORMAT = 1  # raise it when the same text would give another table

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TokenTable:
    """The rows of one split as ids; row i is `inputs[input_offsets[i]:...[i + 1]]`.

    `meta` names what made the table, the number of rows, the longest input and
    target, a digest of the members, and the functions that score predictions.
    """

    name: str
    split: str
    inputs: np.ndarray
    input_offsets: np.ndarray
    targets: np.ndarray
    target_offsets: np.ndarray
    meta: Mapping[str, Any]
    folder: pathlib.Path

    def __len__(self) -> int:
        return len(self.input_offsets) - 1

    @functools.cached_property
    def golds(self) -> list[Any]:
        """The gold answer of every row, as the task's postprocessor made it."""
        return token_table_files.read_golds(self.folder)[: len(self)]


def token_table(
    task: str,
    split: str,
    *,
    label_style: str = "digits",
    vocabulary: tokenise.Tokeniser,
    lengths: tuple[int, int],
    tfds_data_dir: str | os.PathLike[str] | None,
    cache_dir: str | os.PathLike[str],
    tasks_module: str = "tasks.all",
    shots: tuple[str, int, int] | None = None,
) -> TokenTable:
    """Opens the token table of a split, making it where the cache has none.

    Args:
      task: a name of the catalogue, such as "superglue-rte", or a SeqIO task that
        `tasks_module` registers.
      split: "train", "validation" or "test".
      label_style: "digits", "words" or "reference", for tasks of the catalogue.
      vocabulary: the backbone's.
      lengths: (T, L), the most ids of an input and of a target.
      tfds_data_dir: where TensorFlow Datasets lie prepared; None for a task that
        reads something else.
      cache_dir: where tables are kept; any number of jobs may share it.
      tasks_module: the module whose import registers the tasks that the catalogue
        lacks.
      shots: (rule, k, seed) of `tasks.few_shot.Shots`, to take k rows of the split;
        None for all.

    Raises:
      InputError: for an unknown task or split, missing data, or an unusable cache.
    """
    _check_lengths(lengths, vocabulary)
    catalogue.check_label_style(label_style)
    entry = _catalogue_entry(task, tasks_module)
    name = task
    if entry is not None:
        name = catalogue.seqio_name(entry, label_style)
        tasks_module = catalogue.ALL
    request = {
        "format": FORMAT,
        "task": task,
        "seqio_name": name,
        "split": split,
        "label_style": label_style,
        "lengths": list(lengths),
        "code": fingerprints.code_digest(tasks_module),
        "shots": shots and list(shots),
    } | _vocabulary_entries(vocabulary)
    open_task = functools.partial(source.open_task, name, tasks_module, tfds_data_dir)
    cache = pathlib.Path(cache_dir)
    if entry is not None:
        reads = fingerprints.Reads(entry.builder)
    else:
        reads = _own_source(request, open_task, cache)
    request |= {
        "source": reads._asdict(),
        "data": fingerprints.data_digest(reads, tfds_data_dir),
    }
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    part = split if shots is None else f"{split}-{shots[0]}-{shots[1]}-{shots[2]}"
    folder = cache / f"{name}-{part}-{key[:16]}"
    if not folder.is_dir():
        _log.info("tokenising %s %s into %s", task, split, folder)
        opened = open_task()
        made_by = source.describe(opened) | {
            "metric_names": None if entry is None else list(entry.metrics)
        }
        rows = source.text_rows(opened, split, shots)
        token_table_files.write(folder, rows, vocabulary, lengths, request | made_by)
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
    meta = token_table_files.read_meta(folder)
    arrays = token_table_files.read_arrays(folder)
    return TokenTable(meta["task"], meta["split"], **arrays, meta=meta, folder=folder)


def _vocabulary_entries(vocabulary: tokenise.Tokeniser) -> dict[str, Any]:
    return {
        "vocabulary": vocabulary.digest,
        "vocabulary_size": vocabulary.size,
        "prefix_ids": list(vocabulary.prefix_ids),
        "input_suffix": vocabulary.input_suffix,
        "eos_id": vocabulary.eos_id,
    }


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


def _catalogue_entry(task: str, tasks_module: str) -> catalogue.TaskInfo | None:
    known = catalogue.known()
    if task not in known and tasks_module == catalogue.ALL:
        raise InputError(
            source.unknown_task(task, list(known), "the catalogue of tasks")
        )
    return known.get(task)


def _own_source(
    request: dict[str, Any], open_task: Callable[[], Any], cache: pathlib.Path
) -> fingerprints.Reads:
    # What a task outside the catalogue reads is known only to SeqIO: it is asked once
    # and kept beside the tables, for as long as the code of the task stays the same.
    name = f"{request['seqio_name']}-{request['split']}-{request['code'][:16]}"
    note = cache / f"{name}.source.json"
    if not note.exists():
        reads = source.reads(open_task(), request["split"])
        token_table_files.write_note(note, reads._asdict())
    kept = json.loads(note.read_text())
    return fingerprints.Reads(kept["builder"], tuple(kept["files"]))

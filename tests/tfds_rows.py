"""Rows written by hand into TFDS data, through the real builders and offline."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import seqio

from tasks.miniature import datasets

Rows = Iterable[Mapping[str, Any]]


def prepare(name: str, data_dir: str, splits: Mapping[str, Rows]) -> None:
    """Write `splits` as the data set `name`; a row's place is its key."""
    numbered = {split: enumerate(rows) for split, rows in splits.items()}
    datasets.prepare(name, pathlib.Path(data_dir), numbered)


def read(task_name: str, split: str, data_dir: str) -> list[dict[str, Any]]:
    """Read a split of a SeqIO task from `data_dir`, in stored order, untrimmed."""
    task = seqio.get_mixture_or_task(task_name)
    task.source.tfds_dataset.override_data_dir(data_dir)
    return list(task.get_dataset(None, split, shuffle=False).as_numpy_iterator())

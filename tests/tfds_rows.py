"""Rows written by hand into TFDS data, through the real builders and offline."""

from collections.abc import Iterable, Mapping
from typing import Any
from unittest import mock

import seqio
import tensorflow_datasets as tfds

Rows = Iterable[Mapping[str, Any]]


def prepare(name: str, data_dir: str, splits: Mapping[str, Rows]) -> None:
    """Write `splits` as the data set `name`; a row's place is its key."""
    builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    generators = [
        tfds.core.SplitGenerator(name=split, gen_kwargs={"rows": enumerate(rows)})
        for split, rows in splits.items()
    ]
    with (
        mock.patch.object(builder, "_split_generators", lambda *_, **__: generators),
        mock.patch.object(builder, "_generate_examples", lambda rows: iter(rows)),
    ):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )


def read(task_name: str, split: str, data_dir: str) -> list[dict[str, Any]]:
    """Read a split of a SeqIO task from `data_dir`, in stored order, untrimmed."""
    task = seqio.get_mixture_or_task(task_name)
    task.source.tfds_dataset.override_data_dir(data_dir)
    return list(task.get_dataset(None, split, shuffle=False).as_numpy_iterator())

"""Rows as users send them, formatted by the task's own preprocessor."""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dtvg_jax.data import catalogue
from dtvg_jax.errors import InputError


@functools.cache
def preprocessor(
    task: str, label_style: str
) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Gives the preprocessor of a task of labels, and the fields of a row it shows.

    Raises InputError where a task's rows are not plain texts and a label: such a line
    has to bring its own "inputs".
    """
    seqio = importlib.import_module("seqio")
    catalogue.module("all")
    info = catalogue.known().get(task)
    if info is None:
        raise InputError(f'{task} is a task of your own: give "inputs", the text')
    name = catalogue.seqio_name(info, label_style)
    first = seqio.TaskRegistry.get(name).preprocessors[0]
    shown = getattr(first, "keywords", {}).get("fields")
    if info.labels is None or shown is None:
        raise InputError(f'rows of {task} are not plain texts: give "inputs", the text')
    fields = shown.values() if isinstance(shown, Mapping) else shown
    return first, tuple(fields)


def texts(task: str, label_style: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Formats rows as training did; every row has all fields of `preprocessor`."""
    import tensorflow as tf

    preprocess, fields = preprocessor(task, label_style)
    columns: Any = {  # TensorFlow types no nested structure
        name: [row[name] for row in rows] for name in fields
    }
    columns["label"] = np.zeros(len(rows), np.int64)
    dataset = preprocess(tf.data.Dataset.from_tensor_slices(columns))
    return [row["inputs"].decode() for row in dataset.as_numpy_iterator()]

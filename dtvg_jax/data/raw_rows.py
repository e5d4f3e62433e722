"""Formats rows as users send them, by the task's own preprocessors.

A line has the fields that an input is made of. A row has more, such as the answer, and
preprocessors read them all: the others are filled with stand-in values, and two
different sets of these must give the same input.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dtvg_jax.data import catalogue, source
from dtvg_jax.errors import InputError, shown
from dtvg_jax.files import JsonObject

Row: TypeAlias = dict[str, object]


class Form(NamedTuple):
    """The fields of a task's raw rows.

    task: the SeqIO task
    name: its name in messages
    fields: the type of each field that a line must have
    others: the types of the other fields of a row
    """

    task: source.Task
    name: str
    fields: source.RowSpec
    others: source.RowSpec


@functools.cache
def form(task: str, label_style: str, tasks_module: str) -> Form:
    """Finds the form of a task's rows; its data need not be there.

    Raises InputError where its rows cannot be sent as fields of a line.
    """
    info = _info(task, tasks_module, 'give "inputs", the text, or name')
    opened = (
        source.open_task(task, tasks_module, None)
        if info is None
        else source.open_task(
            catalogue.seqio_name(info, label_style), catalogue.ALL, None
        )
    )
    spec = source.row_spec(opened)
    described = source.described(opened)
    wanted = described.fields if described else tuple(spec)
    for name in wanted:
        if name not in spec:
            raise InputError(
                f"the described field {name!r} is not a field of the rows of {task}, "
                f"which have {', '.join(spec)}"
            )
    others = {name: spec[name] for name in spec if name not in wanted}
    return Form(opened, task, {name: spec[name] for name in wanted}, others)


@functools.cache
def labels(task: str, label_style: str, tasks_module: str) -> tuple[str, ...] | None:
    """Gives the labels of a task, None where answers are free; data are not needed.

    Raises InputError where the task is not known.
    """
    info = _info(task, tasks_module, "name")
    if info is not None:
        return catalogue.scoring(info, label_style).labels
    described = source.described(source.open_task(task, tasks_module, None))
    return described.labels if described else None


def _info(task: str, tasks_module: str, instead: str) -> catalogue.TaskInfo | None:
    """Finds a task in the catalogue; None where it is of `tasks_module`."""
    if task in catalogue.mixtures():
        raise InputError(f'{task} is a mixture: name the line\'s own "task"')
    info = catalogue.known().get(task)
    if info is None and tasks_module == catalogue.ALL:
        raise InputError(
            f"{task} is a task of your own: {instead} its module by --tasks_module"
        )
    return info


def row(of: Form, given: JsonObject) -> Row:
    """Takes the fields of a row from a line, and checks their types.

    Raises InputError that names the field.
    """
    for name in of.fields:
        if name not in given:
            raise InputError(
                f"the field {name!r} is missing: {of.name} takes {', '.join(of.fields)}"
            )
    return {
        name: _value(given[name], spec, f"the field {name!r}")
        for name, spec in of.fields.items()
    }


def text(value: object, what: str) -> str:
    """Takes a text from JSON; raises InputError, which begins with `what`."""
    if not isinstance(value, str):
        raise InputError(f"{what} is {shown(value)}: it must be text")
    if "\0" in value:
        at = value.index("\0") + 1
        raise InputError(f"{what} has a NUL at character {at}: it is not text")
    return value


def inputs(of: Form, rows: Sequence[Row]) -> list[str]:
    """Formats rows as in training.

    Raises InputError where the task fails on them, or where an input depends on more
    than the fields of a line.
    """
    import tensorflow as tf

    columns: Any = {  # TensorFlow types no nested structure
        name: _column([row[name] for row in rows], spec)
        for name, spec in of.fields.items()
    }
    given = tf.data.Dataset.from_tensor_slices(columns)
    made = [source.inputs(of.task, _filled(given, of.others, kind)) for kind in (0, 1)]
    if made[0] != made[1]:
        raise InputError(
            f"the input of {of.name} is made of more than {', '.join(of.fields)}: "
            "describe all its fields (docs/own_task.md)"
        )
    return made[0]


def _value(given: object, spec: Any, what: str) -> object:
    """Checks a value of JSON against the type of a field."""
    if isinstance(spec, Mapping):
        if not isinstance(given, dict):
            raise InputError(f"{what} is {shown(given)}: it must be an object")
        for name in spec:
            if name not in given:
                raise InputError(f"{what} lacks {name!r}")
        return {n: _value(given[n], one, f"{what}, {n!r}") for n, one in spec.items()}
    rank = spec.shape.rank
    if rank == 0:
        return _scalar(given, spec.dtype, what)
    if rank != 1:
        raise InputError(
            f'{what} is not a text, number or list: give "inputs", the text'
        )
    if not isinstance(given, list):
        raise InputError(f"{what} is {shown(given)}: it must be a list")
    return [
        _scalar(one, spec.dtype, f"{what}, item {i}") for i, one in enumerate(given, 1)
    ]


def _scalar(given: object, dtype: Any, what: str) -> object:
    """Checks a text, number, true or false; `dtype` is TensorFlow's."""
    if dtype.name == "string":
        return text(given, what)
    kinds: dict[str, tuple[tuple[type, ...], str]] = {
        "b": ((bool,), "true or false"),
        "i": ((int,), "a whole number"),
        "u": ((int,), "a whole number"),
        "f": ((int, float), "a number"),
    }
    kind = np.dtype(dtype.as_numpy_dtype).kind
    types, called = kinds.get(kind, ((), "left out, which its task does not allow"))
    fits = isinstance(given, types) and (isinstance(given, bool) == (kind == "b"))
    if fits and kind in "iu":
        fits = dtype.min <= given <= dtype.max  # pyright: ignore[reportOperatorIssue]
    if not fits:
        raise InputError(f"{what} is {shown(given)}: it must be {called}")
    return given


def _column(values: Sequence[Any], spec: Any) -> Any:
    """Makes a column of values: a tensor, ragged for lists, or a dict of columns."""
    import tensorflow as tf

    if isinstance(spec, Mapping):
        return {n: _column([v[n] for v in values], one) for n, one in spec.items()}
    if spec.shape.rank == 0:
        return tf.constant(values, spec.dtype)
    return tf.ragged.constant(values, spec.dtype, ragged_rank=1)


def _filled(rows: source.Dataset, others: source.RowSpec, kind: int) -> source.Dataset:
    """Adds the other fields to rows, with stand-in values."""
    more = _stand_ins(others, kind)
    return rows.map(lambda row: row | more)


def _stand_ins(spec: Any, kind: int) -> Any:
    """Makes stand-in values: 0, "" and lists of one of them; of kind 1, 1 and "1"."""
    if isinstance(spec, Mapping):
        return {name: _stand_ins(one, kind) for name, one in spec.items()}
    shape = [size or 1 for size in spec.shape]
    if spec.dtype.name == "string":
        return np.full(shape, ("", "1")[kind])
    return np.full(shape, kind, spec.dtype.as_numpy_dtype)

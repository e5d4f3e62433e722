"""The one door to SeqIO: a task's rows as text, and what must be known of the task.

Importing SeqIO imports TensorFlow and takes seconds, so both stay inside functions:
a process that finds its token tables made never pays for them.
"""

import contextlib
import functools
import glob
import importlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from dtvg_jax import errors
from dtvg_jax.data import catalogue, prepared, tokenise
from dtvg_jax.data.token_table_files import Scoring
from dtvg_jax.errors import InputError

Path = str | os.PathLike[str]
Task: TypeAlias = Any  # SeqIO's, which is imported late
Row: TypeAlias = dict[str, Any]  # of NumPy values, as tf.data gives them
Shots = tuple[str, int, int]  # rule, k, seed, as in `tasks.few_shot.Shots`


def check_present(task: Task, split: str, tfds_data_dir: Path | None) -> None:
    """Raises InputError where the data set or a file that a task reads is missing."""
    if loader := getattr(task.source, "tfds_dataset", None):
        prepared.dataset(loader.name, tfds_data_dir)
    # SeqIO has no public name for the paths and patterns of a file source.
    patterns = getattr(task.source, "_split_to_filepattern", {}).get(split, ())
    for pattern in [patterns] if isinstance(patterns, str) else map(str, patterns):
        # A path may hold brackets, which a pattern would take for a set of letters.
        found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern)
        if not found or not all(map(os.path.isfile, found)):
            raise InputError(f"There is no file {pattern}, which a task reads.")


def open_task(name: str, tasks_module: str, tfds_data_dir: Path | None) -> Task:
    """Imports `tasks_module` and returns its SeqIO task `name`, reading that folder.

    Raises:
      InputError: where the module or the task in it is missing.
    """
    import seqio
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # raised where TensorFlow already runs
        tf.config.set_visible_devices([], "GPU")
    try:
        catalogue.import_tasks(tasks_module)
    except ImportError as error:
        raise InputError(
            f"The module '{tasks_module}' that should register SeqIO tasks cannot be "
            f"imported: {error}."
        ) from error
    names = list(seqio.TaskRegistry.names())
    if name not in names:
        raise InputError(
            f"The module '{tasks_module}' registers no SeqIO task "
            f"{name!r}{errors.nearest(name, names, 0.0)}"
        )
    task = seqio.TaskRegistry.get(name)
    if tfds_data_dir is not None:
        seqio.set_tfds_data_dir_override(os.fspath(tfds_data_dir))
        if loader := getattr(task.source, "tfds_dataset", None):
            loader.override_data_dir(os.fspath(tfds_data_dir))
    return task


def qualified_name(function: Callable[..., object], task: str) -> str:
    """Names a function as "module:name", by which a later process can import it.

    Raises:
      InputError: where there is no such name (a lambda, closure or partial).
    """
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", "")
    found = None
    with contextlib.suppress(AttributeError, ImportError, ValueError):
        found = functools.reduce(
            getattr, name.split("."), importlib.import_module(module)
        )
    if found is not function:
        raise InputError(
            f"Task '{task}' uses {function!r}, which cannot be imported by name: "
            "metrics and the postprocessor must be plain functions of a module, not "
            "lambdas, closures or partials."
        )
    return f"{catalogue.stored_name(module)}:{name}"


def scoring(task: Task, metric_names: tuple[str, ...] | None) -> Scoring:
    """Names the functions that score a task; `metric_names` are those that count.

    Raises:
      InputError: where it has no metric of predictions, or one without a name.
    """
    if not task.predict_metric_fns:
        raise InputError(
            f"Task '{task.name}' has no metric function of (targets, predictions): "
            "give it one, metric objects and scores are not used."
        )
    postprocess = task.postprocessor
    return Scoring(
        tuple(qualified_name(f, task.name) for f in task.predict_metric_fns),
        postprocess and qualified_name(postprocess, task.name),
        metric_names,
    )


def text_rows(
    task: Task, split: str, shots: Shots | None = None
) -> Iterator[tokenise.TextRow]:
    """Streams a split's rows, in stored order, as the task formats them.

    The preprocessors up to `seqio.preprocessors.tokenize` are run; tokenising is the
    backbone's affair. Of a task with few shots only the chosen rows come.

    Raises:
      InputError: where the split is unknown or its text cannot be had.
    """
    if shots is not None:
        yield from _few_rows(task, split, shots)
        return
    if split not in task.splits:
        raise InputError(
            f"Task '{task.name}' has no split '{split}': "
            f"it has {', '.join(sorted(task.splits))}."
        )
    import tensorflow as tf

    try:
        dataset = _untokenised(task).get_dataset(
            None, split, shuffle=False, seed=0, try_in_mem_cache=False,
            trim_output_features=False,
        )  # fmt: skip
        for number, example in enumerate(dataset.as_numpy_iterator(), 1):
            yield _text_row(task, example, number)
    except InputError:
        raise
    except (ValueError, KeyError, OSError, tf.errors.OpError) as error:
        raise InputError(
            f"The split '{split}' of task '{task.name}' cannot be read: "
            f"{str(error).partition(chr(10))[0]}"  # TensorFlow adds its own traceback
        ) from error


def _few_rows(task: Task, split: str, shots: Shots) -> Iterator[tokenise.TextRow]:
    few_shot = catalogue.module("few_shot")
    wanted = few_shot.Shots(*shots)
    if isinstance(task.source, few_shot.splits.SplitSource):
        few = task.replace(source=few_shot.FewShotSource(task.source, wanted))
        yield from text_rows(few, split)
        return
    try:
        yield from few_shot.of_texts(list(text_rows(task, split)), wanted)
    except ValueError as error:
        raise InputError(f"Task '{task.name}': {error}") from None


def _untokenised(task: Task) -> Task:
    import seqio
    import tensorflow as tf

    tokenising = (
        seqio.preprocessors.tokenize,
        seqio.preprocessors.tokenize_and_append_eos,
    )
    ending = (
        seqio.preprocessors.append_eos,
        seqio.preprocessors.append_eos_after_trim,
    )
    placeholder = seqio.CacheDatasetPlaceholder
    made = [s for s in task.preprocessors if not isinstance(s, placeholder)]
    steps = [getattr(step, "func", step) for step in made]
    first = next((i for i, step in enumerate(steps) if step in tokenising), None)
    if first is None or any(step not in ending for step in steps[first + 1 :]):
        raise InputError(
            f"Task '{task.name}' must end with seqio.preprocessors.tokenize, followed "
            "by nothing but append_eos: text is tokenised anew for the backbone, so "
            "every other step has to come before."
        )
    text = seqio.Feature(
        seqio.PassThroughVocabulary(1), add_eos=False, dtype=tf.string, rank=0
    )
    features = {"inputs": text, "targets": text}
    return task.replace(preprocessors=made[:first], output_features=features)


def _text_row(task: Task, example: Row, number: int) -> tokenise.TextRow:
    inputs, targets = (_decode(example, name, number) for name in ("inputs", "targets"))
    # what a SeqIO evaluator would hand over: the text under the names of after tokenize
    kept = {f"{name}_pretokenized": example[name] for name in ("inputs", "targets")}
    gold = task.postprocess_fn(targets, example=example | kept, is_target=True)
    try:
        gold = json.loads(json.dumps(gold, default=_plain))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The postprocessor of task '{task.name}' returns a gold answer that is "
            f"not text, a number, a list or a dict: {gold!r}."
        ) from error
    return tokenise.TextRow(inputs, targets, gold)


def _decode(example: Row, name: str, number: int) -> str:
    try:
        return example[name].decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"row {number}: the text {name!r} is not UTF-8 at byte {error.start + 1}"
        ) from None


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError

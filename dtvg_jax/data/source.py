"""The package's only access to SeqIO: a task's rows as text, and facts about the task.

Importing SeqIO imports TensorFlow and takes seconds, so both are imported inside
functions: a process that finds its token tables ready never pays for them.
"""

import contextlib
import copy
import glob
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from dtvg_jax import errors
from dtvg_jax.data import catalogue, prepared, tokenise
from dtvg_jax.errors import InputError
from dtvg_jax.files import copies, remote

Path = str | os.PathLike[str]
Task: TypeAlias = Any  # SeqIO's, which is imported late
Row: TypeAlias = dict[str, Any]  # of NumPy values, as tf.data gives them
RowSpec: TypeAlias = Mapping[str, Any]  # of tf.TensorSpec by field, nested
Dataset: TypeAlias = Any  # of tf.data
Shots = tuple[str, int, int]  # rule, k, seed, as in `tasks.few_shot.Shots`
# Arguments of `get_dataset`: nothing is drawn at random, cached or truncated.
_AS_STORED: Any = {"seed": 0, "try_in_mem_cache": False, "trim_output_features": False}


def check_present(task: Task, split: str, tfds_data_dir: Path | None) -> None:
    """Raises InputError where the data set or a file that a task reads is missing."""
    if loader := getattr(task.source, "tfds_dataset", None):
        prepared.dataset(loader.name, tfds_data_dir)
    for pattern in _patterns(task, split):
        # A path may hold brackets, which a pattern would take for a set of letters.
        found = [pattern] if os.path.isfile(pattern) else glob.glob(pattern)
        if not found or not all(map(os.path.isfile, found)):
            raise InputError(f"there is no file {pattern}, which a task reads")


def with_local_files(task: Task, split: str, cache_dir: Path) -> Task:
    """Gives a task that reads copies of the files of a split that are in a store."""
    patterns = _patterns(task, split)
    found = [file for one in patterns for file in copies.fetched_files(one, cache_dir)]
    if found == patterns:
        return task
    source = copy.copy(task.source)
    source._split_to_filepattern = {**source._split_to_filepattern, split: found}
    return task.replace(source=source)


def _patterns(task: Task, split: str) -> list[str]:
    """Lists the paths and patterns of a split of files, for which SeqIO has no name."""
    given = getattr(task.source, "_split_to_filepattern", {}).get(split, ())
    return [given] if isinstance(given, str) else list(map(str, given))


def builders(names: Iterable[str], tasks_module: str) -> list[str]:
    """Names the prepared data sets that tasks read; a user's module is imported for it.

    Raises InputError like `open_task`.
    """
    known = catalogue.known()
    found = [
        known[name].builder if name in known else _builder(name, tasks_module)
        for name in names
    ]
    return [name for name in dict.fromkeys(found) if name is not None]


def _builder(name: str, tasks_module: str) -> str | None:
    loader = getattr(open_task(name, tasks_module, None).source, "tfds_dataset", None)
    return loader and loader.name


def open_task(name: str, tasks_module: str, tfds_data_dir: Path | None) -> Task:
    """Imports `tasks_module` and returns its SeqIO task `name`, reading that folder.

    Raises:
      InputError: where the module or the task in it is missing.
    """
    import seqio

    import_tasks(tasks_module)
    task = _registered(seqio.TaskRegistry, "task", name, tasks_module)
    if tfds_data_dir is not None:
        seqio.set_tfds_data_dir_override(os.fspath(tfds_data_dir))
        if loader := getattr(task.source, "tfds_dataset", None):
            loader.override_data_dir(os.fspath(tfds_data_dir))
    return task


def mixture_rates(name: str, tasks_module: str) -> dict[str, float]:
    """Gives the rates of a SeqIO mixture by task.

    Raises InputError where the module or the mixture is missing, or a rate is not a
    positive number.
    """
    import seqio

    import_tasks(tasks_module)
    mixture = _registered(seqio.MixtureRegistry, "mixture", name, tasks_module)
    rates = {}
    for task in mixture.tasks:
        try:
            rates[task.name] = float(mixture.get_rate(task))
        except Exception as error:  # whatever a function of rates raises
            raise InputError(
                f"the rate of {task.name} in the mixture {name!r} cannot be computed: "
                f"{errors.describe(error)}"
            ) from error
        if not 0 < rates[task.name] < math.inf:
            raise InputError(
                f"the rate of {task.name} in the mixture {name!r} is "
                f"{rates[task.name]}: it must be a number > 0"
            )
    return rates


def import_tasks(tasks_module: str) -> None:
    """Imports a module that registers tasks; raises InputError where it fails."""
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # raised where TensorFlow already runs
        tf.config.set_visible_devices([], "GPU")
    try:
        catalogue.import_tasks(tasks_module)
    except Exception as error:  # whatever a user's module raises
        raise InputError(
            f"the module '{tasks_module}' that should register SeqIO tasks cannot be "
            f"imported: {errors.describe(error)}"
        ) from error


def _registered(registry: Any, what: str, name: str, tasks_module: str) -> Any:
    names = list(registry.names())
    if name not in names:
        raise InputError(
            f"the module '{tasks_module}' registers no SeqIO {what} "
            f"{name!r}{errors.nearest(name, names, 0.0)}"
        )
    return registry.get(name)


def scoring(task: Task) -> catalogue.Scoring:
    """Gives the functions that score a task; all values of its metrics count.

    Raises:
      InputError: where it has no metric of predictions.
    """
    if not task.predict_metric_fns:
        raise InputError(
            f"task '{task.name}' has no metric function of (targets, predictions): "
            "give it one, since metric objects and scores are not used"
        )
    metrics = tuple(task.predict_metric_fns)
    known = described(task)
    return catalogue.Scoring(
        metrics, task.postprocessor, labels=known.labels if known else None
    )


def described(task: Task) -> catalogue.Described | None:
    """Gives what the catalogue, or a user's module by `describe`, says of a task."""
    return catalogue.module("registration").DESCRIBED.get(task.name)


def row_spec(task: Task) -> RowSpec:
    """Gives the type of a raw row, field by field; data need not be there.

    Raises InputError where it cannot be known, or rows have no fields.
    """
    try:
        if loader := getattr(task.source, "tfds_dataset", None):
            spec = loader.builder.info.features.get_tensor_spec()
        elif (spec := getattr(task.source, "element_spec", None)) is None:
            first = next(iter(task.splits))
            _check_local(task, first)
            spec = task.source.get_dataset(first, shuffle=False).element_spec
    except Exception as error:  # whatever a source raises
        raise InputError(
            f"the fields of rows of {task.name} are not known: {_reason(error)}"
        ) from error
    if not isinstance(spec, Mapping):
        raise InputError(f"rows of {task.name} have no fields")
    return spec


def _check_local(task: Task, split: str) -> None:
    for path in _patterns(task, split):
        if remote.of_address(os.path.dirname(path)) is not None:
            raise ValueError(
                f"they are those of {path}, which is not read for that: give "
                '"inputs", the text, or read the file by tasks.files, which names them'
            )


def inputs(task: Task, rows: Dataset) -> list[str]:
    """Formats raw rows as `text_rows` does, and gives the inputs.

    Raises InputError where the task's preprocessors fail, or drop or repeat rows.
    """
    import seqio

    given = seqio.FunctionDataSource(
        lambda split, shuffle_files, seed=None: rows, ["rows"]
    )
    try:
        made = _untokenised(task).replace(source=given)
        dataset = made.get_dataset(None, "rows", shuffle=False, **_AS_STORED)
        examples = list(dataset.as_numpy_iterator())
        texts = [_decode(row, "inputs", i) for i, row in enumerate(examples, 1)]
    except InputError:
        raise
    except Exception as error:  # whatever a preprocessor or TensorFlow raise
        raise InputError(f"{task.name} cannot format it: {_reason(error)}") from error
    if len(texts) != (count := int(rows.cardinality())):
        raise InputError(
            f"{task.name} makes {len(texts)} inputs of {count} rows: its preprocessors "
            "drop or repeat some"
        )
    return texts


def text_rows(
    task: Task, split: str, shots: Shots | None = None
) -> Iterator[tokenise.TextRow]:
    """Streams a split's rows, in stored order, as the task formats them.

    Only the preprocessors before `seqio.preprocessors.tokenize` are run, since tokens
    depend on the backbone. With `shots` only the chosen rows are given.

    Raises:
      InputError: where the split is unknown or cannot be read.
    """
    if shots is not None:
        yield from _few_rows(task, split, shots)
        return
    try:
        if split not in task.splits:
            raise InputError(
                f"task '{task.name}' has no split '{split}': "
                f"it has {', '.join(sorted(task.splits))}"
            )
        dataset = _untokenised(task).get_dataset(
            None, split, shuffle=False, **_AS_STORED
        )
        for number, example in enumerate(dataset.as_numpy_iterator(), 1):
            yield _text_row(task, example, number)
    except InputError:
        raise
    except Exception as error:  # whatever data, a preprocessor or TensorFlow raise
        raise InputError(
            f"the split '{split}' of task '{task.name}' cannot be read: "
            f"{_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """Describes what a task raised; TensorFlow's messages hold a traceback."""
    message = str(error).strip()
    if traced := re.findall(r'File ".*?([^/]+)", line (\d+), in .*  \*', message):
        file, line = traced[-1]
        return f"{message.splitlines()[-1].strip()} ({file}, line {line})"
    if message and (type(error) is ValueError or isinstance(error, OSError)):
        return message.partition("\n")[0]  # a sentence as it is
    return errors.describe(error)


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
        raise InputError(f"task '{task.name}': {error}") from None


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
            f"task '{task.name}' must end with seqio.preprocessors.tokenize, followed "
            "by nothing but append_eos: text is tokenised again for the backbone, so "
            "every other step has to come before"
        )
    text = seqio.Feature(
        seqio.PassThroughVocabulary(1), add_eos=False, dtype=tf.string, rank=0
    )
    features = {"inputs": text, "targets": text}
    return task.replace(preprocessors=made[:first], output_features=features)


def _text_row(task: Task, example: Row, number: int) -> tokenise.TextRow:
    inputs, targets = (_decode(example, name, number) for name in ("inputs", "targets"))
    # As a SeqIO evaluator passes it: the text under the names that tokenize gives it.
    kept = {f"{name}_pretokenized": example[name] for name in ("inputs", "targets")}
    gold = task.postprocess_fn(targets, example=example | kept, is_target=True)
    try:
        gold = json.loads(json.dumps(gold, default=_plain))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the postprocessor of task '{task.name}' returns a gold answer that is "
            f"not text, a number, a list or a dict: {gold!r}"
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

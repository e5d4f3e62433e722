"""The one door to SeqIO: a task's rows as text, and what must be known of the task.

Importing SeqIO imports TensorFlow and takes seconds, so both stay inside functions:
a process that finds its token tables made never pays for them.
"""

import contextlib
import difflib
import functools
import glob
import hashlib
import importlib
import importlib.util
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from dtvg_jax.data import tokenise
from dtvg_jax.errors import InputError


def code_digest(*modules: str) -> str:
    """Digests the sources of the top packages of `modules`, without importing any.

    Raises:
      InputError: where a module's package cannot be found.
    """
    digest = hashlib.sha256()
    for package in sorted({module.partition(".")[0] for module in modules}):
        # find_spec imports the parents of a dotted name, so only the top is asked for
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise InputError(
                f"There is no Python package '{package}' to take tasks from: "
                "install it, or put its folder on PYTHONPATH."
            )
        files = [pathlib.Path(spec.origin)] if spec.origin else []
        for folder in spec.submodule_search_locations or ():
            files = sorted(pathlib.Path(folder).rglob("*.py"))
        for file in files:
            digest.update(f"{package}/{file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def reads(task: Any, split: str) -> dict[str, Any]:
    """Says what a SeqIO task reads for a split: a TFDS data set, files, or neither."""
    loader = getattr(task.source, "tfds_dataset", None)
    # SeqIO has no public name for the paths and patterns of a file source. They are
    # kept as they are: what they stand for may change from one start to the next.
    patterns = getattr(task.source, "_split_to_filepattern", {}).get(split, ())
    files = [patterns] if isinstance(patterns, str) else list(patterns)
    return {"builder": loader and loader.name, "files": [str(file) for file in files]}


def fingerprint(
    reads: dict[str, Any], tfds_data_dir: str | os.PathLike[str] | None
) -> str:
    """Digests cheaply what lies where a task reads: names, sizes, TFDS's own records.

    Args:
      reads: {"builder": a name, configuration and version such as "glue/rte:2.0.0",
        or None; "files": paths, or patterns of paths}.
      tfds_data_dir: the folder under which data sets lie prepared.

    Raises:
      InputError: where the data set or a file is missing.
    """
    digest = hashlib.sha256()
    files = [file for pattern in reads["files"] for file in _matching(pattern)]
    if reads["builder"]:
        files = sorted(_prepared(reads["builder"], tfds_data_dir).iterdir())
    for file in files:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size}\n".encode())
        if file.suffix == ".json":
            digest.update(file.read_bytes())
        if not reads["builder"]:  # a prepared data set does not change in place
            digest.update(str(status.st_mtime_ns).encode())
    return digest.hexdigest()


def _matching(pattern: str) -> list[pathlib.Path]:
    found = sorted(pathlib.Path(file) for file in glob.glob(pattern))
    if not found or not all(file.is_file() for file in found):
        raise InputError(f"There is no file {pattern}, which a task reads.")
    return found


def prepared(builder: str, root: pathlib.Path) -> pathlib.Path | None:
    """Finds the folder of a prepared data set under `root`, None if it is not there."""
    name, _, version = builder.partition(":")
    found = sorted(root.glob(f"{name}/{version}/dataset_info.json"))
    return found[-1].parent if found else None


def _prepared(
    builder: str, tfds_data_dir: str | os.PathLike[str] | None
) -> pathlib.Path:
    if tfds_data_dir is None:
        raise InputError(
            f"The data set {builder} needs a data folder: give the folder that "
            "TensorFlow Datasets were prepared in (tfds_data_dir)."
        )
    root = pathlib.Path(tfds_data_dir)
    if not root.is_dir():
        raise InputError(
            f"The data folder {root} does not exist: give the folder that "
            "TensorFlow Datasets were prepared in (tfds_data_dir)."
        )
    found = prepared(builder, root)
    if found is None:
        name, _, version = builder.partition(":")
        raise InputError(
            f"The data set {builder} is not prepared under {root} (no "
            f"{name}/{version}/dataset_info.json there): prepare it with "
            "TensorFlow Datasets, or give another data folder."
        )
    return found


def open_task(
    name: str, tasks_module: str, tfds_data_dir: str | os.PathLike[str] | None
) -> Any:
    """Imports `tasks_module` and returns its SeqIO task `name`, reading that folder.

    Raises:
      InputError: where the module or the task in it is missing.
    """
    import seqio
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # raised where TensorFlow already runs
        tf.config.set_visible_devices([], "GPU")
    try:
        importlib.import_module(tasks_module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"The module '{tasks_module}' that should register SeqIO tasks cannot be "
            f"imported: {error}."
        ) from error
    names = list(seqio.TaskRegistry.names())
    if name not in names:
        raise InputError(unknown_task(name, names, f"the module '{tasks_module}'"))
    task = seqio.TaskRegistry.get(name)
    if tfds_data_dir is not None:
        seqio.set_tfds_data_dir_override(os.fspath(tfds_data_dir))
        if loader := getattr(task.source, "tfds_dataset", None):
            loader.override_data_dir(os.fspath(tfds_data_dir))
    return task


def unknown_task(name: str, names: list[str], where: str) -> str:
    """Says that a task is unknown and which known name is nearest."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    hint = f"; the nearest name is '{near[0]}'" if near else ""
    return f"There is no task '{name}' in {where}{hint}."


def qualified_name(function: Callable[..., Any], task: str) -> str:
    """Names a function as "module:name", by which a later process can import it.

    Raises:
      InputError: where there is no such name (a lambda, closure or partial).
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "")
    found = None
    with contextlib.suppress(AttributeError, ImportError):
        found = functools.reduce(
            getattr, name.split("."), importlib.import_module(module or "")
        )
    if found is not function:
        raise InputError(
            f"Task '{task}' uses {function!r}, which cannot be imported by name: "
            "metrics and the postprocessor must be plain functions of a module, not "
            "lambdas, closures or partials."
        )
    return f"{module}:{name}"


def describe(task: Any) -> dict[str, Any]:
    """Returns what scoring needs of a task: its metrics and postprocessor, by name.

    Raises:
      InputError: where it has no metric of predictions, or one without a name.
    """
    if not task.predict_metric_fns:
        raise InputError(
            f"Task '{task.name}' has no metric function of (targets, predictions): "
            "give it one, metric objects and scores are not used."
        )
    postprocess = task.postprocessor
    return {
        "metrics": [qualified_name(f, task.name) for f in task.predict_metric_fns],
        "postprocess": postprocess and qualified_name(postprocess, task.name),
    }


def text_rows(
    task: Any, split: str, shots: tuple[str, int, int] | None = None
) -> Iterator[tokenise.TextRow]:
    """Streams a split's rows, in stored order, as the task words them.

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


def _few_rows(
    task: Any, split: str, shots: tuple[str, int, int]
) -> Iterator[tokenise.TextRow]:
    few_shot = importlib.import_module("tasks.few_shot")
    wanted = few_shot.Shots(*shots)
    if isinstance(task.source, few_shot.splits.SplitSource):
        few = task.replace(source=few_shot.FewShotSource(task.source, wanted))
        yield from text_rows(few, split)
        return
    try:
        yield from few_shot.of_texts(list(text_rows(task, split)), wanted)
    except ValueError as error:
        raise InputError(f"Task '{task.name}': {error}") from None


def _untokenised(task: Any) -> Any:
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
    steps = [getattr(step, "func", step) for step in task.preprocessors]
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
    placeholder = seqio.CacheDatasetPlaceholder
    head = [s for s in task.preprocessors[:first] if not isinstance(s, placeholder)]
    features = {"inputs": text, "targets": text}
    return task.replace(preprocessors=head, output_features=features)


def _text_row(task: Any, example: dict[str, Any], number: int) -> tokenise.TextRow:
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


def _decode(example: dict[str, Any], name: str, number: int) -> str:
    try:
        return example[name].decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"row {number}: the text {name!r} is not UTF-8 at byte {error.start + 1}"
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy
        return value.tolist()
    raise TypeError
